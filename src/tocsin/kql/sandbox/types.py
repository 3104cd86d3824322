"""KQL types of expressions, as far as they are certain. None means unknown, which costs a run-time guard, never a
wrong row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.kql.sandbox.upstream import ir

Types = Mapping[str, str | None]
"""Columns of a pipeline at some stage -> KQL type, None where unknown."""

# What the renderer really makes is what counts here: split() and make_list() give DuckDB lists, no JSON, so they stay
# unknown; make_set() gives JSON.
_RESULT: dict[str, str] = {
    **dict.fromkeys(
        [
            "tostring",
            "strcat",
            "strcat_delim",
            "strcat_array",
            "__tocsin_strcat_array",
            "tolower",
            "toupper",
            "substring",
            "replace_string",
            "replace",
            "replace_regex",
            "trim",
            "trim_start",
            "trim_end",
            "strrep",
            "reverse",
            "format_datetime",
            "format_timespan",
            "extract",
            "base64_encode_tostring",
            "base64_encodestring",
            "base64_decode_tostring",
            "base64_decodestring",
            "url_encode",
            "url_decode",
            "hash_md5",
            "hash_sha1",
            "hash_sha256",
            "gettype",
            "tohex",
            "__tocsin_strrep",
        ],
        "string",
    ),
    **dict.fromkeys(
        [
            "strlen",
            "tolong",
            "countof",
            "datetime_diff",
            "array_length",
            "indexof",
            "count",
            "countif",
            "dcount",
            "dcountif",
            "string_size",
            "__tocsin_weeks",
            "__tocsin_countof",
            "__tocsin_countof_any",
            "__tocsin_indexof",
        ],
        "long",
    ),
    "toint": "int",
    **dict.fromkeys(
        [
            "todouble",
            "toreal",
            "round",
            "exp",
            "log",
            "log10",
            "log2",
            "sqrt",
            "pow",
            "avg",
            "avgif",
            "stdev",
            "variance",
        ],
        "real",
    ),
    **dict.fromkeys(
        [
            "now",
            "ago",
            "todatetime",
            "startofday",
            "startofweek",
            "startofmonth",
            "startofyear",
            "endofday",
            "endofweek",
            "endofmonth",
            "endofyear",
            "make_datetime",
            "unixtime_microseconds_todatetime",
            "unixtime_milliseconds_todatetime",
            "unixtime_seconds_todatetime",
            "datetime_add",
            "datetime_local_to_utc",
            "datetime_utc_to_local",
            "__tocsin_until_time",
        ],
        "datetime",
    ),
    **dict.fromkeys(["totimespan", "timespan", "make_timespan", "dayofweek"], "timespan"),
    **dict.fromkeys([f"__tocsin_{name}_span" for name in ("avg", "avgif", "sum", "sumif")], "timespan"),
    **dict.fromkeys(
        [
            "isnull",
            "isnotnull",
            "notnull",
            "isempty",
            "isnotempty",
            "not",
            "tobool",
            "toboolean",
            "isnan",
            "isinf",
            "isfinite",
        ],
        "bool",
    ),
    **dict.fromkeys(
        [
            "parse_json",
            "todynamic",
            "bag_pack",
            "pack",
            "make_set",
            "bag_keys",
            "series_fit_line_dynamic",
            "make_bag",
            "make_bag_if",
            "make_set_if",
            "set_difference",
            "set_intersect",
            "set_union",
            "__tocsin_make_set_most",
            "__tocsin_make_set_if_most",
        ],
        "dynamic",
    ),
}
_OURS = {
    "__tocsin_bin_time": "datetime",
    **dict.fromkeys(
        [f"__tocsin_{name}" for name in ("bin_span", "span_abs", "span_times", "span_over", "span_rest")], "timespan"
    ),
}
_OF_FIRST = frozenset(["min", "max", "any", "take_any", "percentile", "minif", "maxif"])
_COMPARISONS = frozenset(
    ["==", "!=", "<>", "<", "<=", ">", ">=", "=~", "!~", "and", "or", "matches regex"]
    + [
        negated + word + cased
        for negated in ("", "!")
        for word in ("contains", "has", "hasprefix", "hassuffix", "startswith", "endswith")
        for cased in ("", "_cs")
    ]
)
_NUMBERS = ("int", "long", "real")


def type_of(expr: Any, columns: Types) -> str | None:
    """The KQL type of ``expr`` over ``columns``; None where it is not certain."""
    match expr:
        case ir.RenderedAggregate():
            return getattr(expr, "kind", None)
        case ir.Literal(kind=kind) | ir.Parameter(kind=kind):
            return None if kind in ("null", "decimal") else str(kind)
        case ir.ColumnRef(name=name):
            return columns.get(name)
        case ir.PathAccess():
            return "dynamic"
        case ir.InList() | ir.HasList() | ir.Between():
            return "bool"
        case ir.UnaryOp(op=op, operand=operand):
            inner = type_of(operand, columns)
            return "bool" if op in ("not", "!") else "long" if inner == "int" else inner
        case ir.BinaryOp(op=op, left=left, right=right):
            if op in _COMPARISONS:
                return "bool"
            return _arithmetic(op, type_of(left, columns), type_of(right, columns))
        case ir.FunctionCall(name=name, args=args):
            return _call(name.lower(), [type_of(arg, columns) for arg in args])
    return None


def _arithmetic(op: str, left: str | None, right: str | None) -> str | None:
    if left is None or right is None:
        return None
    if left in _NUMBERS and right in _NUMBERS:
        return "real" if "real" in (left, right) else "long"
    pair = (left, right)
    if pair == ("datetime", "datetime"):
        return "timespan" if op == "-" else None
    if pair in (("datetime", "timespan"), ("timespan", "datetime")):
        return "datetime"
    if pair == ("timespan", "timespan"):
        return "real" if op == "/" else "timespan" if op in ("+", "-", "%") else None
    if ((op == "*" and "timespan" in pair) or (op == "/" and left == "timespan")) and {left, right} & set(_NUMBERS):
        return "timespan"
    return None


def _call(name: str, args: list[str | None]) -> str | None:
    if name in _RESULT:
        return _RESULT[name]
    if name in ("iff", "iif") and len(args) == 3:
        return args[1] if args[1] == args[2] else None
    if name == "case" and len(args) >= 3:
        branches = {*args[1::2], args[-1]}
        return branches.pop() if len(branches) == 1 else None
    if name == "coalesce" and args:
        return args[0] if len(set(args)) == 1 else None
    if name in ("bin", "floor", "abs") and args:
        return "long" if args[0] == "int" else args[0] if args[0] in ("datetime", "timespan", "long", "real") else None
    if name.startswith("__tocsin_") and args:
        return _OURS.get(name, args[0] if name == "__tocsin_default" else None)
    if name == "sum" and args and args[0] in _NUMBERS:
        return "real" if args[0] == "real" else "long"
    if name in _OF_FIRST and args:
        return args[0]
    return None

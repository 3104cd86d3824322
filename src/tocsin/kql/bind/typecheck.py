"""Do the types of an expression fit, as KQL asks for it? Only what is certain is refused; an unknown type fits
everywhere.

DuckDB converts where KQL does not: ``Attempt == 'x'`` binds, and fails at the first row, or never holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir

_NUMBERS = ("int", "long", "real")
_COMPARISONS = frozenset(("==", "!=", "<>", "<", "<=", ">", ">="))
_EQUALITIES = frozenset(("==", "!=", "<>"))
_TEXTUAL = frozenset(
    ["=~", "!~", "matches regex"]
    + [
        negated + word + case
        for negated in ("", "!")
        for word in ("contains", "has", "hasprefix", "hassuffix", "startswith", "endswith")
        for case in ("", "_cs")
    ]
)
_ARITHMETIC = frozenset("+-*/%")
_CLASS = {**dict.fromkeys(_NUMBERS, "number"), "decimal": "number"}
_SPANS = frozenset((
    ("timespan", "+", "timespan"), ("timespan", "-", "timespan"), ("timespan", "/", "timespan"),
    ("timespan", "%", "timespan"), ("timespan", "*", "number"), ("number", "*", "timespan"), ("timespan", "/", "number"),
    ("datetime", "-", "datetime"), ("datetime", "+", "timespan"), ("datetime", "-", "timespan"),
    ("timespan", "+", "datetime"),
))  # fmt: skip
"""What KQL computes with times."""
_PREDICATE_AT: Mapping[str, slice] = {
    **dict.fromkeys(("iff", "iif", "countif", "not"), slice(0, 1)),
    "case": slice(0, -1, 2),
    **dict.fromkeys(
        (
            "sumif", "avgif", "minif", "maxif", "dcountif", "stdevif", "varianceif", "take_anyif", "anyif",
            "make_list_if", "make_set_if", "make_bag_if",
        ),
        slice(1, 2),
    ),
}  # fmt: skip
"""Which arguments of a function are conditions."""
_BRANCHES = {"iff": slice(1, 3), "iif": slice(1, 3), "case": slice(1, None, 2)}
"""Arguments of which one becomes the value."""
_TAKES: Mapping[str, tuple[tuple[str, ...], int]] = {
    **dict.fromkeys(
        (
            "round", "exp", "exp2", "exp10", "log", "log2", "log10", "sqrt", "pow", "sign", "ceiling", "sin", "cos", "tan",
            "isnan", "isinf", "isfinite",
        ),
        (("number",), 0),
    ),
    **dict.fromkeys(("abs", "sum", "sumif", "avg", "avgif"), (("number", "timespan"), 0)),
    **dict.fromkeys(("stdev", "stdevif", "variance", "varianceif"), (("number",), 0)),
    **dict.fromkeys(("bin", "floor", "percentile"), (("number", "timespan", "datetime"), 0)),
    **dict.fromkeys(
        (
            "startofday", "startofweek", "startofmonth", "startofyear", "endofday", "endofweek", "endofmonth", "endofyear",
            "dayofweek", "dayofmonth", "dayofyear", "hourofday", "getmonth", "getyear", "monthofyear", "week_of_year",
            "format_datetime",
        ),
        (("datetime",), 0),
    ),
    **dict.fromkeys(("datetime_part",), (("datetime",), 1)),
    **dict.fromkeys(("datetime_add",), (("datetime",), 2)),
    **dict.fromkeys(("format_timespan",), (("timespan",), 0)),
    **dict.fromkeys(
        (
            "strlen", "tolower", "toupper", "substring", "split", "trim_start_ws", "indexof", "replace_string", "countof",
            "url_encode", "url_decode", "base64_encode_tostring", "base64_decode_tostring", "reverse",
        ),
        (("string",), 0),
    ),
    **dict.fromkeys(("trim", "trim_start", "trim_end"), (("string",), 1)),
    **dict.fromkeys(("extract", "extract_all"), (("string",), -1)),
    **dict.fromkeys(("array_length", "bag_keys", "bag_has_key", "array_sum", "array_slice"), (("dynamic",), 0)),
}  # fmt: skip
"""Functions of which one argument has certain types: types, and the argument's number."""
_CONVERT = {
    "number": "tolong(…) or todouble(…)",
    "string": "tostring(…)",
    "datetime": "todatetime(…)",
    "timespan": "totimespan(…)",
    "dynamic": "parse_json(…)",
    "bool": "tobool(…)",
}


class Fault(NamedTuple):
    """What is wrong, what would be right."""

    message: str
    hint: str


def fault_of(node: Any, columns: Types) -> Fault | None:
    """What KQL refuses of ``node`` itself; its parts are looked at apart."""
    match node:
        case ir.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return _first(condition_fault(side, columns, f"a side of '{op}'") for side in (left, right))
        case ir.BinaryOp(op=op, left=left, right=right) if op in _COMPARISONS:
            return _compared(op, left, right, columns)
        case ir.BinaryOp(op=op, left=left, right=right) if op in _TEXTUAL:
            return _first(_textual(op, side, columns) for side in (left, right))
        case ir.BinaryOp(op=op, left=left, right=right) if op in _ARITHMETIC:
            return _computed(op, left, right, columns)
        case ir.UnaryOp(op="-" | "+" as op, operand=operand):
            kind = type_of(operand, columns)
            if kind in ("string", "bool", "datetime"):
                return Fault(f"'{op}' takes a number, but {named(operand)} is a {kind}", f"write {_CONVERT['number']}")
        case ir.UnaryOp(op="not" | "!", operand=operand):
            return condition_fault(operand, columns, "what not() takes")
        case ir.InList(value=value, items=items):
            return _first(_compared("==", value, item, columns, "in") for item in items)
        case ir.Between(value=value, low=low, high=high):
            return _between(value, low, high, columns)
        case ir.PathAccess(base=base, steps=steps) if steps:
            return _path(base, columns)
        case ir.FunctionCall(name=name, args=args):
            return _call(str(name), args, columns)
    return None


def condition_fault(node: Any, columns: Types, what: str) -> Fault | None:
    """Why ``node`` is no condition; None for a boolean, and for a dynamic, which may hold one."""
    kind = type_of(node, columns)
    if kind in (None, "bool", "dynamic"):
        return None
    example = f"{named(node)} == …" if isinstance(node, ir.ColumnRef | ir.Parameter) else "an expression such as a == b"
    return Fault(f"{what} is neither true nor false: {_with_kind(node, kind)}", f"write {example}")


def named(node: Any) -> str:
    """A short name for an operand."""
    match node:
        case ir.ColumnRef(name=name) | ir.Parameter(name=name):
            return str(name)
        case ir.Literal(value=str() as value, kind="string"):
            return f"'{value}'" if len(value) <= 30 else f"'{value[:29]}…'"
        case ir.Literal(value=bool() as value):
            return str(value).lower()
        case ir.Literal(value=value, kind="datetime"):
            return f"datetime({value})"
        case ir.Literal(value=value) if value is not None:
            return str(value)
        case ir.FunctionCall(name=name) if not str(name).startswith("__"):
            return f"{name}()"
    return "an expression"


def _with_kind(node: Any, kind: str | None) -> str:
    article = "an" if kind == "int" else "a"
    return f"{named(node)} is {article} {kind}"


def _first(faults: Iterable[Fault | None]) -> Fault | None:
    return next((fault for fault in faults if fault is not None), None)


def _class(kind: str | None) -> str | None:
    return _CLASS.get(kind or "", kind)


def _compared(op: str, left: Any, right: Any, columns: Types, word: str = "") -> Fault | None:
    kinds = type_of(left, columns), type_of(right, columns)
    a, b = map(_class, kinds)
    if a is None or b is None or a == b or "dynamic" in (a, b):
        return None
    if op in _EQUALITIES and {a, b} in ({"bool", "number"}, {"guid", "string"}):
        return None
    sides = f"{_with_kind(left, kinds[0])}, {_with_kind(right, kinds[1])}"
    return Fault(f"'{word or op}' compares values of different types: {sides}", _same_type(left, right, a, b))


def _same_type(left: Any, right: Any, a: str, b: str) -> str:
    """How one side would become what the other is."""
    literal, theirs = (right, a) if isinstance(right, ir.Literal) else (left, b)
    if isinstance(literal, ir.Literal):
        value = literal.value
        if theirs == "string" and _class(literal.kind) == "number":
            return f"write '{value}'"
        if theirs == "number" and literal.kind == "string":
            return f"write {value} without quotes" if _is_number(str(value)) else "write a number"
        if theirs == "datetime":
            return "write datetime(2026-01-31) or ago(1h)"
        if theirs == "timespan":
            return "write a timespan such as 5m"
        if theirs == "bool":
            return "write true or false"
    return f"convert one side: {_CONVERT.get(a, a)}, {_CONVERT.get(b, b)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _textual(op: str, side: Any, columns: Types) -> Fault | None:
    kind = type_of(side, columns)
    if kind in (None, "string", "dynamic"):
        return None
    literal = isinstance(side, ir.Literal)
    hint = f"write '{side.value}'" if literal else f"write tostring({named(side)})"
    return Fault(f"'{op}' compares texts, but {_with_kind(side, kind)}", hint)


def _computed(op: str, left: Any, right: Any, columns: Types) -> Fault | None:
    kinds = type_of(left, columns), type_of(right, columns)
    for side, kind in zip((left, right), kinds, strict=True):
        if kind in ("string", "bool"):
            hint = (
                "texts are joined with strcat(…)" if op == "+" and kind == "string" else f"write {_CONVERT['number']}"
            )
            return Fault(f"'{op}' computes with numbers and times, but {_with_kind(side, kind)}", hint)
    a, b = map(_class, kinds)
    if a is None or b is None or "dynamic" in (a, b) or (a, b) == ("number", "number") or (a, op, b) in _SPANS:
        return None
    sides = f"{_with_kind(left, kinds[0])}, {_with_kind(right, kinds[1])}"
    return Fault(
        f"'{op}' does not go with these types: {sides}", "write a timespan such as 5m, or divide by one: a / 1s"
    )


def _between(value: Any, low: Any, high: Any, columns: Types) -> Fault | None:
    kind = type_of(value, columns)
    if kind == "string":
        return Fault(f"'between' takes numbers and times, but {_with_kind(value, kind)}", "write >= and <=")
    first = _compared("==", value, low, columns, "between")
    if first or type_of(high, columns) == "timespan":  # datetime between (start .. 1h): from the start on
        return first
    return _compared("==", value, high, columns, "between")


def _path(base: Any, columns: Types) -> Fault | None:
    kind = type_of(base, columns)
    if kind in (None, "dynamic"):
        return None
    hint = f"write parse_json({named(base)})" if kind == "string" else "a path reads dynamic columns, such as Tags.env"
    return Fault(f"there is nothing inside {named(base)}, which is {'an' if kind == 'int' else 'a'} {kind}", hint)


def _call(name: str, args: tuple[Any, ...], columns: Types) -> Fault | None:
    lowered = name.lower()
    if lowered in _PREDICATE_AT:
        found = _first(
            condition_fault(arg, columns, f"a condition of {name}()") for arg in args[_PREDICATE_AT[lowered]]
        )
        if found:
            return found
    if lowered in _BRANCHES:
        return _branches(name, args[_BRANCHES[lowered]], columns)
    if lowered == "datetime_diff" and len(args) == 3:
        return _first(_argument(name, arg, ("datetime",), columns) for arg in args[1:])
    if lowered in _TAKES:
        kinds, number = _TAKES[lowered]
        if -len(args) <= number < len(args):
            return _argument(name, args[number], kinds, columns)
    return None


def _branches(name: str, args: tuple[Any, ...], columns: Types) -> Fault | None:
    """KQL converts no branch, a long beside a real neither."""
    kinds = [(arg, type_of(arg, columns)) for arg in args]
    known = [(arg, kind) for arg, kind in kinds if kind not in (None, "dynamic")]
    for arg, kind in known[1:]:
        if kind != known[0][1] and {kind, known[0][1]} != {"int", "long"}:
            sides = f"{_with_kind(*known[0])}, {_with_kind(arg, kind)}"
            return Fault(
                f"{name}() gives values of different types: {sides}", "convert one: tostring(…), todouble(…), …"
            )
    return None


def _argument(name: str, arg: Any, kinds: tuple[str, ...], columns: Types) -> Fault | None:
    kind = type_of(arg, columns)
    if kind is None or _class(kind) in kinds or (kind == "dynamic" and "dynamic" not in kinds):
        return None
    words = " or ".join(kinds)
    return Fault(f"{name}() takes a {words}, but {_with_kind(arg, kind)}", f"write {_CONVERT[kinds[0]]}")

"""Operators that need to know their input's columns: what ``rewrite`` left as ``where __tocsin_…(…)`` becomes an
operator.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.rowfunctions import adapted, aggregates
from tocsin.kql.parse.plugins import PIVOTED
from tocsin.kql.sandbox.trees import rebuilt, walk
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN, did_you_mean

ANY = f"{HIDDEN}any"
"""A column that stands for every string column: ``* has 'x'``."""

_CONVERT = {
    "string": "tostring",
    "long": "tolong",
    "int": "toint",
    "real": "todouble",
    "double": "todouble",
    "bool": "tobool",
    "datetime": "todatetime",
    "timespan": "totimespan",
}
_BIN_AT = {"datetime": f"{HIDDEN}bin_time", "timespan": f"{HIDDEN}bin_span"}


def marker(op: Any) -> str:
    """Which operator ``op`` stands for, '' where it is what it says."""
    if isinstance(op, ir.Where) and isinstance(op.predicate, ir.FunctionCall) and op.predicate.name.startswith(HIDDEN):
        return str(op.predicate.name.removeprefix(HIDDEN))
    return ""


def resolved(op: Any, columns: Types) -> Any:
    """``op`` as upstream knows it, over ``columns``. Raises ``QueryError`` for a column that is not there."""
    kind = marker(op)
    visible = [name for name in columns if not name.startswith(HIDDEN)]
    if kind == "keep":
        wanted = _texts(op)
        return _project([name for name in visible if any(_matches(name, each, visible) for each in wanted)])
    if kind == "away":
        gone = _texts(op)
        return _project([name for name in visible if not any(fnmatch.fnmatchcase(name, each) for each in gone)])
    if kind == "reorder":
        first = [
            name for each in _texts(op) for name in visible if _matches(name, each.removesuffix("asc").strip(), visible)
        ]
        return _project(list(dict.fromkeys([*first, *visible])))
    if kind == "distinct":
        return ir.Distinct(tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in visible))
    if kind == "unpack":
        return _unpack(op, visible)
    if kind == "spread":
        return _spread(op, visible)
    if kind == "pivot":
        op = _pivot(op, visible)
    if isinstance(op, ir.Summarize):
        op = aggregates(_percentiles(op), columns)
    return by_columns(op, columns)


def _texts(op: Any) -> list[str]:
    return [str(arg.value) for arg in op.predicate.args if isinstance(arg, ir.Literal)]


def _matches(name: str, pattern: str, visible: list[str]) -> bool:
    plain = pattern.strip("[]'\"")
    if "*" not in plain and plain not in visible:
        raise QueryError(
            f"there is no column {plain!r} here", hint=did_you_mean(plain, visible, f"there are {', '.join(visible)}")
        )
    return fnmatch.fnmatchcase(name, plain)


def _project(names: list[str]) -> Any:
    return ir.Project(tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in names))


def _unpack(op: Any, visible: list[str]) -> Any:
    bag, prefix, *listed = op.predicate.args
    if not isinstance(bag, ir.ColumnRef) or bag.name not in visible:
        raise QueryError("bag_unpack takes a dynamic column", hint="extend it first")
    targets = []
    for each in listed:
        name, _, kind = str(each.value).partition(":")
        if name in visible and name != bag.name:
            targets.append(ir.NamedExpr(ir.ColumnRef(name), name))
            continue
        value: Any = ir.PathAccess(bag, (ir.PathStep(name=name.removeprefix(str(prefix.value))),))
        if kind != "dynamic":
            if kind not in _CONVERT:
                raise QueryError(f"{kind!r} is no type", hint=did_you_mean(kind, _CONVERT))
            value = ir.FunctionCall(_CONVERT[kind], (value,))
        targets.append(ir.NamedExpr(value, name))
    return ir.Project(tuple(targets))


def _spread(op: Any, visible: list[str]) -> Any:
    """The columns that there are but the bag, and from the bag what later stages name and no column is."""
    bag, prefix, *used = op.predicate.args
    if not isinstance(bag, ir.ColumnRef) or bag.name not in visible:
        raise QueryError("bag_unpack takes a dynamic column", hint="extend it first")
    kept = [ir.NamedExpr(ir.ColumnRef(name), name) for name in visible if name != bag.name]
    found = [
        ir.NamedExpr(ir.PathAccess(bag, (ir.PathStep(name=name.removeprefix(str(prefix.value))),)), name)
        for name in (str(each.value) for each in used)
        if name == bag.name or (name not in visible and name.startswith(str(prefix.value)))
    ]
    return ir.Project((*kept, *found))


def _pivot(op: Any, visible: list[str]) -> Any:
    """One aggregate a value; by the groups, else by each column that is neither the key nor aggregated."""
    name, key, of, *listed = op.predicate.args
    texts = [str(each.value) for each in listed]
    groups = [text[1:] for text in texts if text[0] == "g"]
    used = {node.name for node in walk((key, of)) if isinstance(node, ir.ColumnRef)}
    values = [text[1:] for text in texts if text[0] == "v" and text[1:] not in visible]
    if not values:
        raise QueryError(
            f"the columns of pivot({key.name}) depend on the data",
            hint=f"say which come out: evaluate pivot({key.name}, count()) : (Failed: long)",
        )
    counted = () if name.value in ("count",) else (of,)
    aggregates = tuple(
        ir.NamedExpr(ir.FunctionCall(PIVOTED[name.value], (*counted, _is(key, value))), value) for value in values
    )
    by = groups or [each for each in visible if each not in used]
    return ir.Summarize(aggregates, tuple(ir.NamedExpr(ir.ColumnRef(each), each) for each in by))


def _is(key: Any, value: str) -> Any:
    return ir.BinaryOp("==", ir.FunctionCall("tostring", (key,)), ir.Literal(value, "string"))


def _percentiles(op: Any) -> Any:
    """percentiles(x, 5, 50) is percentile(x, 5), percentile(x, 50); percentiles_array() packs them."""
    made: list[Any] = []
    for each in op.aggregates:
        call = each.expr
        if isinstance(call, ir.FunctionCall) and call.name.lower() == "percentiles_array" and len(call.args) > 1:
            of, *shares = call.args
            packed = ir.FunctionCall("pack_array", tuple(ir.FunctionCall("percentile", (of, p)) for p in shares))
            name = each.name or f"percentiles_array_{getattr(of, 'name', '')}"
            made.append(ir.NamedExpr(packed, name))
            continue
        if not (isinstance(call, ir.FunctionCall) and call.name.lower() == "percentiles"):
            made.append(each)
            continue
        if each.name is not None:
            raise QueryError("percentiles() gives several columns", hint="a = percentile(x, 5), b = percentile(x, 50)")
        made += [ir.NamedExpr(ir.FunctionCall("percentile", (call.args[0], p))) for p in call.args[1:]]
    return replace(op, aggregates=tuple(made))


def _packed(name: str) -> tuple[Any, Any]:
    return ir.Literal(name, "string"), ir.ColumnRef(name)


def _span(operator: str, left: Any, right: Any, columns: Types) -> Any:
    """A timespan times or over a number, and the rest of one by another; None for any other product or quotient."""
    kinds = type_of(left, columns), type_of(right, columns)
    if operator == "*" and kinds[1] == "timespan":
        left, right, kinds = right, left, (kinds[1], kinds[0])
    if kinds[0] != "timespan" or kinds[1] not in (("timespan",) if operator == "%" else ("int", "long", "real")):
        return None
    name = {"*": "span_times", "/": "span_over", "%": "span_rest"}[operator]
    return ir.FunctionCall(HIDDEN + name, (left, right))


def by_columns(op: Any, columns: Types) -> Any:
    """column_ifexists() and ``* has`` decided by the columns that there are."""

    def decide(node: Any) -> Any:
        match node:
            case ir.FunctionCall(name=name, args=(ir.Literal(value=str() as wanted), default)) if (
                name.lower() == "column_ifexists"
            ):
                return ir.ColumnRef(wanted) if wanted in columns else default
            case ir.FunctionCall(name=name, args=(value, _, _)) if name.lower() == "bin_at":
                return ir.FunctionCall(_BIN_AT.get(type_of(value, columns) or "", f"{HIDDEN}bin_number"), node.args)
            case ir.FunctionCall(name=name, args=()) if name.lower() == "ingestion_time" and "IngestedAt" in columns:
                return ir.ColumnRef("IngestedAt")
            case ir.FunctionCall(name=name, args=()) if name.lower() == "pack_all":
                names = [each for each in columns if not each.startswith(HIDDEN)]
                return ir.FunctionCall("bag_pack", tuple(part for each in names for part in _packed(each)))
            case ir.BinaryOp(op="*" | "/" | "%" as operator, left=left, right=right):
                return _span(operator, left, right, columns) or node
            case ir.BinaryOp(op=operator, left=ir.ColumnRef(name=name), right=right) if name == ANY:
                texts = [c for c, kind in columns.items() if kind == "string" and not c.startswith(HIDDEN)]
                if not texts:
                    raise QueryError("there is no string column here to search")
                word = "and" if operator.startswith("!") else "or"
                made = ir.BinaryOp(operator, ir.ColumnRef(texts[0]), right)
                for text in texts[1:]:
                    made = ir.BinaryOp(word, made, ir.BinaryOp(operator, ir.ColumnRef(text), right))
                return made
        return adapted(node)

    return rebuilt(op, decide)

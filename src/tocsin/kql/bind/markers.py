"""Operators that need to know their input's columns: what ``rewrite`` left as ``where __tocsin_…(…)`` becomes an
operator.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.calls import adapted, aggregates
from tocsin.kql.sandbox.trees import rebuilt
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


def _percentiles(op: Any) -> Any:
    """percentiles(x, 5, 50) is percentile(x, 5), percentile(x, 50)."""
    made: list[Any] = []
    for each in op.aggregates:
        call = each.expr
        if not (isinstance(call, ir.FunctionCall) and call.name.lower() == "percentiles"):
            made.append(each)
            continue
        if each.name is not None:
            raise QueryError("percentiles() gives several columns", hint="a = percentile(x, 5), b = percentile(x, 50)")
        made += [ir.NamedExpr(ir.FunctionCall("percentile", (call.args[0], p))) for p in call.args[1:]]
    return replace(op, aggregates=tuple(made))


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

"""Dynamic values where KQL compares them with numbers, times or booleans.

``Tags.n > 3`` reads a payload: upstream leaves the cast to DuckDB, which fails the whole query at the first value that
is no number. In KQL such a value is just not equal and not greater, so the dynamic side is converted, null where it
cannot be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tocsin.kql.bind.simplify import Sql, ready
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir

_BY_KIND = {
    "int": "todouble",
    "long": "todouble",
    "real": "todouble",
    "datetime": "todatetime",
    "timespan": "totimespan",
    "bool": "tobool",
}
_NUMBERS = ("int", "long", "real")
_COMPARISONS = frozenset(("==", "!=", "<>", "<", "<=", ">", ">="))


def coerced(node: Any, columns: Types) -> Any:
    """``node`` with a dynamic operand converted to the type that it is compared with."""
    match node:
        case ir.BinaryOp(op=op, left=left, right=right) if op in _COMPARISONS:
            kinds = type_of(left, columns), type_of(right, columns)
            if kinds[0] == "dynamic" and kinds[1] in _BY_KIND:
                return ir.BinaryOp(op, _as(left, kinds[1]), right)
            if kinds[1] == "dynamic" and kinds[0] in _BY_KIND:
                return ir.BinaryOp(op, left, _as(right, kinds[0]))
        case ir.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return ir.BinaryOp(op, truth(left, columns), truth(right, columns))
        case ir.InList(value=value, items=items) if items and type_of(value, columns) == "dynamic":
            kinds_ = {type_of(item, columns) for item in items}
            if kinds_ <= set(_NUMBERS):
                return replace(node, value=_as(value, "real"))
            if len(kinds_) == 1 and (kind := kinds_.pop()) in _BY_KIND:
                return replace(node, value=_as(value, kind))
        case ir.Between(value=value, low=low) if type_of(value, columns) == "dynamic":
            kind = type_of(low, columns)
            if kind in _BY_KIND:
                return replace(node, value=_as(value, kind))
    return node


def truth(node: Any, columns: Types) -> Any:
    """``node`` as a condition: a dynamic one by its boolean value."""
    return _as(node, "bool") if type_of(node, columns) == "dynamic" else node


def _as(node: Any, kind: str) -> Any:
    sql = ready(node) if kind in _NUMBERS else None
    if sql is None:
        return ir.FunctionCall(_BY_KIND[kind], (node,))
    return Sql(f"TRY_CAST(({sql} ->> '$') AS DOUBLE)", "real")

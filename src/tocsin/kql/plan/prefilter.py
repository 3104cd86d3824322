"""Simple conditions that every row matching a query satisfies: what the rule index is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tocsin.kql.sandbox.types import Types
from tocsin.kql.sandbox.upstream import ir


class Op(StrEnum):
    """How a predicate compares."""

    EQ = "=="  # the value is the one given
    IN = "in"  # the value is one of those given
    EQ_CI = "=~"  # the value in lower case is one of those given, which are in lower case


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """One simple conjunct that every matching row satisfies.

    ``values`` are what the column, or the scalar at ``path`` in a dynamic one, must be one of: strings, or a bool.
    """

    column: str
    path: tuple[str, ...]  # () for a plain column
    op: Op
    values: tuple[object, ...]

    def key(self, row: Mapping[str, Any]) -> object:
        """What of ``row`` is compared with ``values``; ``ANY`` where that cannot be notified, and the row must be
        tried.

        A dynamic column is its JSON text, or the value read from it.
        """
        value = row.get(self.column)
        if self.path:
            value = _at(value, self.path)
        if value is None:
            value = ""  # KQL has no null string
        if isinstance(value, bool) and not self.path:
            return value
        if not isinstance(value, str):
            return ANY  # a number or an object in a dynamic column: its text is DuckDB's affair
        if self.op is Op.EQ_CI:
            return value.lower() if value.isascii() else ANY
        return value

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether ``row`` may match; False only where it certainly does not."""
        key = self.key(row)
        return key is ANY or key in self.values


class _Any:
    def __repr__(self) -> str:
        return "ANY"


ANY = _Any()
"""Stands for a value that a prefilter cannot evaluate."""


def refilled(predicate: Predicate, values: Mapping[object, object]) -> Predicate | None:
    """``predicate`` with those of its values that are keys of ``values`` replaced; None where it would promise too
    much.
    """
    if not any(value in values for value in predicate.values):
        return predicate
    new = [values.get(value, value) for value in predicate.values]
    if predicate.op is Op.EQ_CI:
        if not all(isinstance(value, str) and value.isascii() for value in new):
            return None
        new = [str(value).lower() for value in new]
    unique = tuple(dict.fromkeys(new))
    op = predicate.op if predicate.op is Op.EQ_CI else Op.EQ if len(unique) == 1 else Op.IN
    return replace(predicate, op=op, values=unique)


def _at(value: Any, path: Sequence[str]) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return ANY
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def conjuncts(predicate: Any) -> list[Any]:
    """The parts of a predicate that all must hold."""
    if isinstance(predicate, ir.BinaryOp) and predicate.op == "and":
        return [*conjuncts(predicate.left), *conjuncts(predicate.right)]
    return [predicate]


def simple(condition: Any, columns: Types, renamed: Mapping[str, str]) -> Predicate | None:
    """``condition`` as a predicate on event columns; None where it is none.

    ``renamed`` maps the names that stand for event columns at this point of the query to those columns.
    """
    match condition:
        case ir.BinaryOp(op="or", left=left, right=right):
            return _either(simple(left, columns, renamed), simple(right, columns, renamed))
        case ir.BinaryOp(op="==" | "=~" as op, left=left, right=right):
            if isinstance(left, ir.Literal):
                left, right = right, left
            return _of(left, (right,), op == "=~", columns, renamed)
        case ir.InList(value=value, items=items, negated=False, subquery=None, case_insensitive=folded) if items:
            return _of(value, items, folded, columns, renamed)
        case ir.ColumnRef(name=name) if columns.get(name) == "bool" and name in renamed:
            return Predicate(column=renamed[name], path=(), op=Op.EQ, values=(True,))
    return None


def _of(value: Any, items: Sequence[Any], folded: bool, columns: Types, renamed: Mapping[str, str]) -> Predicate | None:
    literals: list[Any] = [item.value for item in items if isinstance(item, ir.Literal)]
    if len(literals) != len(items):
        return None
    path: tuple[str, ...] = ()
    if isinstance(value, ir.FunctionCall) and value.name.lower() == "tostring" and len(value.args) == 1:
        value = value.args[0]  # of a string it is itself, of a dynamic its text, which == reads too
        if not isinstance(value, ir.PathAccess) and not (
            isinstance(value, ir.ColumnRef) and columns.get(value.name) == "string"
        ):
            return None
    if isinstance(value, ir.PathAccess):
        if any(step.name is None for step in value.steps):
            return None
        path, value = tuple(str(step.name) for step in value.steps), value.base
    if not isinstance(value, ir.ColumnRef) or value.name not in renamed:
        return None
    kind = columns.get(value.name)
    if kind == "bool" and not path and all(isinstance(each, bool) for each in literals):
        return Predicate(column=renamed[value.name], path=(), op=Op.EQ, values=tuple(literals))
    if kind != ("dynamic" if path else "string") or not all(isinstance(each, str) for each in literals):
        return None
    if any(item.kind != "string" for item in items):
        return None
    if folded:
        if not all(each.isascii() for each in literals):
            return None
        return Predicate(
            column=renamed[value.name], path=path, op=Op.EQ_CI, values=_unique(e.lower() for e in literals)
        )
    op = Op.EQ if len(literals) == 1 else Op.IN
    return Predicate(column=renamed[value.name], path=path, op=op, values=_unique(literals))


def _either(left: Predicate | None, right: Predicate | None) -> Predicate | None:
    if left is None or right is None or (left.column, left.path) != (right.column, right.path):
        return None
    if (left.op is Op.EQ_CI) != (right.op is Op.EQ_CI):
        return None
    values = _unique([*left.values, *right.values])
    op = Op.EQ_CI if left.op is Op.EQ_CI else Op.EQ if len(values) == 1 else Op.IN
    return Predicate(column=left.column, path=left.path, op=op, values=values)


def _unique(values: Any) -> tuple[object, ...]:
    return tuple(dict.fromkeys(values))

"""Conditions of an event query that Python answers as DuckDB would, so that a row in memory needs no SQL.

    where Status == 'Failed' and Target startswith 'aks'      answered here
    where Message matches regex '…'                           beyond it: ``condition`` is None, DuckDB is asked
    where Target startswith 'aks', and Target is 'ÀKS-eu'     Undecided for that row: DuckDB is asked

Only what is certain is answered: letters beyond ASCII without regard to case, numbers in dynamic columns, missing texts
and floats that are no numbers are left to DuckDB. ``tests/unit/kql/test_rowplan_property.py`` holds both equal.

Stays beside the SQL: without it p50 of 1,000 events/s with 1,000 rules is 759 ms in place of 311 (docs/decisions/0019).
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, TypeAlias

from tocsin.kql.plan import shapes
from tocsin.kql.sandbox.types import Types
from tocsin.kql.sandbox.upstream import ir

Row: TypeAlias = Mapping[str, Any]
"""A row as it is stored: columns by name, dynamic ones as JSON text."""
Condition: TypeAlias = Callable[[Row, Sequence[object]], bool | None]
"""Of a row and a rule's constants: whether it holds, None as SQL's null. Raises Undecided."""
_Value: TypeAlias = Callable[[Row, Sequence[object]], Any]

_EXACT = 2**53
"""Whole numbers up to here are the same as floats."""


class Undecided(Exception):
    """Only DuckDB knows."""


class _Beyond(Exception):
    """A form that is not known here."""


def condition(predicate: Any, columns: Types, stands: Mapping[str, str]) -> Condition | None:
    """``predicate`` of a ``where``; None where it has a form that is left to DuckDB.

    ``stands`` maps the names that stand for event columns at this point of the query to those columns.
    """
    try:
        return _truth(predicate, columns, stands)
    except _Beyond:
        return None


def all_of(conditions: Sequence[Condition | None]) -> Condition | None:
    """All of them hold; None where one of them is left to DuckDB."""
    known = [each for each in conditions if each is not None]
    if len(known) < len(conditions):
        return None
    return reduce(_both, known) if known else lambda _row, _constants: True


def _both(left: Condition, right: Condition) -> Condition:
    def holds(row: Row, constants: Sequence[object]) -> bool | None:
        found = left(row, constants)
        if found is False:
            return False
        other = right(row, constants)
        return other if found is True or other is False else None

    return holds


def _either(left: Condition, right: Condition) -> Condition:
    def holds(row: Row, constants: Sequence[object]) -> bool | None:
        found = left(row, constants)
        if found is True:
            return True
        other = right(row, constants)
        return other if found is False or other is True else None

    return holds


def _not(inner: Condition) -> Condition:
    def holds(row: Row, constants: Sequence[object]) -> bool | None:
        found = inner(row, constants)
        return None if found is None else not found

    return holds


def _truth(node: Any, columns: Types, stands: Mapping[str, str]) -> Condition:
    match node:
        case ir.BinaryOp(op="and", left=left, right=right):
            return _both(_truth(left, columns, stands), _truth(right, columns, stands))
        case ir.BinaryOp(op="or", left=left, right=right):
            return _either(_truth(left, columns, stands), _truth(right, columns, stands))
        case ir.FunctionCall(name=name, args=(inner,)) if name.lower() == "not":
            return _not(_truth(inner, columns, stands))
        case ir.FunctionCall(name=name, args=(inner,)) if name.lower() in ("isempty", "isnotempty"):
            return _emptiness(_text(inner, columns, stands), name.lower() == "isempty")
        case ir.FunctionCall(name=name, args=(ir.ColumnRef(name=column),)) if name.lower() in ("isnull", "isnotnull"):
            return _nullness(_column(column, stands), columns.get(column), name.lower() == "isnull")
        case ir.ColumnRef(name=name) if columns.get(name) == "bool":
            return _column(name, stands)
        case ir.InList(value=value, items=items, negated=negated, case_insensitive=folded, subquery=None) if items:
            return _among(_text(value, columns, stands), [_literal(item, "string") for item in items], negated, folded)
        case ir.BinaryOp(op=op, left=left, right=right) if op in _TEXTS and _is_text(left, columns):
            return _compared(_text(left, columns, stands), _literal(right, "string"), op)
        case ir.BinaryOp(op="==" | "!=" as op, left=ir.ColumnRef(name=name), right=ir.Literal(value=bool(given))) if (
            columns.get(name) == "bool"
        ):
            return _same(_column(name, stands), given, op == "==")
        case ir.BinaryOp(op=op, left=left, right=right) if op in _NUMBERS:
            return _measured(_number(left, columns, stands), _literal(right, "long", "real"), op)
    raise _Beyond


def _column(name: str, stands: Mapping[str, str]) -> _Value:
    column = stands.get(name)
    if column is None:
        raise _Beyond

    def value(row: Row, _constants: Sequence[object]) -> Any:
        try:
            return row[column]
        except KeyError:  # it is not kept in memory
            raise Undecided from None

    return value


def _literal(node: Any, *kinds: str) -> _Value:
    """A literal, or the constant that stands for it."""
    if not isinstance(node, ir.Literal) or node.kind not in kinds:
        raise _Beyond
    given = node.value
    if isinstance(given, bool) or not isinstance(given, str if kinds == ("string",) else int | float):
        raise _Beyond
    number = shapes.number_of(given)
    if number is None:
        return lambda _row, _constants: given
    if isinstance(given, int | float) and given < 0:
        raise _Beyond
    return lambda _row, constants: constants[number]


def _same(value: _Value, other: bool, same: bool) -> Condition:
    return lambda row, constants: (value(row, constants) is other) is same


def _nullness(value: _Value, kind: str | None, null: bool) -> Condition:
    if kind not in ("bool", "int", "long", "real", "datetime"):
        raise _Beyond
    return lambda row, constants: (value(row, constants) is None) is null


# --- texts ------------------------------------------------------------------------------------------


def _is_text(node: Any, columns: Types) -> bool:
    match node:
        case ir.FunctionCall(name=name, args=(inner,)) if name.lower() == "tostring":
            return _is_text(inner, columns)
        case ir.PathAccess(base=ir.ColumnRef(name=name)):
            return columns.get(name) == "dynamic"
        case ir.ColumnRef(name=name):
            return columns.get(name) == "string"
    return False


def _text(node: Any, columns: Types, stands: Mapping[str, str]) -> _Value:
    """A text of the row: a column, or a scalar in a dynamic one, whatever that is."""
    if not _is_text(node, columns):
        raise _Beyond
    if isinstance(node, ir.FunctionCall):
        return _text(node.args[0], columns, stands)
    if isinstance(node, ir.ColumnRef):
        return _column(node.name, stands)
    if any(step.name is None for step in node.steps):
        raise _Beyond
    path, column = tuple(str(step.name) for step in node.steps), _column(node.base.name, stands)

    def value(row: Row, constants: Sequence[object]) -> Any:
        found = column(row, constants)
        found = json.loads(found) if isinstance(found, str) else found
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    return value


def _emptiness(value: _Value, empty: bool) -> Condition:
    def holds(row: Row, constants: Sequence[object]) -> bool:
        return (_certain(value(row, constants)) == "") is empty

    return holds


def _certain(found: object, *others: str) -> str:
    """``found``, where it is a text. What is missing is not any of ``others``, and is in none of them, but an empty
    one.
    """
    if found is None and others and "" not in others:
        return ""
    if not isinstance(found, str):
        raise Undecided
    return found


def _lower(text: str) -> str:
    """``text`` in lower case, where DuckDB makes the same of it."""
    if not text.isascii():
        raise Undecided
    return text.lower()


def _among(value: _Value, items: Sequence[_Value], negated: bool, folded: bool) -> Condition:
    def holds(row: Row, constants: Sequence[object]) -> bool:
        among = [str(item(row, constants)) for item in items]
        found = _certain(value(row, constants), *among)
        if folded:
            found, among = _lower(found), [_lower(each) for each in among]
        return (found in among) is not negated

    return holds


@lru_cache(maxsize=4096)
def _term(needle: str, folded: bool) -> re.Pattern[str]:
    """Finds ``needle`` as whole terms: runs of letters and digits. Both texts are ASCII."""
    begin = "(?:^|[^A-Za-z0-9])" if needle[:1].isalnum() else ""
    end = "(?:\\Z|[^A-Za-z0-9])" if needle[-1:].isalnum() else ""
    return re.compile(begin + re.escape(needle) + end, re.IGNORECASE | re.ASCII if folded else re.ASCII)


def _has(folded: bool) -> Callable[[str, str], bool]:
    def found(text: str, needle: str) -> bool:
        if not (text.isascii() and needle.isascii()):
            raise Undecided
        return _term(needle, folded).search(text) is not None

    return found


_BOTH_CASES: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "==": operator.eq,
    "=~": lambda text, other: _lower(text) == _lower(other),
    "has": _has(folded=True),
    "has_cs": _has(folded=False),
    **{f"{word}_cs": compare for word, compare in _BOTH_CASES.items()},
    **{word: lambda text, other, c=compare: c(_lower(text), _lower(other)) for word, compare in _BOTH_CASES.items()},  # type: ignore[misc]
}
_TEXTS |= {"!=" if op == "==" else "!~" if op == "=~" else f"!{op}": _TEXTS[op] for op in list(_TEXTS)}


def _compared(value: _Value, other: _Value, op: str) -> Condition:
    compare, negated = _TEXTS[op], op.startswith("!")

    def holds(row: Row, constants: Sequence[object]) -> bool:
        text = str(other(row, constants))
        return compare(_certain(value(row, constants), text), text) is not negated

    return holds


# --- numbers ----------------------------------------------------------------------------------------


_NUMBERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOTAL = {"==": False, "!=": True}
"""What these are of a null; the others are null."""


def _number(node: Any, columns: Types, stands: Mapping[str, str]) -> _Value:
    match node:
        case ir.ColumnRef(name=name) if columns.get(name) in ("int", "long", "real"):
            return _column(name, stands)
        case ir.FunctionCall(name=name, args=(inner,)) if name.lower() == "strlen":
            text = _text(inner, columns, stands)
            return lambda row, constants: len(_lower(_certain(text(row, constants))))
    raise _Beyond


def _measured(value: _Value, other: _Value, op: str) -> Condition:
    compare, of_null = _NUMBERS[op], _TOTAL.get(op)

    def holds(row: Row, constants: Sequence[object]) -> bool | None:
        found, limit = value(row, constants), other(row, constants)
        if found is None:
            return of_null
        if not (isinstance(found, int | float) and isinstance(limit, int | float)):
            raise Undecided
        if not (abs(found) <= _EXACT and abs(limit) <= _EXACT):  # nor one that is no number
            raise Undecided
        return compare(found, limit)

    return holds

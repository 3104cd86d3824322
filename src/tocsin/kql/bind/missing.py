"""``union isfuzzy=true`` leaves out each branch that names a table that is not there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from tocsin.kql.bind.scope import named_tables
from tocsin.kql.sandbox.trees import parts
from tocsin.kql.sandbox.upstream import ir


def without_missing(query: Any, tables: Collection[str]) -> Any:
    """The tree of ``query`` over ``tables``, also inside its lets, joins and unions.

    A union of which nothing would be left stays as it is, so that its tables are named as unknown.
    """
    known, lets = set(tables), []
    for name, bound in query.lets:
        lets.append((name, without_missing(bound, known) if isinstance(bound, ir.Query) else bound))
        known.add(name)
    operators = [_inside(op, known) for op in query.operators]
    return _fuzzy(ir.Query(query.source, operators, lets, query.parameters), known)


def _inside(op: Any, known: Collection[str]) -> Any:
    changes: dict[str, Any] = {}
    for name in parts(op.__class__) or ():
        value = getattr(op, name)
        if isinstance(value, ir.Query):
            changes[name] = without_missing(value, known)
        elif isinstance(value, tuple) and value and all(isinstance(each, ir.Query) for each in value):
            changes[name] = tuple(without_missing(each, known) for each in value)
    return replace(op, **changes) if changes else op


def _fuzzy(query: Any, known: Collection[str]) -> Any:
    at = next((i for i, op in enumerate(query.operators) if isinstance(op, ir.Union) and op.isfuzzy), -1)
    if at < 0:
        return query
    union = query.operators[at]
    every = [ir.Query(query.source, query.operators[:at]), *union.branches]
    first, *others = [each for each in every if set(known).issuperset(named_tables(each))] or every
    united = [replace(union, branches=tuple(others), isfuzzy=False)] if others or union.with_source else []
    rest = [*first.operators, *united, *query.operators[at + 1 :]]
    return _fuzzy(ir.Query(first.source, rest, query.lets, query.parameters), known)

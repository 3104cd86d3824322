"""Row queries as plans: one SQL for all rules of a shape, over new rows and a table of the rules' constants.

    rows (new events)    constants (rule_no, c0, c1, …)
            \\_________________/
        each row beside each rule's constants, joined by the query's own conditions
                     |
        rule_no, the event's identity, computed columns

The identity travels in hidden columns, so a projection cannot lose it. now() is the row's own IngestedAt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from tocsin.kql.plan import constants as constants_of
from tocsin.kql.plan import shapes
from tocsin.kql.plan.constants import Words
from tocsin.kql.plan.decide import Condition, Row, Undecided
from tocsin.kql.plan.prefilter import Op, Predicate, refilled
from tocsin.kql.plan.rowtree import IDENTITY, Built, build
from tocsin.kql.schema import Schema
from tocsin.kql.tokens import tokenize

__all__ = ["IDENTITY", "Op", "Predicate", "RowPlan", "row_plan", "with_values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """How to find the rows that an event query matches."""

    shape: str  # rules with the same shape share one SQL; constants differ
    constants: tuple[object, ...]  # this rule's literals, in the order of the shape's placeholders
    prefilter: tuple[Predicate, ...]  # every matching row satisfies each of them
    columns: Mapping[str, str]  # fields the alert may use: event columns and computed ones -> KQL type
    computed: tuple[str, ...]  # columns that ``sql`` yields after the identity
    tables: frozenset[str]  # stored tables that it reads besides the rows: reference tables, baselines
    reads: frozenset[
        str
    ]  # columns of the rows that it may read, perhaps too many; of others it knows nothing but the identity
    sql: str  # over the CTEs "rows" and "constants"; yields rule_no, the identity, computed columns
    kinds: tuple[str, ...] = field(repr=False)  # KQL types of the constants
    condition: Condition | None = field(default=None, repr=False, compare=False)  # see ``matches``

    def matches(self, row: Row) -> bool | None:
        """Whether it matches ``row``, and computes nothing; None where only DuckDB can say."""
        if self.condition is None:
            return None
        try:
            return self.condition(row, self.constants) is True
        except Undecided:
            return None

    def bind(self, rows_sql: str, rules: Sequence[tuple[int, tuple[object, ...]]]) -> tuple[str, dict[str, object]]:
        """The whole SQL and its parameters, for ``rules`` (number, constants) of this shape over ``rows_sql``.

        ``rows_sql`` is a SELECT that gives RunStatusChanged's columns; it may use parameters of its own, whose names
        do not begin with ``tocsin``. Raises ``ValueError`` for constants that are not of this shape.
        """
        if any(len(constants) != len(self.kinds) for _, constants in rules):
            raise ValueError(f"a rule of another shape: {len(self.kinds)} constants are expected")
        numbers, rows = [number for number, _ in rules], [constants for _, constants in rules]
        table, parameters = constants_of.table(self.kinds, numbers, rows)
        return f'WITH "rows" AS ({rows_sql}), "constants" AS ({table})\n{self.sql}', parameters


def with_values(plan: RowPlan, values: Mapping[object, object]) -> RowPlan:
    """``plan`` with other constants: those that are keys of ``values`` replaced. The new ones must be plain literals of
    the kind of the old ones: then it is the plan of the query with them in it.
    """
    prefilter = tuple(p for each in plan.prefilter if (p := refilled(each, values)) is not None)
    return replace(plan, constants=tuple(values.get(c, c) for c in plan.constants), prefilter=prefilter)


def row_plan(query: str, schema: Mapping[str, Mapping[str, str]]) -> RowPlan:
    """The plan of an event query. Raises ``QueryError`` with its place where it is wrong or no event query.

    Costs some milliseconds for the first query of a shape, some ten microseconds for each further one.
    """
    known = Schema.of(schema)
    tokens = tokenize(query)
    chosen = _places(Words(query, tokens, shapes.candidates(tokens)), known)
    words = Words(query, tokens, chosen)
    built, constants = _compiled(words, chosen, known), words.values(chosen)
    return RowPlan(
        shape=hashlib.sha256(repr((words.pattern, known.fingerprint)).encode()).hexdigest()[:16],
        constants=constants,
        prefilter=constants_of.filled(built.prefilter, constants),
        columns=built.columns,
        computed=built.computed,
        tables=built.tables,
        reads=built.reads,
        sql=built.sql,
        kinds=words.kinds(chosen),
        condition=built.condition,
    )


@lru_cache(maxsize=8192)
def _places(words: Words, schema: Schema) -> tuple[int, ...]:
    return words.places(lambda text, kinds: _built(text, kinds, schema))


@lru_cache(maxsize=8192)
def _compiled(words: Words, chosen: tuple[int, ...], schema: Schema) -> Built:
    return words.built(chosen, lambda text, kinds: _built(text, kinds, schema))


@lru_cache(maxsize=64)
def _built(text: str, kinds: tuple[str, ...], schema: Schema) -> Built:
    """A plan by its text with sentinels: what was learned with them is mostly what is compiled next."""
    return build(text, schema, kinds)

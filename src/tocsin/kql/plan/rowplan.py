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
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from tocsin.errors import QueryError
from tocsin.kql.plan import shapes
from tocsin.kql.plan.prefilter import Op, Predicate, refilled
from tocsin.kql.plan.rowtree import IDENTITY, Built, build
from tocsin.kql.schema import Schema
from tocsin.kql.tokens import Token, tokenize

__all__ = ["IDENTITY", "Op", "Predicate", "RowPlan", "row_plan", "with_values"]

_DUCKDB = {"string": "VARCHAR", "long": "BIGINT", "real": "DOUBLE"}


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

    def bind(self, rows_sql: str, rules: Sequence[tuple[int, tuple[object, ...]]]) -> tuple[str, dict[str, object]]:
        """The whole SQL and its parameters, for ``rules`` (number, constants) of this shape over ``rows_sql``.

        ``rows_sql`` is a SELECT that gives RunStatusChanged's columns; it may use parameters of its own, whose names
        do not begin with ``tocsin``. Raises ``ValueError`` for constants that are not of this shape.
        """
        if any(len(constants) != len(self.kinds) for _, constants in rules):
            raise ValueError(f"a rule of another shape: {len(self.kinds)} constants are expected")
        # As JSON text: DuckDB takes a list of a thousand as a parameter in 160 ms, as text in one.
        listed = ["unnest($tocsin_rules::JSON::INTEGER[]) AS rule_no"]
        parameters: dict[str, object] = {"tocsin_rules": json.dumps([number for number, _ in rules])}
        for index, kind in enumerate(self.kinds):
            listed.append(f'unnest($tocsin_c{index}::JSON::{_DUCKDB[kind]}[]) AS "c{index}"')
            parameters[f"tocsin_c{index}"] = json.dumps(
                [constants[index] for _, constants in rules], ensure_ascii=False
            )
        return f'WITH "rows" AS ({rows_sql}), "constants" AS (SELECT {", ".join(listed)})\n{self.sql}', parameters


def with_values(plan: RowPlan, values: Mapping[object, object]) -> RowPlan:
    """``plan`` with other constants: those that are keys of ``values`` replaced. The new ones must be plain literals
    of the kind
    of the old ones: then it is the plan of the query with them in it.
    """
    prefilter = tuple(p for each in plan.prefilter if (p := refilled(each, values)) is not None)
    return replace(plan, constants=tuple(values.get(c, c) for c in plan.constants), prefilter=prefilter)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    shape: str
    built: Built
    kinds: tuple[str, ...]


def row_plan(query: str, schema: Mapping[str, Mapping[str, str]]) -> RowPlan:
    """The plan of an event query. Raises ``QueryError`` with its place where it is wrong or no event query.

    Costs some milliseconds for the first query of a shape, some ten microseconds for each further one.
    """
    known = Schema.of(schema)
    tokens = tokenize(query)
    possible = shapes.candidates(tokens)
    words = _Words(shapes.pattern(tokens, possible), query, tokens)
    chosen = _constant_places(words, known)
    compiled = _compiled(_Words(shapes.pattern(tokens, chosen), query, tokens), chosen, known)
    constants = tuple(shapes.value(tokens[index]) for index in chosen)
    return RowPlan(
        shape=compiled.shape,
        constants=constants,
        prefilter=tuple(p for t in compiled.built.prefilter if (p := _filled(t, constants)) is not None),
        columns=compiled.built.columns,
        computed=compiled.built.computed,
        tables=compiled.built.tables,
        reads=compiled.built.reads,
        sql=compiled.built.sql,
        kinds=compiled.kinds,
    )


class _Words:
    """A query as a cache key: equal to every query with the same words."""

    __slots__ = ("pattern", "text", "tokens")

    def __init__(self, pattern: tuple[str, ...], text: str, tokens: tuple[Token, ...]) -> None:
        self.pattern, self.text, self.tokens = pattern, text, tokens

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Words) and other.pattern == self.pattern


@lru_cache(maxsize=8192)
def _constant_places(words: _Words, schema: Schema) -> tuple[int, ...]:
    """Indexes of the tokens that become constants."""
    possible = tuple(shapes.candidates(words.tokens))
    every = _usable(words, possible, schema)
    if every == possible:
        return possible
    build(words.text, schema)  # says what is wrong, at its place
    if every is None:  # one of them must be just what it is, such as a pattern of parse: each is tried alone
        alone = (_usable(words, (index,), schema) for index in possible)
        every = tuple(index for found in alone for index in found or ())
    return _usable(words, every, schema) or ()


def _usable(words: _Words, chosen: tuple[int, ...], schema: Schema) -> tuple[int, ...] | None:
    """Which of the ``chosen`` literals may become constants; None where the query is no more one with sentinels in
    it.
    """
    try:
        built = _built(*_with_sentinels(words, chosen), schema)
    except QueryError:
        return None
    return tuple(index for number, index in enumerate(chosen) if number in built.usable)


@lru_cache(maxsize=8192)
def _compiled(words: _Words, chosen: tuple[int, ...], schema: Schema) -> _Compiled:
    text, kinds = _with_sentinels(words, chosen)
    try:
        built = _built(text, kinds, schema)
    except QueryError:
        build(words.text, schema)  # the same fault, at its place
        raise
    key = repr((words.pattern, schema.fingerprint))
    return _Compiled(shape=hashlib.sha256(key.encode()).hexdigest()[:16], built=built, kinds=kinds)


def _with_sentinels(words: _Words, chosen: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
    kinds = tuple(str(shapes.kind_of(words.tokens[index])) for index in chosen)
    return shapes.with_sentinels(words.text, words.tokens, chosen), kinds


@lru_cache(maxsize=64)
def _built(text: str, kinds: tuple[str, ...], schema: Schema) -> Built:
    """A plan by its text with sentinels: what was learned with them is mostly what is compiled next."""
    return build(text, schema, kinds)


def _filled(template: Predicate, constants: tuple[object, ...]) -> Predicate | None:
    """A predicate with this rule's constants in place of sentinels; None where it would promise too much."""
    values: list[object] = []
    for each in template.values:
        number = shapes.number_of(each)
        values.append(each if number is None else constants[number])
    if template.op is Op.EQ_CI:
        if not all(isinstance(each, str) and each.isascii() for each in values):
            return None
        values = [str(each).lower() for each in values]
    op = template.op
    unique = tuple(dict.fromkeys(values))
    if op is not Op.EQ_CI:
        op = Op.EQ if len(unique) == 1 else Op.IN
    return replace(template, op=op, values=unique)

"""Window queries as plans: one SQL for all rules of a shape, over tables cut to the window, and a table of constants.

    tables (cut)  ── operators that all rules share ──►  × constants (rule_no, c0, …)  ── the others ──►  rows, each
with
                                                                                     holds, clear, severity, key

Literals that are the same for all rules of a group stay literals, and the constants join as late as they can: rules
that differ in a threshold aggregate once. Aggregates after that go by rule.

A rule's condition, and the ``where``s that end its query, become a column, ``holds``. So an instance that does not fire
is still seen: whether it may resolve, and that there is data about it. The ``where``s that begin a query choose its
data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from tocsin.kql.plan import shapes
from tocsin.kql.plan.prefilter import Predicate, refilled
from tocsin.kql.plan.shapes import Words
from tocsin.kql.plan.windowtree import AML, CONDITION, EVENTS, LOGS, Built, Wants, build, build_sql, scoped_view
from tocsin.kql.sandbox.describe import quoted
from tocsin.kql.schema import Schema
from tocsin.kql.tokens import TokenKind, tokenize

__all__ = [
    "AML",
    "CONDITION",
    "EVENTS",
    "LOGS",
    "Row",
    "WindowPlan",
    "WindowQuery",
    "condition_fault",
    "scoped_view",
    "sql_query",
    "window_plan",
    "window_query",
    "with_values",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table that a query in SQL is about: its columns are names in it, and columns of what it finds."""

    columns: Mapping[str, str]  # name -> KQL type
    values: tuple[object, ...]  # times as ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowQuery:
    """A checked window query."""

    shape: str  # queries of the same shape may share a plan
    columns: Mapping[str, str]
    tables: frozenset[str]
    events: bool
    prefilter: tuple[Predicate, ...]
    text: str = field(repr=False)  # with the extra columns
    wants: Wants = field(repr=False)
    places: tuple[int, ...] = field(repr=False)  # of the literals that may differ
    schema: Schema = field(repr=False)
    built: Built = field(repr=False, compare=False)
    raw_sql: bool = False
    constants: tuple[object, ...] = field(default=(), repr=False)  # what stands at these places, or in the row
    kinds: tuple[str, ...] = ()  # of SQL's constants


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """How to look for a group of window queries at once."""

    built: Built
    made: tuple[str, ...]
    kinds: tuple[str, ...]
    constants: tuple[tuple[object, ...], ...]  # of each query

    def bind(
        self,
        numbers: Sequence[int],
        scopes: Mapping[str, str],
        known: Sequence[tuple[int, str]],
        *,
        every: bool = False,
    ) -> tuple[str, dict[str, object]]:
        """The whole SQL and its parameters (``$kqlnow`` not among them), for the queries of these numbers.

        ``scopes`` gives for each table the SELECT that stands for it, over ``main.…``. Rows come back that hold, and
        those of ``known`` (number of the query, key); all where ``every``.
        """
        head = [f"{quoted(name)} AS NOT MATERIALIZED ({sql})" for name, sql in scopes.items()]
        table, parameters = shapes.table(self.kinds, numbers, [self.constants[n] for n in numbers])
        head.append(f'"constants" AS ({table})')
        where = "" if every else "\nWHERE holds"
        if known and not every:
            head.append(
                '"known" AS (SELECT unnest($tocsin_known_rules::JSON::INTEGER[]) AS rule_no,'
                " unnest($tocsin_known_keys::JSON::VARCHAR[]) AS key)"
            )
            parameters["tocsin_known_rules"] = json.dumps([number for number, _ in known])
            parameters["tocsin_known_keys"] = json.dumps([key for _, key in known], ensure_ascii=False)
            where = '\nWHERE holds OR (rule_no, key) IN (SELECT rule_no, key FROM "known")'
        return f"WITH {', '.join(head)}\nSELECT * FROM ({self.built.sql}){where}", parameters


def window_query(
    query: str,
    schema: Mapping[str, Mapping[str, str]],
    *,
    by: Sequence[str] = (),
    made: Mapping[str, str] | None = None,
    needs: Iterable[str] | None = None,
    shared: bool = True,
) -> WindowQuery:
    """Check a window query. ``made`` are conditions over its output (name -> KQL), computed beside its columns;
    ``needs`` the output columns that somebody reads: others of a wide table may be left out (None: all are read).
    Not ``shared``: queries that differ in a constant need share no plan. To find which may differ takes five plans.

    Raises ``QueryError`` with its place where the query is wrong; of a condition without place: check those apart.
    """
    known = Schema.of(schema)
    text, names = _with_made(query, made or {})
    wants = Wants(made=names, by=tuple(by), needs=None if needs is None else frozenset(needs))
    tokens = tokenize(text)
    places = _places(Words(text, tokens, shapes.candidates(tokens)), wants, known) if shared else ()
    words = Words(text, tokens, places)
    built, constants = _compiled(words, places, wants, known), words.values(places)
    return WindowQuery(
        constants=constants,
        shape=_hash(words.pattern, names, tuple(by), sorted(wants.needs or ()), known.fingerprint),
        columns=built.columns,
        tables=built.tables,
        events=built.events,
        prefilter=shapes.filled(built.prefilter, constants),
        text=text,
        wants=wants,
        places=places,
        schema=known,
        built=built,
    )


def sql_query(
    sql: str,
    schema: Mapping[str, Mapping[str, str]],
    *,
    by: Sequence[str] = (),
    made: Mapping[str, str] | None = None,
    row: Row | None = None,
) -> WindowQuery:
    """The same for ``sql:``. Every row of it fires. Queries that differ in the values of ``row`` alone share a plan."""
    known = Schema.of(schema)
    names = tuple(made or {})
    extends = ", ".join(f"{name} = ({condition}\n)" for name, condition in (made or {}).items())
    text = json.dumps([sql, extends, dict(row.columns) if row else {}])
    built = build_sql(text, names, tuple(by), known)
    return WindowQuery(
        shape=_hash((text,), names, tuple(by), known.fingerprint),
        columns=built.columns,
        tables=built.tables,
        events=False,
        prefilter=(),
        text=text,
        wants=Wants(made=names, by=tuple(by), needs=None),
        places=(),
        schema=known,
        built=built,
        raw_sql=True,
        constants=row.values if row else (),
        kinds=tuple(row.columns.values()) if row else (),
    )


def with_values(query: WindowQuery, values: Mapping[object, object], text: str) -> WindowQuery:
    """``query`` with other constants: those that are keys of ``values`` replaced, as they are in ``text``. The new ones
    must be plain literals of the kind of the old ones.
    """
    return replace(
        query,
        text=text,
        constants=tuple(values.get(c, c) for c in query.constants),
        prefilter=tuple(p for each in query.prefilter if (p := refilled(each, values)) is not None),
    )


def window_plan(queries: Sequence[WindowQuery]) -> WindowPlan:
    """One plan for queries of one shape; what they have in common stays a literal, so of one alone all literals do.

    Raises ``QueryError`` where these cannot share one; one alone always can.
    """
    first = queries[0]
    if first.raw_sql:
        constants = tuple(q.constants for q in queries)
        return WindowPlan(built=first.built, made=first.wants.made, kinds=first.kinds, constants=constants)
    tokens = tokenize(first.text)
    values = [q.constants for q in queries]
    varying = [n for n in range(len(first.places)) if len({repr(each[n]) for each in values}) > 1]
    chosen = tuple(first.places[n] for n in varying)
    words = Words(first.text, tokens, chosen)
    built = _compiled(words, chosen, first.wants, first.schema)
    return WindowPlan(
        built=built,
        made=first.wants.made,
        kinds=words.kinds(chosen),
        constants=tuple(tuple(each[n] for n in varying) for each in values),
    )


def condition_fault(condition: str) -> str:
    """What is wrong with the form of a condition over a query's output; '' for one that may be tried."""
    depth = 0
    for token in tokenize(condition):
        if token.kind is TokenKind.PUNCT:
            depth += token.text in "([{"
            depth -= token.text in ")]}"
            if depth < 0 or (depth == 0 and token.text in ("|", ";", ",")):
                return f"'{token.text}' does not belong into a condition"
    return "a bracket is never closed" if depth else ""


def _with_made(query: str, made: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    text = query.rstrip().removesuffix(";")
    for name, condition in made.items():
        text += f"\n| extend {name} = (\n{condition}\n)"
    return text, tuple(made)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@lru_cache(maxsize=8192)
def _places(words: Words, wants: Wants, schema: Schema) -> tuple[int, ...]:
    """Indexes of the tokens that may differ between queries that share a plan."""
    return words.places(lambda text, kinds: build(text, kinds, wants, schema))


@lru_cache(maxsize=8192)
def _compiled(words: Words, chosen: tuple[int, ...], wants: Wants, schema: Schema) -> Built:
    return words.built(chosen, lambda text, kinds: build(text, kinds, wants, schema))

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
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind import markers
from tocsin.kql.bind import rowfunctions as windows
from tocsin.kql.bind.bounds import check_tree
from tocsin.kql.bind.scope import Pass, Text
from tocsin.kql.bind.translate import read, translate
from tocsin.kql.plan import shapes
from tocsin.kql.plan.classify import classified, inlined, must_be_row
from tocsin.kql.plan.decide import Condition, Row, Undecided, all_of, condition
from tocsin.kql.plan.prefilter import Predicate, conjuncts, refilled, simple
from tocsin.kql.plan.shapes import Words
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.describe import describer, quoted
from tocsin.kql.sandbox.types import Types
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN, KQL_TYPES, Schema
from tocsin.kql.tokens import tokenize
from tocsin.logstore.sqlfiles import sql

EVENT_TABLE = "RunStatusChanged"
IDENTITY = ("Source", "EventId", "TimeGenerated", "CommitSeq", "RunId")
"""Columns that distinguish a matching event from every other."""

_SOURCE = f"{HIDDEN}source"
_RULE = f"{HIDDEN}rule"
_NOW = f"{HIDDEN}IngestedAt"
_RESERVED = ("rows", "constants")
_SAME_ROWS = (ir.Extend, ir.Project, ir.ProjectAway, ir.ProjectRename)
"""Operators that keep each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A event query as SQL."""

    sql: str
    prefilter: tuple[Predicate, ...]  # with sentinels where the query had them
    columns: Mapping[str, str]
    computed: tuple[str, ...]
    tables: frozenset[str]
    reads: frozenset[str]  # columns of the rows that it may read; its own IngestedAt too where it asks the clock
    usable: frozenset[int]  # sentinels that may become constants
    condition: Condition | None  # all that it asks of a row, where Python knows it and nothing is computed


def build(query: str, schema: Schema, kinds: Sequence[str] = ()) -> Built:
    """``query`` (with sentinels, where ``kinds`` are the types of its constants) as SQL.

    Raises ``QueryError`` where it is wrong or no event query.
    """
    with upstream.bounded():
        text, tree = read(query, schema)
        kind = classified(tree, schema)
        if kind.source in schema or not kind.source:
            must_be_row(kind)
        for name in _RESERVED:
            if name in kind.tables:
                raise text.error(f"an event query cannot read a table called {name}", name, "rename the table")
        return _Build(text, schema, kinds).run(inlined(tree), kind.source)


class _Build:
    """One build; ``hidden`` are the columns that travel along unseen."""

    def __init__(self, text: Text, schema: Schema, kinds: Sequence[str]) -> None:
        self.text, self.schema, self.kinds = text, schema, kinds
        event = schema[EVENT_TABLE]
        self.hidden: dict[str, str] = {
            _RULE: "int",
            _NOW: "datetime",
            **{f"{HIDDEN}{name}": event[name] for name in IDENTITY},
            **{f"{shapes.CONSTANT}{number}": kind for number, kind in enumerate(kinds)},
        }

    def run(self, flat: Any, source: str) -> Built:
        each = Pass(self.text)
        known: dict[str, Types] = dict(self.schema)
        lets = []
        for name, bound in flat.lets:
            if isinstance(bound, ir.Query):
                body, known[name] = each.query(_at_commit(bound), {k: v for k, v in known.items() if k != name})
                lets.append((name, body))
        if source not in known:
            each.source(flat.source, known, frozenset())  # says that there is no such table
        columns: dict[str, str | None] = {**known[source], **self.hidden}
        known[_SOURCE] = dict(columns)
        event = self.schema[EVENT_TABLE]
        stands = {name: name for name, kind in self.schema[source].items() if event.get(name) == kind}
        operators, prefilter, asks = [], list[Predicate](), list[Condition | None]()
        good, bad, looked_up = set[int](), set[int](), False
        for raw in flat.operators:
            check_tree(raw)
            op = markers.resolved(_at_row(upstream.resolve_lets(raw, list(columns))), columns)
            windows.windowed(op, columns, None)  # says that events have no order
            fine, wrong = shapes.usable(op, columns)
            good, bad = good | fine, bad | wrong
            if isinstance(op, ir.Where):
                found = (simple(part, columns, stands) for part in conjuncts(op.predicate))
                prefilter += [predicate for predicate in found if predicate is not None]
                asks.append(condition(op.predicate, columns, stands))
            elif not isinstance(op, _SAME_ROWS):
                asks.append(None)
            looked_up |= isinstance(op, ir.Lookup)
            stands = self._standing(op, stands, columns)
            typed, columns = each.operator(self._carrying(op), columns, known)
            operators.append(typed)
        body, _ = upstream.render(ir.Query(ir.TableRef(_SOURCE), operators, lets), known)
        computed = tuple(name for name in columns if name not in self.hidden and stands.get(name) != name)
        built = self._finished(body, source, computed, prefilter, frozenset(good - bad), each.read, looked_up)
        return built if computed else replace(built, condition=all_of(asks))

    def _carrying(self, op: Any) -> Any:
        """``op`` that lets the hidden columns through."""
        if not isinstance(op, ir.Project):
            return op
        hidden = tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in self.hidden)
        return replace(op, expressions=(*op.expressions, *hidden))

    def _standing(self, op: Any, stands: Mapping[str, str], columns: Types) -> dict[str, str]:
        """Which names stand for event columns after ``op``. Refuses an identity column that is given another value."""
        given: set[str] = set()
        match op:
            case ir.Extend() | ir.Project():
                targets = list(zip(upstream.target_names(op, list(columns)), op.expressions, strict=True))
                same = {
                    name: stands[target.expr.name]
                    for name, target in targets
                    if isinstance(target.expr, ir.ColumnRef) and target.expr.name in stands
                }
                given = {name for name, _ in targets if same.get(name) != name}
                kept = {} if isinstance(op, ir.Project) else {n: e for n, e in stands.items() if n not in given}
                after = {**kept, **same}
            case ir.Parse(segments=segments):
                given = {segment.name for segment in segments if segment.name}
                after = {name: event for name, event in stands.items() if name not in given}
            case ir.ProjectAway(columns=gone):
                after = {name: event for name, event in stands.items() if name not in gone}
            case ir.ProjectRename(renames=renames):
                new = dict(renames)
                given = set(new.values())
                after = {new.get(name, name): event for name, event in stands.items()}
            case _:
                after = dict(stands)
        for name in given & set(IDENTITY):
            raise self.text.error(f"{name} is part of an event's identity", name, "give the new column another name")
        return after

    def _finished(
        self,
        body: str,
        source: str,
        computed: tuple[str, ...],
        prefilter: Sequence[Predicate],
        usable: frozenset[int],
        tables: set[str],
        looked_up: bool,
    ) -> Built:
        body, read_constants = shapes.as_columns(body)
        if self.kinds and (shapes.left_over(body) or not read_constants <= set(range(len(self.kinds)))):
            raise QueryError("a literal stands where tocsin cannot know rules of one shape apart")
        brought = [f'r."IngestedAt" AS {quoted(_NOW)}', f"k.rule_no AS {quoted(_RULE)}"]
        brought += [f"r.{quoted(name)} AS {quoted(HIDDEN + name)}" for name in IDENTITY]
        brought += [f'k."c{n}" AS "{shapes.CONSTANT}{n}"' for n in range(len(self.kinds))]
        event = self.schema[EVENT_TABLE]
        reads = frozenset(name for name in event if source != EVENT_TABLE or quoted(name) in body)
        # the columns that it names, at least: binding a query costs a quarter less without the others
        named = [f"r.{quoted(name)}" for name in event if name in reads] if source == EVENT_TABLE else [aml_columns()]
        first = f'SELECT {", ".join([*named, *brought])} FROM "rows" AS r CROSS JOIN "constants" AS k'
        listed = [f"{quoted(_RULE)} AS rule_no", *(f"{quoted(HIDDEN + name)} AS {quoted(name)}" for name in IDENTITY)]
        listed += [quoted(name) for name in computed]
        whole = f"SELECT {', '.join(listed)} FROM (WITH {quoted(_SOURCE)} AS ({first})\n SELECT * FROM ({body}))"
        if looked_up:  # a key that a reference table has twice must not notify an event twice
            identity = ", ".join(quoted(HIDDEN + name) for name in ("Source", "EventId", "TimeGenerated"))
            whole += f" QUALIFY row_number() OVER (PARTITION BY {quoted(_RULE)}, {identity}) = 1"
        made = self._described(whole)
        columns = {**event, **{name: made[name] for name in computed}}
        return Built(
            sql=whole,
            prefilter=tuple(prefilter),
            columns=columns,
            computed=computed,
            tables=frozenset(tables & set(self.schema)),
            reads=reads | ({"IngestedAt"} if quoted(_NOW) in body else set()),
            usable=usable,
            condition=None,
        )

    def _described(self, statement: str) -> dict[str, str]:
        """Binds the plan over empty rows, so that what DuckDB cannot compare is known now."""
        typed = [f"NULL::{KQL_TYPES[kind]} AS c{number}" for number, kind in enumerate(self.kinds)]
        head = f'WITH "rows" AS (SELECT * FROM {quoted(EVENT_TABLE)}), "constants" AS (SELECT {", ".join(["1 AS rule_no", *typed])})'
        try:
            return describer(self.schema).columns(f"{head}\n{statement}", {})
        except QueryError:
            translate(self.text.text, self.schema)  # the same fault, at its place
            raise


def aml_columns() -> str:
    """What the columns of Azure's view are in terms of ``rows``, under the alias r."""
    body = sql("create_aml_view").partition("SELECT")[2]
    return body.rpartition("FROM")[0].strip()


def _at_row(node: Any) -> Any:
    """``node`` in which the clock is the row's own IngestedAt; in nested queries, the newest row's."""
    return _clocked(node, ir.ColumnRef(_NOW), {})


def _at_commit(query: Any) -> Any:
    newest = ir.RenderedAggregate('(SELECT max("IngestedAt") FROM "rows")')
    memo: dict[int, Any] = {}
    return ir.Query(
        _clocked(query.source, newest, memo),
        [_clocked(op, newest, memo) for op in query.operators],
        [(name, _at_commit(bound) if isinstance(bound, ir.Query) else bound) for name, bound in query.lets],
        query.parameters,
    )


def _clocked(node: Any, now: Any, memo: dict[int, Any]) -> Any:
    """``node`` with ``now`` for the clock; a node that is held twice stays one."""
    if id(node) not in memo:
        memo[id(node)] = _rebuilt(node, now, memo)
    return memo[id(node)]


def _rebuilt(node: Any, now: Any, memo: dict[int, Any]) -> Any:
    if isinstance(node, ir.Query):
        return _at_commit(node)
    if isinstance(node, tuple):
        return tuple(_clocked(each, now, memo) for each in node)
    if isinstance(node, ir.FunctionCall):
        args = tuple(_clocked(each, now, memo) for each in node.args)
        match node.name.lower(), args:
            case ("now", ()) | ("ingestion_time", ()):
                return now
            case "now", (offset,):
                return ir.BinaryOp("+", now, offset)
            case "ago", (span,):
                return ir.BinaryOp("-", now, span)
        return ir.FunctionCall(node.name, args)
    if is_dataclass(node) and not isinstance(node, type):
        changes = {f.name: _clocked(getattr(node, f.name), now, memo) for f in fields(node)}
        return replace(node, **changes)
    return node


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
        table, parameters = shapes.table(self.kinds, numbers, rows)
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
        prefilter=shapes.filled(built.prefilter, constants),
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

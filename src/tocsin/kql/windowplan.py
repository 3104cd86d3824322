"""Window queries as plans: one SQL for all rules of a shape, over tables cut to the window, and a table of constants.

    tables (cut)  ── operators that all rules share ──►  × constants (rule_no, c0, …)  ── the others ──►  rows, each with
                                                                                     holds, clear, severity, key

Literals that are the same for all rules of a group stay literals, and the constants join as late as they can: rules that
differ in a threshold aggregate once. Aggregates after that go by rule.

The ``where``s that end a query say what fires. They become a column, ``holds``, so that an instance that does not fire is
still seen: whether it is clear, and that there is data about it. The ``where``s that begin a query choose its data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql import markers, shapes, upstream, windows
from tocsin.kql.bounds import check_tree
from tocsin.kql.classify import classified, inlined
from tocsin.kql.describe import describer, quoted
from tocsin.kql.prefilter import Op, Predicate, conjuncts, simple
from tocsin.kql.rowtree import event_columns
from tocsin.kql.schema import HIDDEN, KQL_TYPES, Schema
from tocsin.kql.scope import Pass
from tocsin.kql.sqlcheck import check_sql
from tocsin.kql.tokens import Token, TokenKind, tokenize
from tocsin.kql.translate import read, translate
from tocsin.kql.trees import walk
from tocsin.kql.types import Types
from tocsin.kql.upstream import ir

EVENTS, AML = "RunStatusChanged", "AmlRunStatusChangedEvent"
LOGS = (EVENTS, AML, "Heartbeats", "Alerts", "Notifications", "DeadLetters")
"""Tables of which a window takes a part of time. In the others a row is there or not: a missing one is no missing data."""

_SOURCE, _RULE, _HOLDS = f"{HIDDEN}source", f"{HIDDEN}rule", f"{HIDDEN}holds"
_DUCKDB = {"string": "VARCHAR", "long": "BIGINT", "real": "DOUBLE"}
_KEEPS_ROWS = (ir.Where, ir.Sort, ir.Extend, ir.Project, ir.ProjectAway, ir.ProjectRename)
_BY_RULE = (*_KEEPS_ROWS, ir.Summarize, ir.Distinct, ir.Parse, ir.Lookup, ir.Join, ir.MvExpand)
_RESERVED = ("constants", "known")
_UNIT = "chr(31)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One build of a window query."""

    sql: str  # over the CTE "constants"; yields rule_no, key, holds, then ``made`` and ``columns``
    alone: str  # the same for one query without constants
    columns: Mapping[str, str]  # visible ones -> KQL type
    tables: frozenset[str]
    events: bool  # rows come from a log: an instance without a row has no data
    prefilter: tuple[Predicate, ...]  # of rows of RunStatusChanged; with sentinels where the query had them
    uses_now: bool
    usable: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wants:
    """What is asked of a query's output."""

    made: tuple[str, ...]  # extra columns: conditions over it
    by: tuple[str, ...]
    needs: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowQuery:
    """A checked window query."""

    shape: str  # queries of the same shape may share a plan
    columns: Mapping[str, str]
    tables: frozenset[str]
    events: bool
    prefilter: tuple[Predicate, ...]
    text: str = field(repr=False)  # with the extra columns
    wants: _Wants = field(repr=False)
    places: tuple[int, ...] = field(repr=False)  # of the literals that may differ
    schema: Schema = field(repr=False)
    raw_sql: bool = False


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

        ``scopes`` gives for each table the SELECT that stands for it, over ``main.…``. Rows come back that hold, and those
        of ``known`` (number of the query, key); all where ``every``.
        """
        head = [f"{quoted(name)} AS NOT MATERIALIZED ({sql})" for name, sql in scopes.items()]
        parameters: dict[str, object] = {}
        alone = self.built.alone if len(self.constants) == 1 else ""
        if not alone:
            listed = ["unnest($tocsin_rules::JSON::INTEGER[]) AS rule_no"]
            parameters["tocsin_rules"] = json.dumps(list(numbers))
            for index, kind in enumerate(self.kinds):
                listed.append(f'unnest($tocsin_c{index}::JSON::{_DUCKDB[kind]}[]) AS "c{index}"')
                values = [self.constants[n][index] for n in numbers]
                parameters[f"tocsin_c{index}"] = json.dumps(values, ensure_ascii=False)
            head.append(f'"constants" AS (SELECT {", ".join(listed)})')
        where = "" if every else "\nWHERE holds"
        if known and not every:
            head.append(
                '"known" AS (SELECT unnest($tocsin_known_rules::JSON::INTEGER[]) AS rule_no,'
                " unnest($tocsin_known_keys::JSON::VARCHAR[]) AS key)"
            )
            parameters["tocsin_known_rules"] = json.dumps([number for number, _ in known])
            parameters["tocsin_known_keys"] = json.dumps([key for _, key in known], ensure_ascii=False)
            where = '\nWHERE holds OR (rule_no, key) IN (SELECT rule_no, key FROM "known")'
        begin = f"WITH {', '.join(head)}\n" if head else ""
        return f"{begin}SELECT * FROM ({alone or self.built.sql}){where}", parameters


def window_query(
    query: str,
    schema: Mapping[str, Mapping[str, str]],
    *,
    by: Sequence[str] = (),
    made: Mapping[str, str] | None = None,
    needs: Iterable[str] | None = None,
) -> WindowQuery:
    """Check a window query. ``made`` are conditions over its output (name -> KQL), computed beside its columns;
    ``needs`` the output columns that somebody reads: others of a wide table may be left out (None: all are read).

    Raises ``QueryError`` with its place where the query is wrong; of a condition without place: check those apart.
    """
    known = Schema.of(schema)
    text, names = _with_made(query, made or {})
    wants = _Wants(made=names, by=tuple(by), needs=None if needs is None else frozenset(needs))
    tokens = tokenize(text)
    possible = tuple(shapes.candidates(tokens))
    words = _Words(shapes.pattern(tokens, possible), text, tokens)
    places = _places(words, wants, known)
    words = _Words(shapes.pattern(tokens, places), text, tokens)
    built = _compiled(words, places, wants, known)
    constants = _constants(tokens, places)
    return WindowQuery(
        shape=_hash(words.pattern, names, tuple(by), sorted(wants.needs or ()), known.fingerprint),
        columns=built.columns,
        tables=built.tables,
        events=built.events,
        prefilter=tuple(p for t in built.prefilter if (p := _filled(t, constants)) is not None),
        text=text,
        wants=wants,
        places=places,
        schema=known,
    )


def sql_query(
    sql: str, schema: Mapping[str, Mapping[str, str]], *, by: Sequence[str] = (), made: Mapping[str, str] | None = None
) -> WindowQuery:
    """The same for ``sql:``. Every row of it fires."""
    known = Schema.of(schema)
    names = tuple(made or {})
    extends = ", ".join(f"{name} = ({condition}\n)" for name, condition in (made or {}).items())
    text = json.dumps([sql, extends])
    built = _built_sql(text, names, tuple(by), known)
    return WindowQuery(
        shape=_hash((text,), names, tuple(by), known.fingerprint),
        columns=built.columns,
        tables=built.tables,
        events=False,
        prefilter=(),
        text=text,
        wants=_Wants(made=names, by=tuple(by), needs=None),
        places=(),
        schema=known,
        raw_sql=True,
    )


def window_plan(queries: Sequence[WindowQuery]) -> WindowPlan:
    """One plan for queries of one shape. Raises ``QueryError`` where these cannot share one; one alone always can."""
    first = queries[0]
    known = first.schema
    if first.raw_sql:
        built = _built_sql(first.text, first.wants.made, first.wants.by, known)
        return WindowPlan(built=built, made=first.wants.made, kinds=(), constants=((),) * len(queries))
    tokens = tokenize(first.text)
    values = [_constants(tokens if q is first else tokenize(q.text), q.places) for q in queries]
    varying = [n for n in range(len(first.places)) if len({repr(each[n]) for each in values}) > 1]
    chosen = tuple(first.places[n] for n in varying)
    words = _Words(shapes.pattern(tokens, chosen), first.text, tokens)
    built = _compiled(words, chosen, first.wants, known)
    return WindowPlan(
        built=built,
        made=first.wants.made,
        kinds=tuple(str(shapes.kind_of(tokens[index])) for index in chosen),
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


def _constants(tokens: Sequence[Token], places: Sequence[int]) -> tuple[object, ...]:
    return tuple(shapes.value(tokens[index]) for index in places)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


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
def _places(words: _Words, wants: _Wants, schema: Schema) -> tuple[int, ...]:
    """Indexes of the tokens that may differ between queries that share a plan."""
    possible = tuple(shapes.candidates(words.tokens))
    every = _usable(words, possible, wants, schema)
    if every == possible:
        return possible
    _build(words.text, (), wants, schema)  # says what is wrong, at its place
    if every is None:
        alone = (_usable(words, (index,), wants, schema) for index in possible)
        every = tuple(index for found in alone for index in found or ())
    return _usable(words, every, wants, schema) or ()


def _usable(words: _Words, chosen: tuple[int, ...], wants: _Wants, schema: Schema) -> tuple[int, ...] | None:
    try:
        built = _build(*_with_sentinels(words, chosen), wants, schema)
    except QueryError:
        return None
    return tuple(index for number, index in enumerate(chosen) if number in built.usable)


def _with_sentinels(words: _Words, chosen: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
    kinds = tuple(str(shapes.kind_of(words.tokens[index])) for index in chosen)
    return shapes.with_sentinels(words.text, words.tokens, chosen), kinds


@lru_cache(maxsize=8192)
def _compiled(words: _Words, chosen: tuple[int, ...], wants: _Wants, schema: Schema) -> Built:
    text, kinds = _with_sentinels(words, chosen)
    try:
        return _build(text, kinds, wants, schema)
    except QueryError:
        _build(words.text, (), wants, schema)  # the same fault, at its place
        raise


@lru_cache(maxsize=512)
def _build(text: str, kinds: tuple[str, ...], wants: _Wants, schema: Schema) -> Built:
    with upstream.bounded():
        return _Build(text, kinds, wants, schema).run()


class _Build:
    """One build; once the constants have joined, ``hidden`` columns travel along unseen."""

    def __init__(self, text: str, kinds: tuple[str, ...], wants: _Wants, schema: Schema) -> None:
        self.text, self.tree = read(text)
        self.kinds, self.made, self.by, self.schema = kinds, wants.made, wants.by, schema
        self.needs = wants.needs
        self.each = Pass(self.text)
        self.hidden: dict[str, str] = {
            _RULE: "int",
            **{f"{shapes.CONSTANT}{number}": kind for number, kind in enumerate(kinds)},
        }
        self.holds: list[str] = []

    def run(self) -> Built:
        if self.tree.parameters:
            raise self.text.error("declare query_parameters is refused", "declare", "write the value, or use let")
        kind = classified(self.tree, self.schema)
        for name in _RESERVED:
            if name in kind.tables:
                raise self.text.error(f"a window query cannot read a table called {name}", name, "rename the table")
        flat = inlined(self.tree)
        known: dict[str, Types] = dict(self.schema)
        lets: list[tuple[str, Any]] = []
        for name, bound in flat.lets:
            if isinstance(bound, ir.Query):
                body, known[name] = self.each.query(bound, {k: v for k, v in known.items() if k != name})
                lets.append((name, body))
            else:
                lets.append((name, bound))
        names = frozenset(name for name, _ in flat.lets)
        source, columns = self.each.source(flat.source, known, names)
        lifted, lead = self._lifted(flat.operators), True
        before: list[Any] = []
        if (kept := self._kept(flat, columns)) is not None:
            columns = {name: columns[name] for name in kept}
            before.append(ir.Project(tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in kept)))
        stands = {name: name for name in columns} if kind.source == EVENTS else {}
        after: list[Any] | None = None
        good, bad, prefilter = set[int](), set[int](), list[Predicate]()
        order: windows.Order = None
        brought: dict[str, Types] = dict(known)
        for number, raw in enumerate(flat.operators):
            if markers.marker(raw) == "serialize":
                order = order or ()
                continue
            check_tree(raw)
            op = markers.resolved(upstream.resolve_lets(raw, list(columns)), columns)
            fine, wrong = shapes.usable(op, columns)
            good, bad = good | fine, bad | wrong
            if after is None and (fine or wrong):
                after = []
                columns = {**columns, **self.hidden}
                brought[_SOURCE] = dict(columns)
            lead = lead and isinstance(op, ir.Where)
            if lead:
                found = (simple(part, columns, stands) for part in conjuncts(op.predicate))
                prefilter += [predicate for predicate in found if predicate is not None]
            if after is not None:
                op = self._by_rule(op)
            op = self._carrying(op)
            typed, columns = self._typed(op, columns, brought, order, lift=number in lifted)
            (before if after is None else after).append(typed)
            order = windows.after(op, order)
        if after is None:
            after, columns = [], {**columns, **self.hidden}
            brought[_SOURCE] = dict(columns)
        return self._finished(
            source, before, after, lets, columns, brought, prefilter, frozenset(good - bad), kind.source
        )

    def _kept(self, flat: Any, columns: Types) -> list[str] | None:
        """Columns of the source that the query names or somebody needs; None where any may count."""
        if self.needs is None or not isinstance(flat.source, ir.TableRef):
            return None
        for op in flat.operators:
            if not isinstance(op, (*_BY_RULE, ir.Top, ir.Take, ir.Count)):
                return None
            for node in walk(op):
                if isinstance(node, ir.Wildcard) or (isinstance(node, ir.ColumnRef) and node.name == markers.ANY):
                    return None
            if markers.marker(op) not in ("", "serialize"):
                return None
        named = {t.text.strip("'\"") for t in self.text.tokens} | self.needs | set(self.by)
        return [name for name in columns if name in named]

    def _lifted(self, operators: Sequence[Any]) -> frozenset[int]:
        """Numbers of the ``where``s that say what fires: the last ones, behind what computes."""
        lead = 0
        while lead < len(operators) and isinstance(operators[lead], ir.Where) and not markers.marker(operators[lead]):
            lead += 1
        found: set[int] = set()
        for number in range(len(operators) - 1, lead - 1, -1):
            op = operators[number]
            if not isinstance(op, _KEEPS_ROWS) or markers.marker(op):
                break
            names = {n.name.lower() for n in walk(op) if isinstance(n, ir.FunctionCall)}
            if names & windows.FUNCTIONS:
                break
            if isinstance(op, ir.Where):
                found.add(number)
        return frozenset(found)

    def _typed(
        self, op: Any, columns: dict[str, str | None], known: Mapping[str, Types], order: windows.Order, *, lift: bool
    ) -> tuple[Any, dict[str, str | None]]:
        op = windows.windowed(op, columns, order)
        typed, after = self.each.operator(op, columns, known)
        if not lift:
            return typed, after
        name = f"{_HOLDS}{len(self.holds)}"
        self.holds.append(name)
        return ir.Extend((ir.NamedExpr(typed.predicate, name),)), {**columns, name: "bool"}

    def _by_rule(self, op: Any) -> Any:
        """``op`` by rule. Raises where it would mix rules."""
        if not isinstance(op, _BY_RULE):
            raise QueryError(f"{type(op).__name__} mixes rules")
        names = {n.name.lower() for n in walk(op) if isinstance(n, ir.FunctionCall)}
        if names & windows.FUNCTIONS or any(isinstance(n, ir.Wildcard) for n in walk(op)):
            raise QueryError(f"{type(op).__name__} mixes rules")
        hidden = tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in self.hidden)
        match op:
            case ir.Summarize(by=by):
                if not by:
                    raise QueryError("without `by`, a rule without rows has a row too")
                return replace(op, by=(*by, *hidden))
            case ir.Distinct(expressions=expressions):
                return replace(op, expressions=(*expressions, *hidden))
            case ir.Project(expressions=expressions):
                return replace(op, expressions=(*expressions, *hidden))
            case ir.Join(kind=kind) if kind not in ("inner", "leftouter", "leftsemi", "leftanti"):
                raise QueryError(f"a {kind} join mixes rules")
        return op

    def _carrying(self, op: Any) -> Any:
        if not isinstance(op, ir.Project):
            return op
        holds = tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in self.holds)
        return replace(op, expressions=(*op.expressions, *holds))

    def _finished(
        self,
        source: Any,
        before: list[Any],
        after: list[Any],
        lets: list[tuple[str, Any]],
        columns: dict[str, str | None],
        known: Mapping[str, Types],
        prefilter: Sequence[Predicate],
        usable: frozenset[int],
        name: str,
    ) -> Built:
        first, now_first = upstream.render(ir.Query(source, before, lets), known)
        body, now_after = upstream.render(ir.Query(ir.TableRef(_SOURCE), after, lets), known)
        if shapes.left_over(first):
            raise QueryError("a literal stands where tocsin cannot tell rules of one shape apart")
        body, read_constants = shapes.as_columns(body)
        if self.kinds and (shapes.left_over(body) or not read_constants <= set(range(len(self.kinds)))):
            raise QueryError("a literal stands where tocsin cannot tell rules of one shape apart")
        joined = [f"k.rule_no AS {quoted(_RULE)}"]
        joined += [f'k."c{n}" AS "{shapes.CONSTANT}{n}"' for n in range(len(self.kinds))]
        visible = [c for c in columns if not c.startswith(HIDDEN) and c not in self.made]
        listed = _listed(visible, self.made, self.holds, self.by, columns)
        sql = (
            f"{listed} FROM (WITH {quoted(_SOURCE)} AS NOT MATERIALIZED"
            f' (SELECT s.*, {", ".join(joined)} FROM ({first}) AS s CROSS JOIN "constants" AS k)\n SELECT * FROM ({body}))'
        )
        alone = "" if self.kinds or after else f"{listed.replace(quoted(_RULE), '0', 1)} FROM ({first})"
        uses_now = now_first or now_after
        made = _described(sql, self.kinds, uses_now, self.schema)
        return Built(
            sql=sql,
            alone=alone,
            columns={name: made[name] for name in visible},
            tables=frozenset(self.each.read & set(self.schema)),
            events=name in LOGS,
            prefilter=tuple(prefilter),
            uses_now=uses_now,
            usable=usable,
        )


@lru_cache(maxsize=512)
def _built_sql(text: str, made: tuple[str, ...], by: tuple[str, ...], schema: Schema) -> Built:
    sql, extends = json.loads(text)
    checked = check_sql(sql, schema)
    result = f"{HIDDEN}result"
    body, uses_now = f"SELECT * FROM ({sql})", checked.uses_now
    if extends:
        name = "tocsin_result"
        over = translate(f"{name} | extend {extends}", {**schema, name: dict(checked.columns)})
        body = over.sql.replace(quoted(name), quoted(result))
        uses_now = uses_now or over.uses_now
    whole = (
        f"{_listed(list(checked.columns), made, (), by, dict(checked.columns))}"
        f" FROM (WITH {quoted(result)} AS ({sql})"
        f' SELECT b.*, k.rule_no AS {quoted(_RULE)} FROM ({body}) AS b CROSS JOIN "constants" AS k)'
    )
    described = _described(whole, (), uses_now, schema)
    return Built(
        sql=whole,
        alone="",
        columns={name: described[name] for name in checked.columns},
        tables=checked.tables,
        events=False,
        prefilter=(),
        uses_now=uses_now,
        usable=frozenset(),
    )


def _listed(
    visible: Sequence[str],
    made: Sequence[str],
    holds: Sequence[str],
    by: Sequence[str],
    columns: Mapping[str, str | None],
) -> str:
    key = f" || {_UNIT} || ".join(f"coalesce(CAST({quoted(name)} AS VARCHAR), '')" for name in by if name in columns)
    truth = " AND ".join(f"coalesce({quoted(name)}, FALSE)" for name in holds) or "TRUE"
    listed = [f"{quoted(_RULE)} AS rule_no", f"{key or chr(39) * 2} AS key", f"({truth}) AS holds"]
    listed += [f"coalesce({quoted(name)}, FALSE) AS {quoted(name)}" for name in made]
    listed += [quoted(name) for name in visible]
    return f"SELECT {', '.join(listed)}"


def _described(statement: str, kinds: Sequence[str], uses_now: bool, schema: Schema) -> dict[str, str]:
    """Binds the plan over empty tables, so that what DuckDB cannot compare is known now."""
    typed = [f"NULL::{KQL_TYPES[kind]} AS c{number}" for number, kind in enumerate(kinds)]
    head = f'WITH "constants" AS (SELECT {", ".join(["1 AS rule_no", *typed])})'
    parameters: dict[str, object] = {upstream.NOW: upstream._PINNED} if uses_now else {}
    return describer(schema).columns(f"{head}\n{statement}", parameters)


def _filled(template: Predicate, constants: tuple[object, ...]) -> Predicate | None:
    """A predicate with this query's constants in place of sentinels; None where it would promise too much."""
    values: list[object] = []
    for each in template.values:
        number = shapes.number_of(each)
        values.append(each if number is None else constants[number])
    if template.op is Op.EQ_CI:
        if not all(isinstance(each, str) and each.isascii() for each in values):
            return None
        values = [str(each).lower() for each in values]
    unique = tuple(dict.fromkeys(values))
    op = template.op if template.op is Op.EQ_CI else Op.EQ if len(unique) == 1 else Op.IN
    return replace(template, op=op, values=unique)


def scoped_view(schema: Mapping[str, Mapping[str, str]]) -> str:
    """Azure's view over a table expression called RunStatusChanged."""
    return f"SELECT {event_columns(AML, Schema.of(schema))} FROM {quoted(EVENTS)} AS r"

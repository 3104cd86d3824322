"""The tree of a window query, made into SQL over tables cut to the window and a table of constants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind import markers
from tocsin.kql.bind import rowfunctions as windows
from tocsin.kql.bind.bounds import check_tree
from tocsin.kql.bind.scope import Pass
from tocsin.kql.bind.sqlcheck import beside, check_sql
from tocsin.kql.bind.translate import read, translate
from tocsin.kql.plan import shapes
from tocsin.kql.plan.classify import classified, inlined
from tocsin.kql.plan.prefilter import Predicate, conjuncts, simple
from tocsin.kql.plan.rowplan import aml_columns
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.describe import describer, quoted
from tocsin.kql.sandbox.trees import walk
from tocsin.kql.sandbox.types import Types
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN, KQL_TYPES, Schema

EVENTS, AML = "RunStatusChanged", "AmlRunStatusChangedEvent"
LOGS = (EVENTS, AML, "Heartbeats", "RunMetrics", "Alerts", "Notifications", "Actions", "DeadLetters")
"""Tables of which a window takes a part of time. In the others a row is there or not: a missing one is no missing
data.
"""

CONDITION = "tocsin_condition"
"""The column made of a rule's condition."""
SOURCE, RULE, _HOLDS = f"{HIDDEN}source", f"{HIDDEN}rule", f"{HIDDEN}holds"
_KEEPS_ROWS = (ir.Where, ir.Sort, ir.Extend, ir.Project, ir.ProjectAway, ir.ProjectRename)
_BY_RULE = (*_KEEPS_ROWS, ir.Summarize, ir.Distinct, ir.Parse, ir.Lookup, ir.Join, ir.MvExpand)
_RESERVED = ("constants", "known")
_UNIT = "chr(31)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One build of a window query."""

    sql: str  # over the CTE "constants"; yields rule_no, key, holds, then ``made`` and ``columns``
    columns: Mapping[str, str]  # visible ones -> KQL type
    tables: frozenset[str]
    events: bool  # rows come from a log: an instance without a row has no data
    prefilter: tuple[Predicate, ...]  # of rows of RunStatusChanged; with sentinels where the query had them
    uses_now: bool
    usable: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What is asked of a query's output."""

    made: tuple[str, ...]  # extra columns: conditions over it
    by: tuple[str, ...]
    needs: frozenset[str] | None


@lru_cache(maxsize=512)
def build(text: str, kinds: tuple[str, ...], wants: Wants, schema: Schema) -> Built:
    """A window query (with sentinels, where ``kinds`` are the types of its constants) as SQL. Raises ``QueryError``."""
    with upstream.bounded():
        return _Build(text, kinds, wants, schema).run()


class Tree:
    """A window query being made into SQL; once something has joined, ``hidden`` columns travel along unseen."""

    def __init__(self, text: str, wants: Wants, schema: Schema) -> None:
        self.text, self.tree = read(text, schema)
        self.made, self.by, self.needs, self.schema = wants.made, wants.by, wants.needs, schema
        self.each = Pass(self.text)
        self.hidden: dict[str, str | None] = {}
        self.holds: list[str] = []

    def kept(self, flat: Any, columns: Types) -> list[str] | None:
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

    def lifted(self, operators: Sequence[Any]) -> frozenset[int]:
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

    def typed(
        self, op: Any, columns: dict[str, str | None], known: Mapping[str, Types], order: windows.Order, *, lift: bool
    ) -> tuple[Any, dict[str, str | None]]:
        """``op`` with types in it, and the columns after it. A ``where`` to be lifted becomes a column that says
        whether it holds.
        """
        op = windows.windowed(op, columns, order)
        typed, after = self.each.operator(op, columns, known)
        if not lift:
            return typed, after
        name = f"{_HOLDS}{len(self.holds)}"
        self.holds.append(name)
        return ir.Extend((ir.NamedExpr(typed.predicate, name),)), {**columns, name: "bool"}

    def apart(self, op: Any) -> Any:
        """``op`` that keeps rows with other hidden columns apart. Raises where it would mix them."""
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

    def carrying(self, op: Any) -> Any:
        """``op`` that lets the columns of lifted ``where``s through."""
        if not isinstance(op, ir.Project):
            return op
        holds = tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in self.holds)
        return replace(op, expressions=(*op.expressions, *holds))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A query, cut where its rules begin to differ: operators before that are shared."""

    source: Any
    before: list[Any]
    after: list[Any]
    lets: list[tuple[str, Any]]


class _Build(Tree):
    """A plan of one instant for rules that may differ in constants of these ``kinds``."""

    def __init__(self, text: str, kinds: tuple[str, ...], wants: Wants, schema: Schema) -> None:
        super().__init__(text, wants, schema)
        self.kinds = kinds
        self.hidden = {RULE: "int", **{f"{shapes.CONSTANT}{number}": kind for number, kind in enumerate(kinds)}}

    def run(self) -> Built:
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
        lifted, lead = self.lifted(flat.operators), True
        before: list[Any] = []
        if (kept := self.kept(flat, columns)) is not None:
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
                brought[SOURCE] = dict(columns)
            lead = lead and isinstance(op, ir.Where)
            if lead:
                found = (simple(part, columns, stands) for part in conjuncts(op.predicate))
                prefilter += [predicate for predicate in found if predicate is not None]
            if after is not None:
                op = self.apart(op)
            op = self.carrying(op)
            typed, columns = self.typed(op, columns, brought, order, lift=number in lifted)
            (before if after is None else after).append(typed)
            order = windows.after(op, order)
        if after is None:
            after, columns = [], {**columns, **self.hidden}
            brought[SOURCE] = dict(columns)
        parts = _Parts(source=source, before=before, after=after, lets=lets)
        return self._finished(parts, columns, brought, prefilter, frozenset(good - bad), kind.source)

    def _finished(
        self,
        parts: _Parts,
        columns: dict[str, str | None],
        known: Mapping[str, Types],
        prefilter: Sequence[Predicate],
        usable: frozenset[int],
        name: str,
    ) -> Built:
        first, now_first = upstream.render(ir.Query(parts.source, parts.before, parts.lets), known)
        body, now_after = upstream.render(ir.Query(ir.TableRef(SOURCE), parts.after, parts.lets), known)
        if shapes.left_over(first):
            raise QueryError("a literal stands where tocsin cannot know rules of one shape apart")
        body, read_constants = shapes.as_columns(body)
        if self.kinds and (shapes.left_over(body) or not read_constants <= set(range(len(self.kinds)))):
            raise QueryError("a literal stands where tocsin cannot know rules of one shape apart")
        joined = [f"k.rule_no AS {quoted(RULE)}"]
        joined += [f'k."c{n}" AS "{shapes.CONSTANT}{n}"' for n in range(len(self.kinds))]
        visible = [c for c in columns if not c.startswith(HIDDEN) and c not in self.made]
        listed = output(visible, self.made, self.holds, self.by, columns)
        sql = (
            f"{listed} FROM (WITH {quoted(SOURCE)} AS NOT MATERIALIZED"
            f' (SELECT s.*, {", ".join(joined)} FROM ({first}) AS s CROSS JOIN "constants" AS k)\n SELECT * FROM ({body}))'
        )
        uses_now = now_first or now_after
        try:
            made = _described(sql, self.kinds, uses_now, self.schema)
        except QueryError:
            translate(self.text.text, self.schema)  # the same fault, at its place
            raise
        for condition in self.made:
            if columns[condition] not in ("bool", None):
                raise QueryError(f"a condition is a {columns[condition]}: neither true nor false")
        return Built(
            sql=sql,
            columns={name: made[name] for name in visible},
            tables=frozenset(self.each.read & set(self.schema)),
            events=name in LOGS,
            prefilter=tuple(prefilter),
            uses_now=uses_now,
            usable=usable,
        )


@lru_cache(maxsize=512)
def build_sql(text: str, made: tuple[str, ...], by: tuple[str, ...], schema: Schema) -> Built:
    """The same for SQL, what extends its output, and the columns of the row that it is about, as a JSON list of the
    three.
    """
    sql, extends, row = json.loads(text)
    checked = check_sql(sql, schema, row)
    result = f"{HIDDEN}result"
    named = "".join(f", c{number} AS {quoted(name)}" for number, name in enumerate(row))
    found = beside(sql, f'SELECT rule_no AS {quoted(RULE)}{named} FROM "constants"') if row else sql
    body, uses_now = f"SELECT * FROM {quoted(result)}", checked.uses_now
    if extends:
        name = "tocsin_result"
        visible = {**checked.columns, **({RULE: "long"} if row else {})}
        over = translate(f"{name} | extend {extends}", {**schema, name: visible})
        body = over.sql.replace(quoted(name), quoted(result))
        uses_now = uses_now or over.uses_now
    of_rule = body if row else f'SELECT b.*, k.rule_no AS {quoted(RULE)} FROM ({body}) AS b CROSS JOIN "constants" AS k'
    whole = (
        f"{output(list(checked.columns), made, (), by, dict(checked.columns))}"
        f" FROM (WITH {quoted(result)} AS ({found}) SELECT * FROM ({of_rule}))"
    )
    described = _described(whole, tuple(row.values()), uses_now, schema)
    return Built(
        sql=whole,
        columns={name: described[name] for name in checked.columns},
        tables=checked.tables,
        events=False,
        prefilter=(),
        uses_now=uses_now,
        usable=frozenset(),
    )


def output(
    visible: Sequence[str],
    made: Sequence[str],
    holds: Sequence[str],
    by: Sequence[str],
    columns: Mapping[str, str | None],
    rule: str = quoted(RULE),
) -> str:
    """What is selected of a query's rows: ``rule_no``, ``key``, ``holds``, then the conditions ``made`` and what is
    ``visible``.
    """
    key = f" || {_UNIT} || ".join(f"coalesce(CAST({quoted(name)} AS VARCHAR), '')" for name in by if name in columns)
    conditions = (*holds, *(name for name in made if name == CONDITION))
    truth = " AND ".join(f"coalesce({quoted(name)}, FALSE)" for name in conditions) or "TRUE"
    listed = [f"{rule} AS rule_no", f"{key or chr(39) * 2} AS key", f"({truth}) AS holds"]
    listed += [f"coalesce({quoted(name)}, FALSE) AS {quoted(name)}" for name in made]
    listed += [quoted(name) for name in visible]
    return f"SELECT {', '.join(listed)}"


def _described(statement: str, kinds: Sequence[str], uses_now: bool, schema: Schema) -> dict[str, str]:
    """Binds the plan over empty tables, so that what DuckDB cannot compare is known now."""
    typed = [f"NULL::{KQL_TYPES[kind]} AS c{number}" for number, kind in enumerate(kinds)]
    head = f'WITH "constants" AS (SELECT {", ".join(["1 AS rule_no", *typed])})'
    parameters: dict[str, object] = {upstream.NOW: upstream.PINNED} if uses_now else {}
    return describer(schema).columns(f"{head}\n{statement}", parameters)


def scoped_view() -> str:
    """Azure's view over a table expression called RunStatusChanged."""
    return f"SELECT {aml_columns()} FROM {quoted(EVENTS)} AS r"

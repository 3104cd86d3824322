"""A window query asked at many instants at once: one SQL in place of one for each instant.

    events ── operators that look at one row ──►  rows, each seen by the instants [enter, leave)
    rows   ── by what ``summarize`` groups by ──► groups; at each instant at which a row of a group comes or goes:
    group  ── the other operators ──►             what it says from that instant on, until the next one

The number of an instant travels through the query as the number of a rule does in ``windowplan``. Groups are
distinguished where ``summarize`` is the only operator that brings rows together; otherwise all rows are one group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind import markers
from tocsin.kql.bind.bounds import check_tree
from tocsin.kql.plan.before import BEFORE, ENTER, INSIDE, LEAVE, Preceded
from tocsin.kql.plan.classify import inlined, tables_of
from tocsin.kql.plan.windowplan import WindowQuery
from tocsin.kql.plan.windowtree import EVENTS, RULE, SOURCE, Tree, output
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.describe import quoted
from tocsin.kql.sandbox.trees import nested_queries
from tocsin.kql.sandbox.types import Types
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import HIDDEN
from tocsin.model.columns import TABLES

_TIME, _SEQ, _GROUP = f"{HIDDEN}time", f"{HIDDEN}seq", f"{HIDDEN}group"
_A = f"{HIDDEN}ahead_"
_BY_ROW = (ir.Where, ir.Extend, ir.Project, ir.ProjectAway, ir.ProjectRename, ir.Parse, ir.Lookup, ir.MvExpand)


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadPlan:
    """How to ask one query at many instants."""

    rows: str  # over RunStatusChanged; with the hidden columns of time, commit and group
    groups: tuple[str, ...]  # columns of ``rows`` that distinguishes groups
    carried: tuple[str, ...]  # columns of ``rows`` that the rest reads
    rest: str  # over the rows of each instant; yields what a WindowPlan does, and grp
    columns: Mapping[str, str]  # visible ones -> KQL type
    preceded: Preceded | None = None  # rows are events with what came just before them
    reads: tuple[str, ...] = ()  # columns of events that are then read

    def bind(
        self,
        times: Sequence[int],
        seqs: Sequence[int],
        table: str,
        over: int,
        known: Sequence[str],
        *,
        every: bool = False,
        reach: int = 0,
    ) -> tuple[str, dict[str, object]]:
        """The SQL and its parameters. ``times`` are the ends of the windows, ``over`` their length, in µs; ``seqs`` the
        last commit that each sees; both ascending. ``table`` stands for RunStatusChanged in a FROM. ``reach``: so much
        older events are seen as what came before others.

        A row is what a group says from instant ``nth`` on; one of nulls: nothing. Left out are keys that hold at no
        instant and are not ``known``, unless ``every``, and what a group says before it first holds. In order of
        ``nth``.
        """
        n = len(times)
        # Rows meet the instants of a segment, not all of them: about as many as see a row.
        width = max(1, n * over // max(1, times[-1] - times[0] + over) // 2)
        same = " AND ".join(f"r.{quoted(g)} IS NOT DISTINCT FROM g.{quoted(g)}" for g in self.groups)
        numbered = (
            f"SELECT r.*, g.grp FROM {_A}came AS r JOIN (SELECT *, row_number() OVER () AS grp FROM"
            f" (SELECT DISTINCT {', '.join(map(quoted, self.groups))} FROM {_A}came)) AS g ON {same}"
            if self.groups
            else f"SELECT *, 0 AS grp FROM {_A}came"
        )
        carried = "".join(f"s.{quoted(name)}, " for name in self.carried)
        wanted, begins = ("true", "true") if every else ("bool_or(holds)", "s.holds")
        return (
            f"""WITH {_A}instants AS MATERIALIZED (SELECT unnest($tocsin_times::JSON::BIGINT[]) AS hi,
    unnest($tocsin_seqs::JSON::BIGINT[]) AS seq, unnest(range({n})) AS nth),
{_A}times AS MATERIALIZED (SELECT hi, min(nth) AS nth FROM {_A}instants GROUP BY hi),
{_A}seqs AS MATERIALIZED (SELECT seq, min(nth) AS nth FROM {_A}instants GROUP BY seq),
{self._came(n, table, over, reach)},
{_A}numbered AS MATERIALIZED ({numbered}),
{_A}changes AS MATERIALIZED (SELECT DISTINCT grp, nth FROM (
    SELECT grp, enter AS nth FROM {_A}numbered UNION ALL SELECT grp, leave FROM {_A}numbered WHERE leave < {n})),
{SOURCE} AS NOT MATERIALIZED (SELECT {carried}c.nth AS {RULE}, c.grp AS {_GROUP}
    FROM (SELECT *, unnest(range(enter // {width}, (leave - 1) // {width} + 1)) AS segment FROM {_A}numbered) AS s
    JOIN {_A}changes AS c ON s.grp = c.grp AND s.segment = c.nth // {width} AND c.nth >= s.enter AND c.nth < s.leave),
{_A}said AS MATERIALIZED ({self.rest}),
{_A}known AS MATERIALIZED (SELECT unnest($tocsin_known::JSON::VARCHAR[]) AS key),
{_A}keys AS MATERIALIZED (SELECT key, count(DISTINCT grp) > 1 OR key IN (SELECT key FROM {_A}known) AS whole
    FROM {_A}said GROUP BY key HAVING {wanted} OR key IN (SELECT key FROM {_A}known)),
{_A}notifying AS (SELECT s.grp, CASE WHEN bool_or(k.whole) THEN 0 ELSE min(CASE WHEN {begins} THEN s.rule_no END) END AS since
    FROM {_A}said AS s JOIN {_A}keys AS k ON s.key = k.key GROUP BY s.grp)
SELECT c.nth, c.grp, t.* EXCLUDE (rule_no, grp)
FROM {_A}changes AS c JOIN {_A}notifying AS g ON c.grp = g.grp AND c.nth >= g.since
LEFT JOIN (SELECT * FROM {_A}said WHERE key IN (SELECT key FROM {_A}keys)) AS t ON t.rule_no = c.nth AND t.grp = c.grp
ORDER BY c.nth, c.grp""",
            {
                "tocsin_lo": times[0] - over - reach,
                "tocsin_hi": times[-1],
                "tocsin_seq": seqs[-1],
                "tocsin_times": json.dumps(list(times)),
                "tocsin_seqs": json.dumps(list(seqs)),
                "tocsin_known": json.dumps(list(known), ensure_ascii=False),
                **({"tocsin_from": times[0] - over} if self.preceded is not None else {}),
            },
        )

    def _came(self, instants: int, table: str, over: int, reach: int) -> str:
        """CTEs, the last of them the rows, each with the instants that see it."""
        if self.preceded is not None:
            events = self.preceded.bind(table, f"{_A}times", f"{_A}seqs", instants, over + reach, over, self.reads)
            return (
                f"{events},\n{_A}came AS MATERIALIZED (SELECT * EXCLUDE ({quoted(ENTER)}, {quoted(LEAVE)}),"
                f" {quoted(ENTER)} AS enter, {quoted(LEAVE)} AS leave FROM ({self.rows}))"
            )
        return f"""{quoted(EVENTS)} AS NOT MATERIALIZED (
    SELECT *, epoch_us(TimeGenerated) AS {_TIME}, CommitSeq AS {_SEQ} FROM {table}
    WHERE TimeGenerated > make_timestamp($tocsin_lo::BIGINT) AND TimeGenerated <= make_timestamp($tocsin_hi::BIGINT)
    AND CommitSeq <= $tocsin_seq),
{_A}came AS MATERIALIZED (SELECT * FROM (
    SELECT r.*, greatest(t.nth, c.nth) AS enter, coalesce(g.nth, {instants}) AS leave FROM ({self.rows}) AS r
    ASOF JOIN {_A}times AS t ON r.{_TIME} <= t.hi
    ASOF JOIN {_A}seqs AS c ON r.{_SEQ} <= c.seq
    ASOF LEFT JOIN {_A}times AS g ON r.{_TIME} + {over} <= g.hi) WHERE enter < leave)"""


def ahead_plan(query: WindowQuery) -> AheadPlan | None:
    """The plan of ``query`` for many instants; None where it can be asked at one alone: it reads more than one log,
    means the instant itself by now(), or puts rows in an order of its own (what ``before.preceded`` writes is known).
    """
    if query.raw_sql or query.tables & (TABLES.keys() - {EVENTS}) or EVENTS not in query.tables:
        return None
    try:
        with upstream.bounded():
            return _Ahead(query).run(query.columns)
    except QueryError:
        return None


class _Ahead(Tree):
    def __init__(self, query: WindowQuery) -> None:
        self.preceded = Preceded.of(query.text)
        super().__init__(query.text if self.preceded is None else self.preceded.text, query.wants, query.schema)
        self.marks = (_TIME, _SEQ) if self.preceded is None else (ENTER, LEAVE)

    def run(self, visible: Mapping[str, str]) -> AheadPlan:
        flat = inlined(self.tree)
        self._check_reads(flat)
        known: dict[str, Types] = dict(self.schema)
        made: dict[str, str | None] = {} if self.preceded is None else {BEFORE: "string"}
        known[EVENTS] = {**known[EVENTS], **made, **dict.fromkeys(self.marks, "long")}
        source, columns = self.each.source(flat.source, known, frozenset(name for name, _ in flat.lets))
        self.hidden = dict.fromkeys(self.marks, "long")
        lifted = self.lifted(flat.operators)
        first: list[Any] = []
        if (kept := self.kept(flat, columns)) is not None:
            columns = {name: columns[name] for name in (*kept, *self.hidden)}
            first.append(ir.Project(tuple(ir.NamedExpr(ir.ColumnRef(name), name) for name in columns)))
        reads = tuple(name for name in columns if name not in (*made, *self.hidden, INSIDE))
        rest: list[Any] | None = None
        groups: tuple[str, ...] = ()
        for number, raw in enumerate(flat.operators):
            check_tree(raw)
            op = markers.resolved(upstream.resolve_lets(raw, list(columns)), columns)
            if rest is None and not (isinstance(op, _BY_ROW) and not markers.marker(op) and number not in lifted):
                if isinstance(op, ir.Summarize) and all(isinstance(o, _BY_ROW) for o in flat.operators[number + 1 :]):
                    op, groups, columns = self._keyed(op, first, columns, known)
                rest, columns = [], self._enter(columns, known)
            op = self.carrying(self.apart(op))
            typed, columns = self.typed(op, columns, known, None, lift=number in lifted)
            (first if rest is None else rest).append(typed)
        if rest is None:
            rest, columns = [], self._enter(columns, known)
        rows, now_first = upstream.render(ir.Query(source, first, flat.lets), known)
        body, now_rest = upstream.render(ir.Query(ir.TableRef(SOURCE), rest, flat.lets), known)
        if now_first or now_rest:
            raise QueryError("now() is another one at each instant")
        listed = output(list(visible), self.made, self.holds, self.by, columns)
        return AheadPlan(
            rows=rows,
            groups=groups,
            carried=tuple(name for name in known[SOURCE] if name not in (RULE, _GROUP)),
            rest=f"{listed}, {quoted(_GROUP)} AS grp FROM ({body})",
            columns=visible,
            preceded=self.preceded,
            reads=reads,
        )

    def _check_reads(self, flat: Any) -> None:
        """Events may be read once, as the source; beside them reference tables."""
        if not isinstance(flat.source, ir.TableRef) or flat.source.name != EVENTS:
            raise QueryError("the rows are no events")
        if any(isinstance(bound, ir.Query) for _, bound in flat.lets):
            raise QueryError("let names a table")
        nested = [query for op in flat.operators for query in nested_queries(op)]
        if any(tables_of(query) & TABLES.keys() for query in nested):
            raise QueryError("a log is read once more")

    def _keyed(
        self, op: Any, first: list[Any], columns: dict[str, str | None], known: Mapping[str, Types]
    ) -> tuple[Any, tuple[str, ...], dict[str, str | None]]:
        """A ``summarize`` whose keys ``first`` computes."""
        names, _ = upstream.summarize_names(op, list(columns))
        made = tuple(f"{_GROUP}{number}" for number in range(len(names)))
        keys = ir.Extend(tuple(ir.NamedExpr(key.expr, name) for key, name in zip(op.by, made, strict=True)))
        typed, columns = self.typed(keys, columns, known, None, lift=False)
        first.append(typed)
        by = tuple(ir.NamedExpr(ir.ColumnRef(name), shown) for name, shown in zip(made, names, strict=True))
        return replace(op, by=by), made, columns

    def _enter(self, columns: Mapping[str, str | None], known: dict[str, Types]) -> dict[str, str | None]:
        """Columns once rows have met their instants."""
        self.hidden = {RULE: "long", _GROUP: "long"}
        entered = {name: kind for name, kind in columns.items() if name not in self.marks} | self.hidden
        known[SOURCE] = entered
        return dict(entered)

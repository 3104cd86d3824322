"""What came just before an event: KQL that says it, and SQL that says it at many instants at once.

    run's events, in order    Running        Queued            what came just before Queued:
    arrive at instants           3              1              nothing at [1, 3), Running at [3, ...)

An event that arrives late comes between two others, and one that leaves the window stands before none any more. So an
event's life is cut where what comes before it changes; each part is a row of its own, seen by its instants only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tocsin.kql.sandbox.describe import quoted
from tocsin.kql.schema import HIDDEN
from tocsin.model.statuses import TERMINAL

BEFORE = "tocsin_before"
"""Column: the Status of the run's event before it, in event-time order; '' without one."""
INSIDE = "tocsin_inside"
"""Column of events of a window that sees older ones too: whether it is in the window."""
ENTER, LEAVE = f"{HIDDEN}enter", f"{HIDDEN}leave"
"""Columns: the instants by number that see the event, with this one before it: [enter, leave)."""

_EVENTS = "RunStatusChanged"
_B = f"{HIDDEN}before_"
_IDENTITY = ("RunId", "Source", "EventId", "CommitSeq", "TimeGenerated")
_LISTED = r"'\w+'(?:, '\w+')*"
_ENDS = ", ".join(f"'{status}'" for status in sorted(TERMINAL))
_ORDERED = "\n".join([
    f"| extend tocsin_try = coalesce(Attempt, 0), tocsin_ends = iff(Status in ({_ENDS}), 1, 0)",
    "| sort by RunId asc, tocsin_try asc, TimeGenerated asc, tocsin_ends asc, Source asc, EventId asc",
    f"| extend {BEFORE} = iff(prev(RunId) == RunId, prev(Status), '')",
])  # fmt: skip
_FOUND = re.compile(
    rf"{_EVENTS}\n\| where RunId in \({_EVENTS} \| where {INSIDE} and Status in \((?P<status>{_LISTED})\) \| distinct RunId\)\n"
    + re.escape(_ORDERED)
    + rf"\n(?P<first>\| where {BEFORE} in \((?P<after>{_LISTED})\)\n\| where ){INSIDE} and (?P<rest>Status in \((?P=status)\)\n.*)",
    re.DOTALL,
)


def preceded(statuses: Iterable[str], after: Iterable[str], *, inside: bool = False) -> str:
    """KQL: events of one of ``statuses`` that come just after one of ``after``, in the order of their run; only those
    INSIDE where the window sees older events too.
    """
    only = f"{INSIDE} and " if inside else ""
    wanted, before = (", ".join(f"'{status}'" for status in each) for each in (statuses, sorted(after)))
    return "\n".join([
        _EVENTS,
        f"| where RunId in ({_EVENTS} | where {only}Status in ({wanted}) | distinct RunId)",  # so fewer are put in order
        _ORDERED,
        f"| where {BEFORE} in ({before})",
        f"| where {only}Status in ({wanted})",
    ])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Preceded:
    """A query that begins with what ``preceded`` writes of events inside."""

    text: str  # the same over events that have the column BEFORE
    status: str  # SQL lists of literals
    after: str

    @staticmethod
    def of(text: str) -> Preceded | None:
        """None where it begins otherwise."""
        found = _FOUND.fullmatch(text)
        if found is None:
            return None
        return Preceded(
            text=f"{_EVENTS}\n{found['first']}{found['rest']}", status=found["status"], after=found["after"]
        )

    def bind(
        self, table: str, times: str, seqs: str, instants: int, over: int, within: int, reads: Sequence[str]
    ) -> str:
        """CTEs, the last of them called RunStatusChanged: its events with BEFORE, ENTER and LEAVE.

        ``times`` and ``seqs`` are tables of instants by T (``hi``, ``nth``) and by commit (``seq``, ``nth``), of which
        there are ``instants``; ``table`` stands for RunStatusChanged in a FROM. An event is seen for ``over`` and
        counts for ``within``, µs. ``reads`` are the columns that are read. Parameters: ``$tocsin_lo``, ``$tocsin_hi``,
        ``$tocsin_seq``; ``$tocsin_from``, since when events count.
        """
        seen = (
            f"(SELECT *, epoch_us(TimeGenerated) AS {_B}t, coalesce(Attempt, 0) AS {_B}try,"
            f" Status IN ({_ENDS}) AS {_B}ends FROM {table}"
            " WHERE TimeGenerated > make_timestamp($tocsin_lo::BIGINT) AND TimeGenerated <= make_timestamp($tocsin_hi::BIGINT)"
            " AND CommitSeq <= $tocsin_seq)"
        )
        wanted, after = f"FILTER (Status IN ({self.status}))", f"FILTER (Status IN ({self.after}))"
        ordered = f"PARTITION BY RunId ORDER BY {_B}try, {_B}t, {_B}ends, Source, EventId"
        which = ", ".join(_IDENTITY)
        columns = ", ".join(f"e.{quoted(name)}" for name in reads)
        same = " AND ".join(f"e.{name} = p.{name}" for name in _IDENTITY)
        # Most events have the same one before them all their life: the one next to them in order had come before, and
        # stays. What is `tangled` has not: of it, all that stand between it and the first of which that is true are
        # looked at. A run counts only where something wanted can come after something of `after`: most runs are put in
        # no order at all.
        return f"""{_B}runs AS MATERIALIZED (SELECT RunId FROM {seen} GROUP BY RunId
    HAVING min({_B}try) {after} < max({_B}try) {wanted} OR min({_B}t) {after} <= max({_B}t) {wanted}),
{_B}lives AS (SELECT * FROM (
    SELECT {", ".join(f"r.{name}" for name in _IDENTITY)}, r.Status, {_B}try, {_B}t, {_B}ends,
        greatest(t.nth, c.nth) AS enter, coalesce(w.nth, {instants}) AS leave, coalesce(g.nth, {instants}) AS gone
    FROM (SELECT * FROM {seen} WHERE RunId IN (SELECT RunId FROM {_B}runs)) AS r
    ASOF JOIN {times} AS t ON r.{_B}t <= t.hi
    ASOF JOIN {seqs} AS c ON r.CommitSeq <= c.seq
    ASOF LEFT JOIN {times} AS w ON r.{_B}t + {within} <= w.hi
    ASOF LEFT JOIN {times} AS g ON r.{_B}t + {over} <= g.hi) WHERE enter < gone),
{_B}placed AS MATERIALIZED (
    SELECT *, row_number() OVER run AS place, lag(Status) OVER run AS before, lag(enter) OVER run AS came,
        lag(gone) OVER run AS goes, max(gone) OVER earlier AS last, Status IN ({self.status}) AND enter < leave AS wanted
    FROM {_B}lives WINDOW run AS ({ordered}), earlier AS ({ordered} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
{_B}tangled AS MATERIALIZED (SELECT * FROM {_B}placed
    WHERE wanted AND before IS NOT NULL AND NOT (came <= enter AND (goes >= leave OR goes = last))),
{_B}since AS (SELECT e.RunId, e.place, max(p.place) FILTER (p.enter <= e.enter AND p.gone >= e.leave) AS first
    FROM {_B}tangled AS e JOIN {_B}placed AS p ON p.RunId = e.RunId AND p.place < e.place GROUP BY e.RunId, e.place),
{_B}near AS MATERIALIZED (SELECT e.RunId, e.place AS later, e.enter AS since, e.leave AS until, p.place, p.Status, p.enter, p.gone
    FROM {_B}tangled AS e JOIN {_B}since AS s ON s.RunId = e.RunId AND s.place = e.place
    JOIN {_B}placed AS p ON p.RunId = e.RunId AND p.place < e.place AND p.place >= coalesce(s.first, 0)),
{_B}turns AS (SELECT RunId, later, nth, coalesce(lead(nth) OVER (PARTITION BY RunId, later ORDER BY nth), until) AS until FROM (
    SELECT RunId, later, until, since AS nth FROM {_B}near
    UNION SELECT RunId, later, until, enter FROM {_B}near WHERE enter > since AND enter < until
    UNION SELECT RunId, later, until, gone FROM {_B}near WHERE gone > since AND gone < until)),
{_B}cut AS (SELECT t.RunId, t.later, t.nth, t.until, arg_max(n.Status, n.place) AS before
    FROM {_B}turns AS t JOIN {_B}near AS n ON n.RunId = t.RunId AND n.later = t.later AND n.enter <= t.nth AND n.gone > t.nth
    GROUP BY t.RunId, t.later, t.nth, t.until),
{_B}parts AS MATERIALIZED (
    SELECT {which}, before, enter, least(leave, goes) AS leave FROM {_B}placed ANTI JOIN {_B}tangled USING (RunId, place)
    WHERE wanted AND before IN ({self.after})
    UNION ALL SELECT {", ".join(f"e.{name}" for name in _IDENTITY)}, c.before, c.nth, c.until
    FROM {_B}cut AS c JOIN {_B}tangled AS e ON e.RunId = c.RunId AND e.place = c.later WHERE c.before IN ({self.after})),
{quoted(_EVENTS)} AS NOT MATERIALIZED (SELECT {columns}, p.before AS {BEFORE}, p.enter AS {ENTER}, p.leave AS {LEAVE}
    FROM {seen} AS e JOIN {_B}parts AS p ON {same}
    WHERE p.enter < p.leave AND e.Status IN ({self.status}) AND e.TimeGenerated > make_timestamp($tocsin_from::BIGINT))"""

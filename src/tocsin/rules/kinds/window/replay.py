"""A window rule over a history: the frame of many instants, beside that of one which live operation asks for.

    ticks      |    |    |    |    |    |          all of them, and commits at which it evaluates early
    holds                 ███                      what is read at once says where something holds
    evaluated  |         |    |    |    |          from there on, as long as time or rows can change something

An evaluation that would change nothing is left out: the next tick is the first that may.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tocsin.alerts.conditions import is_silent, wakes
from tocsin.errors import QueryError
from tocsin.kql.plan.windowahead import AheadPlan, ahead_plan
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.remembered import ConditionState
from tocsin.rules.history import micros, moment
from tocsin.rules.index import matching_sql
from tocsin.rules.kinds.base import Part, Remembered, Span
from tocsin.rules.kinds.window.ahead import Ahead, Moments
from tocsin.rules.kinds.window.instance_rows import InstanceRows, row_key, stands_for_others
from tocsin.rules.kinds.window.spec import WindowRule
from tocsin.rules.kinds.window.ticks import after
from tocsin.rules.ranges import Range, commit, ranges

if TYPE_CHECKING:
    import pyarrow as pa

WIDE = 50_000
"""Rows of a window from which on reading them costs more than asking: these windows are asked one by one."""
_DEPENDS = "it depends on more than the rows of its window (Runs, now(), another table, an order of its own)"
_WIDE = f"its window holds more than {WIDE:,} rows"
_US = timedelta(microseconds=1)


class Frame:
    """Instants of a part of a history, and what rows say at them where that was read at once."""

    def __init__(
        self, rule: WindowRule, log: LogReader, moments: Moments, end: datetime, ahead: Ahead | None,
        states: Iterable[ConditionState],
    ) -> None:  # fmt: skip
        """``states`` are remembered at the begin. Without ``ahead`` each instant is read by itself."""
        self._rule, self._log, self._moments, self._ahead = rule, log, moments, ahead
        self._past = after(end, rule.spec.every)  # the first tick of the next part
        self._all = ahead is None or ahead.crowded or any(stands_for_others(state) for state in states)
        self._next_row = -1  # the first moment that may see a row, of all after one at which there was none

    @property
    def commits(self) -> list[CommitInfo]:
        """Those at which something may begin or fire."""
        moments, ahead = self._moments, self._ahead
        some: Iterable[int] = range(len(moments)) if self._all or ahead is None else sorted(ahead.rises)
        return [commit(moments.seqs[n], moments.times[n], moments.rows[n]) for n in some if moments.rows[n]]

    def seen(self, at: datetime, commit_seq: int, states: Iterable[ConditionState]) -> dict[str, InstanceRows] | None:
        """As ``Ahead.seen``."""
        return None if self._ahead is None else self._ahead.seen(at, commit_seq, states)

    def seq_at(self, at: datetime) -> int:
        """The last commit that an instant at ``at`` sees."""
        number = bisect_right(self._moments.times, micros(at)) - 1
        seen = self._moments.seqs[number] if number >= 0 else self._moments.before
        if number >= 0 and self._moments.times[number] == micros(at):
            return seen
        found = self._log.select(
            "SELECT max(CommitSeq) FROM RunStatusChanged WHERE CommitSeq > $seen AND IngestedAt <= $at",
            {"seen": seen, "at": at.replace(tzinfo=None)},
        )
        return found.column(0)[0].as_py() or seen

    def next_tick(self, at: datetime, states: Iterable[ConditionState], changed: bool) -> datetime:
        """The first tick after that at ``at`` that may change something of ``states``, or begin something; where none
        may, the first of the next part. What ``changed`` is evaluated again at once.
        """
        following = after(at, self._rule.spec.every)
        if self._all or changed or self._ahead is None:
            return following
        number = bisect_right(self._moments.times, micros(at)) - 1
        first = self._ahead.begins(number + 1)
        for state in states:
            first = min(first, self._ahead.news(row_key(state), number), self._wakes(state, number))
        if first == len(self._moments):
            return max(following, self._past)
        return max(following, after(moment(self._moments.times[first]) - _US, self._rule.spec.every))

    def _wakes(self, state: ConditionState, number: int) -> int:
        times = self._moments.times
        wake = wakes(state, self._rule.spec.terms, moment(times[number]))
        when = len(times) if wake is None else bisect_left(times, micros(wake))
        return min(when, self._row_after(number)) if is_silent(state) else when

    def _row_after(self, number: int) -> int:
        """The first instant after ``number``, at which the whole window is empty, that may see a row in it."""
        if self._next_row > number:
            return self._next_row
        where, values = matching_sql(self._rule.prefilter)
        lateness, moments = self._rule.spec.lateness // _US, self._moments
        table = self._log.select(
            "SELECT min(greatest(epoch_us(TimeGenerated) + $lateness, epoch_us(IngestedAt))) FROM ("
            "SELECT * FROM RunStatusChanged WHERE CommitSeq > $seen AND CommitSeq <= $last UNION ALL"
            " SELECT * FROM RunStatusChanged WHERE CommitSeq <= $seen AND TimeGenerated > make_timestamp($hi::BIGINT)"
            f") WHERE {where}",
            {
                "lateness": lateness, "seen": moments.seqs[number], "last": moments.seqs[-1],
                "hi": moments.times[number] - lateness, **values,
            },
        )  # fmt: skip
        first = table.column(0)[0].as_py()
        self._next_row = len(moments) if first is None else max(number + 1, bisect_left(moments.times, first))
        return self._next_row


def candidates(rule: WindowRule, log: LogReader, span: Span, remembered: Remembered) -> Iterator[Part]:
    """As ``Kind.candidates``: parts with a ``Frame`` each."""
    plan = ahead_plan(rule.spec.query) if isinstance(rule.spec.over, timedelta) else None
    replay = _Replay(rule, plan, log, span, remembered)
    begin, done = span.since, 0.0
    for each in ranges(log, span.since, span.until, span.rows):
        yield from replay.parts(each, begin, done)
        begin, done = each.end, each.share


class _Replay:
    def __init__(
        self, rule: WindowRule, plan: AheadPlan | None, log: LogReader, span: Span, remembered: Remembered
    ) -> None:
        self._rule, self._plan, self._log, self._span, self._remembered = rule, plan, log, span, remembered

    def parts(self, each: Range, begin: datetime, done: float) -> Iterator[Part]:
        """A range of the history after ``begin``: where little came and it is long, in several parts. ``done`` is the
        share of what came before it.
        """
        lo, end = each.after, begin
        longest = self._span.ticks * self._rule.spec.every
        while end < each.end or lo == each.after:
            begin, end = end, min(end + longest, each.end)
            moments, lo = self._moments(lo, each.hi, begin, end)
            done += moments.came / max(each.rows, 1) * (each.share - done) if end < each.end else each.share - done
            yield from self._read(moments, end, done)
            if end >= each.end:
                return

    def _read(self, moments: Moments, end: datetime, share: float, why: str = "") -> Iterator[Part]:
        """What rows say at ``moments``, read at once where that goes; else by halves, or each by itself. ``why`` more of
        them were not.
        """
        states = self._remembered.conditions(self._rule.name).values()
        ahead = None
        if len(moments) > max(1, self._span.few):
            if self._plan is None or self._wide(moments):
                why = _DEPENDS if self._plan is None else _WIDE
            else:
                try:
                    ahead = Ahead(self._rule, self._plan, moments, {row_key(state) for state in states}, self._log)
                except QueryError as e:
                    half = len(moments) // 2  # too much, or a row that cannot be evaluated: the instants find it
                    yield from self._read(moments.part(0, half), moment(moments.times[half - 1]), share, str(e))
                    yield from self._read(moments.part(half, len(moments)), end, share, str(e))
                    return
        frame = Frame(self._rule, self._log, moments, end, ahead, states)
        yield Part(commits=frame.commits, end=end, share=share, ahead=frame, note=(why, len(moments)) if why else None)

    def _wide(self, moments: Moments) -> bool:
        assert isinstance(self._rule.spec.over, timedelta)
        span = max(1, moments.times[-1] - moments.times[0])
        return moments.came * (self._rule.spec.over // _US) // span > WIDE

    def _moments(self, lo: int, hi: int, begin: datetime, end: datetime) -> tuple[Moments, int]:
        """Ticks in (begin, end] and the commits of (lo, hi] in it at which the rule evaluates early; and the last
        commit in it.
        """
        every, window = self._rule.spec.every // _US, self._rule.spec
        rows_sql, bounds = self._log.rows_of(lo, hi)
        rows_sql += " AND IngestedAt <= make_timestamp($end::BIGINT)"
        bounds = {**bounds, "end": micros(end)}
        ticks = range(micros(after(begin, window.every)), micros(end) + 1, every)
        seqs, last, came = [lo] * len(ticks), lo, 0
        table = self._log.select(
            "SELECT greatest(0, ceil((epoch_us(IngestedAt) - $first) / $every)::BIGINT) AS nth, max(CommitSeq), count(*)"
            f" FROM ({rows_sql}) GROUP BY nth",
            {**bounds, "first": ticks.start, "every": every},
        )
        for nth, seq, rows in _lines(table):
            last, came = max(last, seq), came + rows
            if nth < len(seqs):
                seqs[nth] = seq
        found = [(t, 1, seq, 0) for t, seq in zip(ticks, accumulate(seqs, max), strict=True)]
        if window.evaluates_early:
            where, values = matching_sql(self._rule.prefilter)
            table = self._log.select(
                f"SELECT epoch_us(min(IngestedAt)), 0, CommitSeq, count(*) FROM ({rows_sql}) WHERE {where}"
                " GROUP BY CommitSeq",
                {**bounds, **values},
            )
            found = sorted([*found, *_lines(table)])
        return Moments(
            times=[t for t, _, _, _ in found],
            seqs=[seq for _, _, seq, _ in found],
            rows=[rows for _, _, _, rows in found],
            before=lo,
            came=came,
        ), last


def _lines(table: pa.Table) -> Iterator[Any]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)

"""A log that stands still between commits: a window that slides over the same rows is not read again.

rows     │  a      b           c        │
windows  (──────────────)                 sees a, b
           (──────────────)               sees a, b: the same
             (──────────────)             sees b, c
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa

from tocsin.logstore.interface import CommitInfo, Head, Limits, LogReader, Rows, RunSpan, StoredRow, Touched

_SPAN = frozenset({"tocsin_lo", "tocsin_hi"})
_INSIDE = frozenset({"tocsin_from"})
"""Where a window begins that sees older events too."""
_MOVING = frozenset({"kqlnow", "tocsin_ended"})
"""Parameters that mean the instant itself: with one of them, the same rows say something else."""
_MIRRORS = ('main."Alerts"', 'main."Notifications"', 'main."Actions"', 'main."DeadLetters"')
_TIMES = (
    "SELECT t FROM (SELECT epoch_us(TimeGenerated) AS t FROM RunStatusChanged"
    " UNION SELECT epoch_us(ReceivedAt) FROM Heartbeats UNION SELECT epoch_us(Time) FROM RunMetrics) ORDER BY t"
)


class Steady(LogReader):
    """``reader``, with the answers about windows remembered until ``turned``. For small logs: it knows all their
    times.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._times: list[int] | None = None
        self._answers: dict[tuple[object, ...], pa.Table] = {}

    def turned(self) -> None:
        """Rows came: what was read counts no more."""
        self._times = None
        self._answers.clear()

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        given = dict(params or {})
        if not given.keys() >= _SPAN or given.keys() & _MOVING or any(name in sql for name in _MIRRORS):
            return self._reader.select(sql, params, limits)
        if self._times is None:
            self._times = self._reader.select(_TIMES).column(0).to_pylist()
        # A window holds the times in (lo, hi]: two windows with the same of them hold the same rows.
        ends = sorted(given.keys() & (_SPAN | _INSIDE))
        span = tuple(bisect_right(self._times, int(str(given.pop(name)))) for name in ends)
        key = (sql, span, *sorted((name, repr(value)) for name, value in given.items()))
        if key not in self._answers:
            self._answers[key] = self._reader.select(sql, params, limits)
        return self._answers[key]

    def head(self) -> Head:
        return self._reader.head()

    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        return self._reader.commits(after, limit)

    def spans(self, run_ids: Iterable[str]) -> Mapping[str, RunSpan]:
        return self._reader.spans(run_ids)

    def table(self, name: str) -> str:
        return self._reader.table(name)

    def rows_of(self, after: int, hi: int) -> Rows:
        return self._reader.rows_of(after, hi)

    def runs_touched(self, after: int, hi: int) -> Rows:
        return self._reader.runs_touched(after, hi)

    def runs_of(self, run_ids: Collection[str]) -> Rows:
        return self._reader.runs_of(run_ids)

    def runs_of_jobs(self, job_keys: Collection[str]) -> Rows:
        return self._reader.runs_of_jobs(job_keys)

    def runs_as_of(self, seq: int) -> Rows:
        return self._reader.runs_as_of(seq)

    def recent_runs(self, after: int, hi: int) -> Mapping[str, Touched] | None:
        return self._reader.recent_runs(after, hi)

    def recent_rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        return self._reader.recent_rows(after, hi)

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        return self._reader.schema()

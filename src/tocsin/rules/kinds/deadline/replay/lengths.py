"""How long runs of the past took, as of a time that only moves on: what a backtest compares runs with.

    came     c1    c2         c3                  each end of a run is seen from when it came,
    seen     [c1 ──────────────) last             and as long as it lies within ``last``
                   [c2 ──────────────)

It says what ``spec.baseline.baseline_us`` reads each time.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from tocsin.logstore.interface import LogReader
from tocsin.rules.spec.baseline import COMPLETED, Asked, Baseline, columns, ended_sql

STEP = 1 << 37
"""So much is read ahead, µs: 38 hours."""
_US = timedelta(microseconds=1)


class _End(NamedTuple):
    """An end of a run."""

    time_us: int  # when it happened
    ms: int  # how long the run took
    ends_us: int
    run: str
    like: tuple[str, ...]
    came_us: int


class Lengths:
    """Lengths by what makes runs alike. One thread."""

    def __init__(self, baseline: Baseline, reader: LogReader, begin_us: int) -> None:
        """Nothing is asked before ``begin_us``."""
        self._baseline, self._reader = baseline, reader
        self._last = baseline.last // _US
        self._read_to = begin_us - 1
        self._coming: deque[_End] = deque()
        self._leaving: list[tuple[int, _End]] = []  # a heap, by when they leave
        self._of: dict[tuple[str, ...], list[int]] = defaultdict(list)  # sorted, ms
        self._ends: dict[str, list[_End]] = defaultdict(list)  # by run; the greatest counts
        self._read(None, self._read_to)

    def baseline_us(self, asked: Mapping[str, Asked]) -> Mapping[str, int]:
        """As ``spec.baseline.baseline_us``; no T lies before one that was asked."""
        found: dict[str, int] = {}
        for run, each in sorted(asked.items(), key=lambda item: item[1].at_us):
            self._move_to(each.at_us)
            lengths = self._of.get(each.like, ())
            if len(lengths) >= self._baseline.min_runs:
                place = self._baseline.percentile / 100 * (len(lengths) - 1)
                low = int(place)
                high = min(low + 1, len(lengths) - 1)
                ms = lengths[low] + (lengths[high] - lengths[low]) * (place - low)
                found[run] = round(ms * 1000 * self._baseline.factor)
        return found

    def _move_to(self, at_us: int) -> None:
        while self._read_to < at_us:
            self._read(self._read_to, self._read_to + STEP)
        while self._coming and self._coming[0].came_us <= at_us:
            end = self._coming.popleft()
            self._change(end, came=True)
            heapq.heappush(self._leaving, (end.ends_us + self._last, end))
        while self._leaving and self._leaving[0][0] <= at_us:
            self._change(heapq.heappop(self._leaving)[1], came=False)

    def _change(self, end: _End, *, came: bool) -> None:
        """Of a run that ended several times the last counts, by when it happened."""
        ends = self._ends[end.run]
        of_run = [each for each in ends if each.like == end.like]
        before = max(of_run, default=None)
        (ends.append if came else ends.remove)(end)
        after = max((each for each in ends if each.like == end.like), default=None)
        lengths = self._of[end.like]
        if before is not None:
            del lengths[bisect_left(lengths, before.ms)]
        if after is not None:
            insort(lengths, after.ms)
        if not ends:
            del self._ends[end.run]

    def _read(self, after: int | None, upto: int) -> None:
        """What came in (``after``, ``upto``]; None: whatever came before and may still be seen."""
        names = columns(self._baseline)
        since = "" if after is None else " AND IngestedAt > make_timestamp($lo::BIGINT)"
        sql = ended_sql(
            COMPLETED,
            f"epoch_us(TimeGenerated) AS t, DurationMs, epoch_us(EndTime) AS e, RunId, epoch_us(IngestedAt) AS came, {names}",
            f"IngestedAt <= make_timestamp($hi::BIGINT){since}",
        )
        lo = self._read_to if after is None else after
        params = {"after": lo - self._last, "hi": upto, **({} if after is None else {"lo": after})}
        table = self._reader.select(f"SELECT * EXCLUDE (ends) FROM ({sql}) ORDER BY came", params)
        for t, ms, ends, run, came, *like in zip(*(column.to_pylist() for column in table.columns), strict=True):
            self._coming.append(_End(t, ms, ends, run, tuple(value or "" for value in like), came))
        self._read_to = upto

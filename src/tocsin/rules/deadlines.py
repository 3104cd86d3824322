"""Deadlines of runs in memory: one for each run that an absence rule waits for, in a heap, so that nothing is polled for.

They follow from the log, so they are not stored: after a start they are reckoned anew (``deadlines_judge.arm``), and only what
a deadline changed is in the state. A deadline that moves later, as each heartbeat moves it, is not pushed again: when the
old one comes up it is found to be stale and goes back with its new time.

    put(r1, 10:00)   put(r1, 10:07)              past(10:00)             past(10:07)
    heap: 10:00      heap: 10:00 (due: 10:07)    heap: 10:07             ripe: r1
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.history import micros, moment

_SLACK = 1000
"""Stale entries of the heap that are always borne."""


class Deadline(NamedTuple):
    """A run's deadline under a rule. ``due_us`` None: it has none. ``consumers``: known to be waited for.

    With ``or_us``, neither is more than a bound: where a deadline is set, it moves to ``due_us`` if that is earlier; else it is set
    to ``or_us``. What has come is reckoned anew before it is judged.
    """

    rule: str
    run: str
    due_us: int | None
    consumers: frozenset[str] = frozenset()
    or_us: int | None = None


class DeadlineTable:
    """Deadlines by rule and run. One thread."""

    def __init__(self) -> None:
        self._due: dict[str, dict[str, int]] = {}
        self._heap: list[tuple[int, str, str]] = []
        self._ripe: dict[tuple[str, str], Timer] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def held(self) -> int:
        """How many are past due and wait for a watermark."""
        return len(self._ripe)

    def take(self, changes: Iterable[Deadline]) -> None:
        """Bring ``changes`` into force, in their order."""
        for change in changes:
            if change.due_us is None:
                self._drop(change)
            elif change.or_us is None:
                self._put(change, change.due_us)
            elif (known := self._due.get(change.rule, {}).get(change.run)) is None:
                self._put(change, change.or_us)
            elif change.due_us < known:
                self._put(change, change.due_us)
        if len(self._heap) > 2 * self._size + _SLACK:
            self._heap = [
                (due, rule, run)
                for rule, runs in self._due.items()
                for run, due in runs.items()
                if (rule, run) not in self._ripe
            ]
            heapq.heapify(self._heap)

    def forget(self, rule: str) -> None:
        """The rule is gone, or means something else."""
        self._size -= len(self._due.pop(rule, {}))
        for key in [key for key in self._ripe if key[0] == rule]:
            del self._ripe[key]

    def past(self, now: datetime) -> list[Timer]:
        """Deadlines that have come, held ones included, as timers. They stay until they are decided (``take``)."""
        now_us = micros(now)
        while self._heap and self._heap[0][0] <= now_us:
            due, rule, run = heapq.heappop(self._heap)
            current = self._due.get(rule, {}).get(run)
            if current is None or (rule, run) in self._ripe or current < due:
                continue
            if current > now_us:
                heapq.heappush(self._heap, (current, rule, run))
            else:
                self._ripe[(rule, run)] = _timer(rule, run, current, frozenset())
        return list(self._ripe.values())

    def next_due(self) -> datetime | None:
        """Not before this time does another one come; it may turn out to be stale."""
        while self._heap:
            due, rule, run = self._heap[0]
            current = self._due.get(rule, {}).get(run)
            if current is not None and current >= due and (rule, run) not in self._ripe:
                if current == due:
                    return moment(due)
                heapq.heapreplace(self._heap, (current, rule, run))
            else:
                heapq.heappop(self._heap)
        return None

    def _put(self, change: Deadline, due: int) -> None:
        runs = self._due.setdefault(change.rule, {})
        before = runs.get(change.run)
        ripe = self._ripe.pop((change.rule, change.run), None)
        runs[change.run] = due
        self._size += before is None
        if change.consumers:
            self._ripe[(change.rule, change.run)] = _timer(change.rule, change.run, due, change.consumers)
        elif before is None or due < before or ripe is not None:
            heapq.heappush(self._heap, (due, change.rule, change.run))

    def _drop(self, change: Deadline) -> None:
        if self._due.get(change.rule, {}).pop(change.run, None) is not None:
            self._size -= 1
            self._ripe.pop((change.rule, change.run), None)


def _timer(rule: str, run: str, due_us: int, consumers: frozenset[str]) -> Timer:
    return Timer(rule=rule, kind=TimerKind.DEADLINE, key=run, due=moment(due_us), consumers=consumers)

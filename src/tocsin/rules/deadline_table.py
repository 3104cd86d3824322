"""Deadlines of runs in memory: one for each run that an absence rule waits for, in a heap, so that nothing is polled
for.

They follow from the log, so they are not stored: after a start they are computed again (``Kind.schedule``), and only
what a deadline changed is in the state. A deadline that moves later, as each heartbeat moves it, is not pushed again:
when the old one comes up it is found to be expired and goes back with its new time.

    put(r1, 10:00)   put(r1, 10:07)              past(10:00)             past(10:07)
    heap: 10:00      heap: 10:00 (due: 10:07)    heap: 10:07             ripe: r1
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime
from sys import intern
from typing import NamedTuple

from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.history import micros, moment

_SLACK = 1000
"""Expired entries that are always borne."""
IDLE = 100_000
"""Runs that are known to be settled though nothing is waited for, at most. One that never ends would be known for
ever, as it is in the log; of one that is forgotten the next heartbeat is computed again.
"""
_SILENT, _ANY = 1, 2
_SOON = 15
"""Entries of the heap that are shown as coming soon: the first four are always among so many."""


class Deadline(NamedTuple):
    """A run's deadline under a rule. ``due_us`` None: it has none. ``consumers``: known to be waited for.

    With ``or_us``, neither is more than a bound: where a deadline is set, it moves to ``due_us`` if that is earlier;
    else it is set to ``or_us``. With ``not_before`` one that is set moves to ``due_us`` if that is later; none is set.
    What has come is computed again before it is evaluated.
    """

    rule: str
    run: str
    due_us: int | None
    consumers: frozenset[str] = frozenset()
    or_us: int | None = None
    by: str = ""  # a consumer that is waited for in any case; '': none is known
    not_before: bool = False


class Settled(NamedTuple):
    """What heartbeats alone can do to the deadlines of a run: nothing but to move those that are set later, where it
    is settled.

    So a heartbeat of a settled run need not be computed. A run is not, where a deadline that its rules wait for is not
    set: because it was notified, or is too old to be, or because it never said how far it is.
    """

    run: str
    silent: bool  # heartbeats that do not say how far it is
    any: bool  # heartbeats that do


class DeadlineTable:
    """Deadlines by rule and run. One thread."""

    def __init__(self) -> None:
        self._due: dict[str, dict[str, int]] = {}  # by rule and run, µs
        self._by: dict[str, str] = {}  # by run: the consumer that is waited for in any case
        self._settled: dict[str, int] = {}  # by run
        self._heap: list[tuple[int, str, str]] = []  # due, rule, run
        self._ripe: dict[tuple[str, str], Timer] = {}

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def __iter__(self) -> Iterator[tuple[str, str, datetime]]:
        """(rule, run, due) of each."""
        for rule, of in self._due.items():
            for run, due in of.items():
                yield rule, run, moment(due)

    def next_of_rules(self) -> dict[str, datetime]:
        """When each rule's next one comes, held ones included. May be called from any thread; goes through all."""
        found = {rule: min(list(of.values()), default=None) for rule, of in list(self._due.items())}
        return {rule: moment(first) for rule, first in found.items() if first is not None}

    @property
    def held(self) -> int:
        """How many are past due and wait for a watermark."""
        return len(self._ripe)

    def last_waiting(self) -> datetime | None:
        """The latest due time among those."""
        return max((timer.due for timer in self._ripe.values()), default=None)

    def is_settled(self, run: str, progress: bool) -> bool:
        """Whether a heartbeat of ``run``, with or without ``progress``, need not be computed, see ``Settled``."""
        return self._settled.get(run, 0) >= (_ANY if progress else _SILENT)

    def unsettle(self) -> None:
        """Forget which runs are settled: under other rules they are not."""
        self._settled.clear()

    def take(self, changes: Iterable[Deadline], settles: Iterable[Settled] = ()) -> None:
        """Bring ``changes`` into force, in their order, and then ``settles``."""
        for change in changes:
            self._change(change)
        for each in settles:
            level = _ANY if each.any else _SILENT if each.silent else 0
            if level:
                self._settled[intern(each.run)] = level
            else:
                self._settled.pop(each.run, None)
        if len(self._settled) > len(self) + IDLE:
            self.unsettle()
        if len(self._heap) > 2 * len(self) + _SLACK:
            self._rebuild()

    def _change(self, change: Deadline) -> None:
        known = self._due.get(change.rule, {}).get(change.run)
        if change.due_us is None:
            if known is not None:
                self._drop(change.rule, change.run)
        elif change.not_before:
            if known is not None and change.due_us > known:
                self._put(change, change.due_us)
        elif change.or_us is None:
            self._put(change, change.due_us)
        elif known is None:
            self._put(change, change.or_us)
        elif change.due_us < known:
            self._put(change, change.due_us)

    def _put(self, change: Deadline, due: int) -> None:
        rule, run = intern(change.rule), intern(change.run)
        of = self._due.setdefault(rule, {})
        before, ripe = of.get(run), self._ripe.pop((rule, run), None)
        of[run] = due
        if change.by:
            self._by[run] = intern(change.by)
        if change.consumers:
            self._ripe[(rule, run)] = _timer(rule, run, due, change.consumers)
        elif before is None or due < before or ripe is not None:
            heapq.heappush(self._heap, (due, rule, run))

    def _drop(self, rule: str, run: str) -> None:
        del self._due[rule][run]
        self._ripe.pop((rule, run), None)
        self._settled.pop(run, None)
        self._release(run)

    def _release(self, run: str) -> None:
        """Nothing is known any more of a run of which nothing is waited for."""
        if not any(run in of for of in self._due.values()):
            self._by.pop(run, None)

    def _rebuild(self) -> None:
        """Without the entries that were replaced."""
        waiting = ((due, rule, run) for rule, of in self._due.items() for run, due in of.items())
        self._heap = [entry for entry in waiting if entry[1:] not in self._ripe]
        heapq.heapify(self._heap)

    def forget(self, rule: str) -> None:
        """The rule is gone, or means something else."""
        for run in self._due.pop(rule, {}):
            self._ripe.pop((rule, run), None)
            self._release(run)

    def past(self, now: datetime) -> list[Timer]:
        """Deadlines that have come, held ones included, as timers. They stay until they are decided (``take``)."""
        now_us = micros(now)
        while self._heap and self._heap[0][0] <= now_us:
            _, rule, run = entry = heapq.heappop(self._heap)
            due = self._current(entry)
            if due is not None and due > now_us:
                heapq.heappush(self._heap, (due, rule, run))
            elif due is not None:
                by = frozenset({self._by[run]} if run in self._by else ())
                self._ripe[(rule, run)] = _timer(rule, run, due, by)
        return list(self._ripe.values())

    def next_due(self) -> datetime | None:
        """When the next one comes that has not come yet."""
        while self._heap:
            due = self._current(self._heap[0])
            if due == self._heap[0][0]:
                return moment(due)
            _, rule, run = heapq.heappop(self._heap)
            if due is not None:
                heapq.heappush(self._heap, (due, rule, run))
        return None

    def _current(self, entry: tuple[int, str, str]) -> int | None:
        """When the deadline of an entry is by now; None where it is gone, has come, or has an earlier entry."""
        due, rule, run = entry
        now = self._due.get(rule, {}).get(run)
        return None if now is None or now < due or (rule, run) in self._ripe else now

    def soon(self) -> list[datetime]:
        """Due times of some of those that come next, the first few among them, in no order; expired ones may be too."""
        return [moment(due) for due, _, _ in self._heap[:_SOON]]


def _timer(rule: str, run: str, due_us: int, consumers: frozenset[str]) -> Timer:
    return Timer(rule=rule, kind=TimerKind.DEADLINE, key=run, due=moment(due_us), consumers=consumers)

"""Timers in memory: those of the state, kept in step with every outcome, so that nothing is polled for."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime

from tocsin.model.instants import Timer
from tocsin.state.interface import Outcome

Key = tuple[str, str, str]
"""(rule, kind, key)."""


def key_of(timer: Timer) -> Key:
    """What names a timer."""
    return (timer.rule, timer.kind.value, timer.key)


class TimerTable:
    """Timers by due time. One thread."""

    def __init__(self, timers: Iterable[Timer] = ()) -> None:
        self._timers: dict[Key, Timer] = {}
        self._heap: list[tuple[datetime, Key]] = []
        self._past: dict[Key, Timer] = {}  # taken off the heap, not done yet: held for a watermark
        for timer in timers:
            self.put(timer)

    def __len__(self) -> int:
        return len(self._timers)

    def __iter__(self) -> Iterator[Timer]:
        return iter(list(self._timers.values()))

    @property
    def coming(self) -> list[Timer]:
        """Those that are not past due and held for a watermark."""
        return [timer for key, timer in self._timers.items() if key not in self._past]

    def put(self, timer: Timer) -> None:
        """Set it, or set it again."""
        key = key_of(timer)
        self._timers[key] = timer
        self._past.pop(key, None)
        heapq.heappush(self._heap, (timer.due, key))

    def drop(self, key: Key) -> None:
        """Forget it."""
        self._timers.pop(key, None)
        self._past.pop(key, None)

    def get(self, key: Key) -> Timer | None:
        """It as it is set."""
        return self._timers.get(key)

    def take(self, outcome: Outcome) -> None:
        """What an outcome sets and forgets."""
        for timer in outcome.timers:
            self.put(timer)
        for rule, kind, key in outcome.timers_gone:
            self.drop((rule, str(kind), key))

    def past(self, now: datetime) -> list[Timer]:
        """Timers with ``due <= now``, held ones included."""
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            timer = self._timers.get(key)
            if timer is not None and timer.due == due:
                self._past[key] = timer
        return list(self._past.values())

    def next_due(self) -> datetime | None:
        """When the next timer that is not past yet is due."""
        while self._heap:
            due, key = self._heap[0]
            timer = self._timers.get(key)
            if timer is None or timer.due != due or key in self._past:
                heapq.heappop(self._heap)
                continue
            return due
        return None

    @property
    def held(self) -> int:
        """How many are past due and wait."""
        return len(self._past)

    def last_waiting(self) -> datetime | None:
        """The latest due time among those."""
        return max((timer.due for timer in self._past.values()), default=None)

"""The watchdog: interrupts what runs too long, or takes memory that others need."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tocsin.clock import Clock

POLL_SECONDS = 0.02
"""Seconds that a query runs before its memory is checked, and between two checks: one takes a millisecond, and a query
takes at most some MiB in one.
"""
AGAIN = 1.0
"""Seconds after which a query that is still there is interrupted again: an interrupt that comes just before it
begins is none.
"""


class Ended(enum.Enum):
    """Why the watchdog ended a query."""

    NOT = "it was not ended"
    TIME = "it ran too long"
    MEMORY = "it took too much memory"
    COMMIT = "a commit needed memory that it held"


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that DuckDB counts."""

    total: int = 0
    pinned: int = 0  # what it can neither spill nor give up: a commit finds no more than its limit less this
    working: int = 0  # what queries work with, ``pinned`` included; it can be spilled, but only by who works with it


@dataclass(frozen=True, slots=True)
class Most:
    """Bytes that a query may bring about."""

    uncounted: int  # by which the process grows more than DuckDB counts
    pinned: int


@dataclass(slots=True)
class Watched:
    """One query that runs; ``ended`` says whether the watchdog has interrupted it."""

    since: float  # of Clock.monotonic
    deadline: float
    resident: int  # bytes of the process when it began
    most: Most
    interrupt: Callable[[], None]
    first: int | None = None  # bytes that DuckDB counted when it began; None: at the first check
    highest: int = 0  # and at the highest: what it gave up may take a while to leave the process
    yields: bool = False  # whether it is ended where a commit needs memory
    ended: Ended = Ended.NOT
    interrupted: float = 0.0  # when it was, last; of Clock.monotonic

    def end(self, now: float) -> None:
        """Interrupt it."""
        self.interrupted = now
        self.interrupt()

    def verdict(self, now: float, resident: int, held: Held) -> Ended:
        """Whether it is to be ended."""
        if now >= self.deadline:
            return Ended.TIME
        if now - self.since < POLL_SECONDS:
            return Ended.NOT
        self.first = held.total if self.first is None else self.first
        self.highest = max(self.highest, held.total)
        uncounted = resident - self.resident - (self.highest - min(self.first, self.highest))
        much = uncounted > self.most.uncounted or held.pinned > self.most.pinned
        return Ended.MEMORY if much else Ended.NOT


class Watchdog:
    """One thread that interrupts cursors. It starts with the first query."""

    def __init__(self, clock: Clock, held: Callable[[], Held], most_working: int = sys.maxsize) -> None:
        """``held`` is called from the thread alone. ``most_working``: bytes that queries may work with while a commit
        is written.
        """
        self._clock, self._held, self._most_working = clock, held, most_working
        self._committing = False
        self._running: dict[int, Watched] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next = float("inf")  # when the thread checks again
        self._closed = False

    @contextlib.contextmanager
    def within(
        self,
        seconds: float,
        most: Most,
        interrupt: Callable[[], None],
        counted: int | None = None,
        *,
        yields: bool = False,
    ) -> Iterator[Watched]:
        """Call ``interrupt`` if the block runs longer than ``seconds`` or memory is more than ``most``, or, where it
        ``yields``, if a commit needs memory. DuckDB counts ``counted`` bytes now: where that is not given, what it
        takes before the first check is not known to be counted.
        """
        now = self._clock.monotonic()
        one = Watched(now, now + seconds, resident(), most, interrupt, counted, yields=yields)
        with self._changed:
            if not self._closed and (self._thread is None or not self._thread.is_alive()):  # no query goes without
                self._thread = threading.Thread(target=self._run, name="query-watchdog", daemon=True)
                self._thread.start()
            self._running[id(one)] = one
            if self._next > min(one.deadline, now + POLL_SECONDS):
                self._changed.notify()
        try:
            yield one
        finally:
            with self._changed:
                self._running.pop(id(one), None)

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        """Within the block a commit is written, and what yields to it is ended where there is less room."""
        self._committing = True
        try:
            yield
        finally:
            self._committing = False

    def make_room(self) -> bool:
        """End what yields to a commit, and say whether any of it still runs. What has just begun holds nothing yet,
        and stays.
        """
        with self._changed:
            now = self._clock.monotonic()
            yielding = [one for one in self._running.values() if one.yields and now - one.since >= POLL_SECONDS]
            for one in yielding:
                if one.ended is Ended.NOT:
                    one.ended = Ended.COMMIT
                    one.end(now)
            return bool(yielding)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while self._wait():
            held, grown = self._held(), resident()
            if self._committing and held.working > self._most_working:
                self.make_room()
            with self._changed:
                self._evaluate_rule(grown, held)

    def _evaluate_rule(self, grown: int, held: Held) -> None:
        """Memory is the process's, and nobody says whose: those are ended first that may take least, and others only
        when these have given back what they took, and it is still too much.
        """
        now = self._clock.monotonic()
        running = sorted(self._running.values(), key=_bounds)
        leaving = min((_bounds(one) for one in running if one.ended is Ended.MEMORY), default=None)
        for one in running:
            if one.ended is not Ended.NOT:
                if now - one.interrupted >= AGAIN:
                    one.end(now)
                continue
            ended = one.verdict(now, grown, held)
            if ended is Ended.NOT or (ended is Ended.MEMORY and leaving is not None and leaving < _bounds(one)):
                continue
            leaving = _bounds(one) if ended is Ended.MEMORY else leaving
            one.ended = ended
            one.end(now)

    def _wait(self) -> bool:
        """Wait until there is something to check. False once closed."""
        with self._changed:
            while not self._closed:
                waiting = [one for one in self._running.values() if one.ended is Ended.NOT]
                if not waiting:
                    self._next = float("inf")
                    if not self._changed.wait(AGAIN if self._running else None):
                        return not self._closed  # some were ended, and may still be there
                    continue
                now = self._clock.monotonic()
                if any(now >= one.deadline or now - one.since >= POLL_SECONDS for one in waiting):
                    self._changed.wait(POLL_SECONDS / 2)  # between two checks
                    return not self._closed
                self._next = min(min(one.deadline, one.since + POLL_SECONDS) for one in waiting)
                self._changed.wait(self._next - now)
            return False


def _bounds(one: Watched) -> tuple[int, int]:
    return one.most.uncounted, one.most.pinned


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not notify."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0

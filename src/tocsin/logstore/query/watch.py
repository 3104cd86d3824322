"""The watchdog: interrupts what runs too long, or takes memory that others need.

Queries run on threads that may not come back: whoever asks waits for a time, and no longer.

asks ──► work ──► its result, in time
           └─ interrupted, and not back within the grace: given up. What is left has the lowest priority, and its
thread ends with it
"""

from __future__ import annotations

import contextlib
import enum
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from tocsin.clock import Clock
from tocsin.errors import QueryBusy, QueryTimeout

L = TypeVar("L")
R = TypeVar("R")

GRACE = 1.0
"""Seconds after its limit within which an interrupted query is waited for."""
MOST_LEFT = 2
"""Queries that were given up and still run; with so many, no further one is begun. Each keeps a core busy, where
nobody else wants it.
"""
_IDLE = 4
_BEHIND = 10  # a tenth of the share that commits and rules have of a core that both want
_LAST = 19  # of the priorities that a thread may have, the one that all others come before


class _Job(Generic[L]):
    def __init__(self, work: Callable[[L], object]) -> None:
        self.work = work
        self.done = threading.Event()
        self.left = False  # nobody waits for it any more
        self.thread = 0  # as the system knows it; 0 before it is begun
        self.result: object = None
        self.fault: BaseException | None = None


class Workers(Generic[L]):
    """Daemon threads, each with a cursor of its own (what it works on), made when needed and a few kept."""

    def __init__(self, read_cursor: Callable[[], L], *, behind: bool = False) -> None:
        """``behind``: what is done here gets less of a core than commits and rules do."""
        self._read_cursor, self._behind = read_cursor, behind
        self._lock = threading.Lock()
        self._idle: list[tuple[queue.SimpleQueue[_Job[L] | None], threading.Thread]] = []
        self._left = 0
        self._closed = False

    def run(self, work: Callable[[L], R], seconds: float) -> R:
        """``work`` on one of them. Raises what it raises, QueryTimeout where it does not end within ``seconds`` and the
        grace, and QueryBusy where too many such still run.
        """
        job: _Job[L] = _Job(work)
        with self._lock:
            if self._left >= MOST_LEFT:
                raise QueryBusy("earlier queries that cannot be interrupted still run", hint="ask again in a while")
            jobs, _ = self._idle.pop() if self._idle else (None, None)
        if jobs is None:
            jobs = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(jobs,), name="query", daemon=True).start()
        jobs.put(job)
        if not job.done.wait(seconds + GRACE):
            with self._lock:
                if not job.done.is_set():
                    job.left = True
                    self._left += 1
                    _lower(job.thread, _LAST)
                    raise QueryTimeout(
                        f"the query ran longer than {seconds:g} s, and one step of it cannot be interrupted",
                        hint="it is given up; let fewer rows reach it, or shorter ones",
                    )
        if job.fault is not None:
            raise job.fault
        return job.result  # type: ignore[return-value]

    def close(self) -> None:
        """End the threads that do nothing, and wait until they have; those that work end with their work.

        A thread that drops its cursor while the interpreter ends is ended in the midst of DuckDB's code, and the
        process aborts with it.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for jobs, thread in idle:
            jobs.put(None)
            thread.join()

    def _work(self, jobs: queue.SimpleQueue[_Job[L] | None]) -> None:
        read_cursor: L | None = None
        if self._behind:
            _lower(threading.get_native_id(), _BEHIND)
        while (job := jobs.get()) is not None:
            job.thread = threading.get_native_id()
            try:
                if read_cursor is None:
                    read_cursor = self._read_cursor()
                job.result = job.work(read_cursor)
            except BaseException as fault:  # noqa: BLE001 - notified to who waits
                job.fault = fault
            with self._lock:
                self._left -= job.left
                keep = not self._closed and not job.left and len(self._idle) < _IDLE
                if keep:
                    self._idle.append((jobs, threading.current_thread()))
                job.done.set()
            del job  # an answer may be large, and the thread idle for long
            if not keep:
                return


def _lower(thread: int, nice: int) -> None:
    """The thread gets a core behind those that are less nice. On Linux, where threads have priorities of their own."""
    if thread and hasattr(os, "setpriority") and os.path.exists(f"/proc/self/task/{thread}"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, nice)


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

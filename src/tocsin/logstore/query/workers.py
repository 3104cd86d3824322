"""Threads for queries that may not come back: whoever asks waits for a time, and no longer.

asks ──► work ──► its result, in time
           └─ interrupted, and not back within the grace: given up. What is left has the lowest priority, and its
thread ends with it
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

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
        self._idle: list[queue.SimpleQueue[_Job[L] | None]] = []
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
            jobs = self._idle.pop() if self._idle else None
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
        """End the threads that do nothing; those that work end with their work."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for jobs in idle:
            jobs.put(None)

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
                    self._idle.append(jobs)
                job.done.set()
            del job  # an answer may be large, and the thread idle for long
            if not keep:
                return


def _lower(thread: int, nice: int) -> None:
    """The thread gets a core behind those that are less nice. On Linux, where threads have priorities of their own."""
    if thread and hasattr(os, "setpriority") and os.path.exists(f"/proc/self/task/{thread}"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, nice)

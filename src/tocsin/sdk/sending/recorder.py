"""What goes on beside training: metrics and heartbeats to disk by one thread a process and workspace, events to tocsin by another.

A server that hangs holds up the second thread alone: what was logged is on disk within FLUSH_EVERY all the same.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable

from tocsin.sdk.sending.endpoint import Endpoint
from tocsin.sdk.sending.spool import Drained, Sender
from tocsin.sdk.storage import metrics
from tocsin.sdk.storage.store import Store
from tocsin.sdk.text import warn_once

FLUSH_EVERY = 1.0
"""Seconds after which a logged value is on disk."""
MOST_WAITING = 20_000
"""Points in memory after which log() writes them itself, so that memory stays bounded."""
MOST_KEPT = 1_000_000
"""Points that are kept in memory while the disk fails."""
HEARTBEAT = float(os.environ.get("TOCSIN_HEARTBEAT", "30") or 30)
"""Seconds between heartbeats of the runs of this process."""
LAST_WORDS = 3.0
"""Seconds for which the end of the process may wait for tocsin; what is not sent then is sent later."""
FIRST_RETRY = 0.2
"""Seconds until what could not be sent is tried again; doubled up to a minute while the tocsin is away."""
_all: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """Buffers, beats and sends for one store."""

    def __init__(
        self, store: Store, endpoint: Endpoint | None, find: Callable[[], Endpoint | None] = lambda: None
    ) -> None:
        """``endpoint`` None: nothing is sent. ``find`` says which it is now, see Sender."""
        self.store = store
        self._points: list[metrics.Point] = []
        self._own: set[str] = set()  # ids of active runs that this process beats for
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._waiting = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._away = False
        self._retry_in = 0.0
        self._flushed = 0.0
        self._beaten = store.clock.monotonic()
        self.sender: Sender | None = None
        self._at_end: list[Callable[[], None]] = []
        if endpoint is not None and store.sends:
            lock = (store.folder / "spool.lock") if store.folder else store.locks
            self.sender = Sender(store.database, endpoint, lock, store.clock, find)
            store.on_event = self.wake
        _all.add(self)

    # --- from training: must be quick and never raise ---

    def log(self, point: metrics.Point) -> None:
        """Take one point; it is on disk within FLUSH_EVERY."""
        points = self._points
        points.append(point)
        if len(points) == 1:
            self.wake()
        elif len(points) > MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what was logged to disk now. Never raises: where the disk fails, points wait in memory."""
        with self._writing:
            self._flushed = self.store.clock.monotonic()
            points = self._points[:]  # other threads append meanwhile, to the same list
            if not points:
                return
            try:
                self.store.log(points, send=self._sends_metrics())
                del self._points[: len(points)]
                self._waiting.set()
            except sqlite3.Error as e:
                warn_once(f"metrics:{self.store.database.path}", "metrics cannot be written to %s: %s; they wait in memory",
                          self.store.database.path, e)  # fmt: skip
                del self._points[:-MOST_KEPT]

    def _sends_metrics(self) -> bool:
        """Whether logged values are sent: to a tocsin that was named, or one that took what was sent last."""
        return self.sender is not None and (self.sender.endpoint.named or not self._away)

    def own(self, *run_ids: str) -> None:
        """Beat for these runs until they are disowned."""
        self._own.update(run_ids)
        self.wake()

    def disown(self, *run_ids: str) -> None:
        """These runs have ended."""
        self._own.difference_update(run_ids)
        self.wake()

    @property
    def owned(self) -> set[str]:
        """Runs of this process that have not ended."""
        return set(self._own)

    def wake(self) -> None:
        """There is something to send."""
        if self._thread is None:
            self._start()
        self._wake.set()
        self._waiting.set()

    def at_end(self, call: Callable[[], None]) -> None:
        """Call this when the process ends, before the last flush."""
        self._at_end.append(call)

    # --- the thread ---

    def _start(self) -> None:
        if self._closed or self.store.folder is None:
            return  # in memory nothing has to go anywhere
        threads = [threading.Thread(target=self._loop, name="tocsin-recorder", daemon=True)]
        if self.sender is not None:
            threads.append(threading.Thread(target=self._send, args=(self.sender,), name="tocsin-sender", daemon=True))
        self._thread = threads[0]
        try:
            for thread in threads:
                thread.start()
        except RuntimeError:
            return  # the interpreter ends; close() flushes
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            # Workers of multiprocessing end without atexit.
            from multiprocessing.util import Finalize

            Finalize(None, self.flush, exitpriority=100)

    def _loop(self) -> None:
        while not self._closed:
            self._wake.wait(self._pause())
            self._wake.clear()
            self._guarded(self._once)

    def _send(self, sender: Sender) -> None:
        while not self._closed:
            self._waiting.wait(self._retry_in or None)
            self._waiting.clear()
            self._guarded(lambda: self._send_once(sender))

    def _send_once(self, sender: Sender) -> None:
        outcome = sender.drain(30.0)
        self._away = outcome in (Drained.AWAY, Drained.REFUSED)
        if outcome is Drained.EMPTY:
            self._retry_in = 0.0
        else:  # another process that sends is done soon, and may have read all but our last event
            self._retry_in = FIRST_RETRY if outcome is Drained.BUSY else min(max(FIRST_RETRY, 2 * self._retry_in), 60.0)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as e:  # noqa: BLE001  # nothing here may end training
            warn_once("recorder", "tocsin: %s: %s", type(e).__name__, e)

    def _pause(self) -> float:
        if self._points:
            return max(0.01, self._flushed + FLUSH_EVERY - self.store.clock.monotonic())
        return HEARTBEAT

    def _once(self) -> None:
        now = self.store.clock.monotonic()
        if now - self._flushed >= FLUSH_EVERY:
            self.flush()
        if self._own and now - self._beaten >= HEARTBEAT:
            self._beaten = now
            try:
                self.store.beat(sorted(self._own))
                self._waiting.set()
            except sqlite3.Error as e:
                warn_once("beat", "heartbeats cannot be written: %s", e)

    def close(self) -> None:
        """The process ends: write everything, send what can be sent in LAST_WORDS."""
        if self._closed:
            return
        for call in self._at_end:
            call()
        self._closed = True
        self._wake.set()
        self._waiting.set()
        self.flush()
        if self.sender is not None and self.store.folder is not None:
            until = self.store.clock.monotonic() + LAST_WORDS
            while self.sender.drain(max(0.1, until - self.store.clock.monotonic()), timeout=1.0) is Drained.BUSY:
                if self.store.clock.monotonic() > until:
                    break
                self._wake.clear()
                self._wake.wait(0.05)
            self.sender.close()
        self.store.presence.leave()

    def _after_fork(self) -> None:
        """The child owns none of the parent's runs, and the parent writes what it has logged itself."""
        self._points, self._own, self._at_end = [], set(), []
        self._writing, self._wake, self._waiting = threading.Lock(), threading.Event(), threading.Event()
        self._thread = None


def _close_all() -> None:
    for recorder in list(_all):
        recorder.close()


def _in_child() -> None:
    for recorder in list(_all):
        recorder._after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_in_child)

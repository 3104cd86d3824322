"""Events that wait for tocsin, durable and in order. One process at a time sends, so the order of each run stays.

A status change and its event are one transaction. A kill -9 before it: neither is there. After it: the event waits here
until any process of the workspace sends it. Between the server's 202 and the row's end: it is sent again, and the server
takes it for the duplicate that it is.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from tocsin.clock import Clock, SystemClock, micros
from tocsin.sdk.sending.endpoint import Answer, Endpoint, Poster
from tocsin.sdk.storage.database import Database
from tocsin.sdk.text import warn_once

SCHEMA = """\
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL,
  beat INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  event TEXT NOT NULL
);
CREATE INDEX outbox_beats ON outbox (run_id) WHERE beat
"""
AT_ONCE = 200
"""Events of one request."""
KEPT = timedelta(days=7)
"""How long events wait where nobody named a server: perhaps there is none."""
_sending: dict[Path, threading.Lock] = {}


class Drained(StrEnum):
    """Why sending ended."""

    EMPTY = "nothing waits"
    BUSY = "another process sends"
    AWAY = "the server is away"
    REFUSED = "the server refuses"
    TIME = "no time left"
    DISK = "the spool cannot be read"


def put(connection: sqlite3.Connection, run_id: str, at_us: int, event: str, beat: bool = False) -> None:
    """Add an event inside the caller's transaction. Of heartbeats only the latest of a run waits."""
    if beat:
        connection.execute("DELETE FROM outbox WHERE run_id = ? AND beat", (run_id,))
    connection.execute(
        "INSERT INTO outbox (run_id, beat, at_us, event) VALUES (?, ?, ?, ?)", (run_id, beat, at_us, event)
    )


class Sender:
    """Sends what waits in ``database`` to ``endpoint``."""

    def __init__(
        self,
        database: Database,
        endpoint: Endpoint,
        lock: Path,
        clock: Clock | None = None,
        find: Callable[[], Endpoint | None] = lambda: None,
        poster: Poster | None = None,
    ) -> None:
        """``find`` is asked again after a failure: a tocsin that was started again may have another port and token.

        ``poster``: how a server takes what waits for itself; it leaves the note of who is meant alone.
        """
        self.database, self.endpoint = database, endpoint
        self._find = find
        self._lock = lock
        self._clock = clock or SystemClock()
        self._poster = poster or Poster(endpoint)
        self._notes = poster is None

    @property
    def said(self) -> str:
        """Why the last request was not taken."""
        return self._poster.said

    def waiting(self) -> int:
        """How many events wait."""
        row = self.database.one("SELECT count(*) FROM outbox")
        return int(row[0]) if row else 0

    def drain(self, seconds: float, timeout: float = 5.0) -> Drained:
        """Send what waits, for at most about ``seconds`` and one request's ``timeout`` more. Raises nothing."""
        try:
            if self.database.one("SELECT 1 FROM outbox LIMIT 1") is None:
                return Drained.EMPTY
            with self._alone() as mine:
                return self._drain(seconds, timeout) if mine else Drained.BUSY
        except (sqlite3.Error, OSError) as e:
            warn_once("spool", "events cannot be read from %s: %s", self.database.path, e)
            return Drained.DISK

    def _drain(self, seconds: float, timeout: float) -> Drained:
        until = self._clock.monotonic() + seconds
        most, moved = AT_ONCE, False
        while True:
            rows = self.database.read("SELECT seq, event FROM outbox ORDER BY seq LIMIT ?", (most,))
            if not rows:
                return Drained.EMPTY
            left = until - self._clock.monotonic()
            if left <= 0:
                return Drained.TIME
            body = "[" + ",".join(row[1] for row in rows) + "]"
            answer = self._poster.post(body.encode(), min(timeout, max(left, 0.2)))
            if answer is Answer.TAKEN or (answer is Answer.TOO_LARGE and len(rows) == 1):
                if answer is Answer.TOO_LARGE:
                    warn_once("large", "an event of %d bytes is too large for %s and was dropped", len(body), self.endpoint.url)  # fmt: skip
                self._remove(int(rows[-1][0]))
            elif answer is Answer.TOO_LARGE:
                most = max(1, len(rows) // 2)
            elif moved or not self._moved():
                return self._not_taken(answer)
            else:
                moved = True

    def _moved(self) -> bool:
        """Whether there is another one to send to now."""
        found = self._find()
        if found is None or found == self.endpoint:
            return False
        self._poster.close()
        self.endpoint, self._poster = found, Poster(found)
        return True

    def _not_taken(self, answer: Answer) -> Drained:
        if not self.endpoint.named:
            before = micros(self._clock.now() - KEPT)
            with self.database.write() as tx:
                tx.execute("DELETE FROM outbox WHERE at_us < ?", (before,))
            return Drained.AWAY if answer is Answer.AWAY else Drained.REFUSED
        if answer is Answer.AWAY:
            warn_once(f"away:{self.endpoint.url}", "tocsin at %s is away (%s); events wait on disk and are sent later",
                      self.endpoint.url, self.said)  # fmt: skip
            return Drained.AWAY
        warn_once(f"refused:{self.endpoint.url}", "tocsin at %s refuses events (%s); they wait on disk; see TOCSIN_TOKEN",
                  self.endpoint.url, self.said)  # fmt: skip
        return Drained.REFUSED

    def _remove(self, last: int) -> None:
        with self.database.write() as tx:
            tx.execute("DELETE FROM outbox WHERE seq <= ?", (last,))

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process may send: by a lock that the kernel drops with the process, and that no forked child inherits."""
        if self.database.path == ":memory:":
            yield True
            return
        here = _sending.setdefault(self._lock, threading.Lock())  # the kernel's lock is the process's, not the thread's
        if not here.acquire(blocking=False):
            yield False
            return
        try:
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                yield self._locked(file)
            finally:
                os.close(file)
        finally:
            here.release()

    def _locked(self, file: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if self._notes:
            self._note()
        return True

    def _note(self) -> None:
        """Leave for whom the events are: that tocsin reads them from this machine's disk when no process sends any more."""
        if meant_for(self._lock) != self.endpoint.url:
            try:
                _beside(self._lock).write_text(self.endpoint.url, encoding="utf-8", errors="replace")
            except OSError:
                pass  # it only makes events later

    def close(self) -> None:
        """Let go of the connection to the server."""
        self._poster.close()


def meant_for(lock: Path) -> str:
    """The URL of the tocsin that the last sender meant; '' where nobody has sent. ``lock``: the senders' lock file."""
    try:
        return _beside(lock).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _beside(lock: Path) -> Path:
    return lock.with_suffix(".url")  # in the lock file itself, each reader's close would end the lock of its process


def state_folder() -> Path:
    """Where events wait that belong to no workspace: TOCSIN_SPOOL, else the user's state folder.

    A user of cron or a service often has no home folder, which is not ours to make: then a folder below /var/tmp.
    """
    if given := os.environ.get("TOCSIN_SPOOL"):
        return Path(given)
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "tocsin"
    home = Path(os.path.expanduser("~"))
    usual = home / ".local" / "state" / "tocsin"
    if usual.is_dir() or (home.is_dir() and os.access(home, os.W_OK)):
        return usual
    shared = Path(f"/var/tmp/tocsin-{os.getuid()}")
    return shared if _is_ours(shared) else usual


def made_state_folder() -> Path:
    """The same, made where it is not there. Raises OSError."""
    state_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    return state_folder()  # somebody else may have been quicker below /var/tmp


def _is_ours(folder: Path) -> bool:
    """Whether it is this user's alone, or nobody's yet."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


os.register_at_fork(after_in_child=_sending.clear)

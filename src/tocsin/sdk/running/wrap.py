"""``tocsin exec -- COMMAND``: the command runs as without it; its life becomes events.

The command starts before anything of tocsin's does. Whatever fails here (disk, network, our own faults) costs events, never
the command: its exit code, output and signals are its own.
"""

from __future__ import annotations

import os
import queue
import select
import shlex
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.clock import Clock, SystemClock, micros
from tocsin.model.text.redact import redact
from tocsin.sdk.running.journal import HEARTBEAT, Wrapped
from tocsin.sdk.running.signals import SignalRelay, end_like
from tocsin.sdk.running.tail import Tail
from tocsin.sdk.text import clean, warn_once

if TYPE_CHECKING:
    from tocsin.sdk.config import Place
    from tocsin.sdk.running.journal import Journal
    from tocsin.sdk.sending.spool import Sender

LAST_WORDS = 5.0
"""Seconds, at most, by which the end of the command is delayed to send its last event; it is on disk before."""
POLL_EVERY = 1.0
"""Seconds after which a cancel is seen."""
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
MESSAGE_LINES, LONGEST_MESSAGE = 5, 2_000  # lines of the log, and characters in all


def new_run_id(name: str, clock: Clock | None = None) -> str:
    """A fresh run id that begins with ``name``, as azureml's do."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in name).strip("-._")[:60] or "run"
    return f"{safe}_{int((clock or SystemClock()).now().timestamp())}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What `tocsin exec` was given; '' where it was not."""

    command: Sequence[str]
    name: str = ""
    experiment: str = ""
    run_id: str = ""
    owner: str = ""
    tags: Sequence[str] = ()  # KEY=VALUE each
    heartbeat: float = HEARTBEAT  # seconds
    verbose: bool = False


def wrap(given: Given) -> tuple[str, int]:
    """Run the command; (what is wrong with the options, '' where nothing is; its exit code)."""
    from tocsin.sdk.errors import UserErrorException
    from tocsin.sdk.text import run_id_of

    pairs = {}
    for pair in given.tags:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            return f"--tag {pair!r} is not KEY=VALUE", 2
        pairs[clean(key)] = clean(value)
    job = clean(given.name or os.path.basename(given.command[0]))
    try:
        id = run_id_of(given.run_id) if given.run_id else new_run_id(job)
    except UserErrorException as e:
        return str(e), 2
    if not given.verbose:
        _silence()
    wrapped = Wrapped(
        command=given.command,
        run_id=id,
        name=job,
        experiment=clean(given.experiment),
        owner=clean(given.owner),
        tags=pairs,
        heartbeat=given.heartbeat,
    )
    return "", run(wrapped)


def _silence() -> None:
    """Not even a warning of ours stands in the command's output: cron would mail it."""
    import logging

    logging.getLogger("tocsin.sdk").addHandler(logging.NullHandler())
    logging.getLogger("tocsin.sdk").propagate = False


def run(wrapped: Wrapped) -> int:
    """Run the command and return its exit code; where a signal ended it, this process ends by the same signal."""
    clock = SystemClock()
    place = _workspace()
    reporter = Reporter(wrapped, place, clock)
    environment = {**_given(), "TOCSIN_RUN_ID": wrapped.run_id}
    if place is not None:
        environment["TOCSIN_WORKSPACE"] = str(place.folder)
    with SignalRelay() as relay:
        tail = Tail()
        try:
            process = subprocess.Popen(
                wrapped.command,
                stdout=tail.stdout,
                stderr=tail.stderr,
                close_fds=False,  # what a caller handed on by number stays open
                env=environment,
            )
        except OSError as e:
            tail.started()
            print(f"tocsin exec: {wrapped.command[0]}: {e.strerror}", file=sys.stderr)
            reporter.ended(
                Ended(code=127 if isinstance(e, FileNotFoundError) else 126, signal=0, text=e.strerror or "")
            )
            return 127 if isinstance(e, FileNotFoundError) else 126
        tail.started()
        reporter.started(process.pid)
        usage = _watch(process, relay, tail)
        canceled = reporter.stopping()
        code = process.returncode
        still_open = tail.drain()
        reporter.ended(
            Ended(
                code=code,
                signal=-code if code < 0 else 0,
                text=tail.text(),
                interrupted=(canceled or signal.SIGINT in relay.seen) and code != 0,
                usage=usage,
            )
        )
    if still_open:
        _go_on_passing(tail)
    if code < 0:
        end_like(-code)
    return code if code >= 0 else 128 - code


def _given() -> dict[str, str]:
    """The environment as it came: where there is no locale, as in cron, Python sets LC_CTYPE for itself and its children."""
    out = dict(os.environ)
    try:
        first = Path("/proc/self/environ").read_bytes()
    except OSError:
        return out
    if not any(one.startswith(b"LC_CTYPE=") for one in first.split(b"\0")):
        out.pop("LC_CTYPE", None)
    return out


def _watch(process: subprocess.Popen[bytes], relay: SignalRelay, tail: Tail) -> dict[str, str]:
    """Pass signals and output on until the command has ended."""
    signal.signal(signal.SIGWINCH, lambda *_: tail.resize())
    while True:
        files: list[Any] = [relay] if tail.fileno() < 0 else [relay, tail]
        ready, _, _ = select.select(files, [], [])
        if tail in ready:
            tail.pass_on()
        for number in relay.take() if relay in ready else ():
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                pass  # it ends just now
        pid, state, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(state)
            kib = used.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
            return {"cpu_seconds": f"{used.ru_utime + used.ru_stime:.3f}", "max_rss_mib": str(kib // 1024)}


def _go_on_passing(tail: Tail) -> None:
    """A daemon of the command still writes to our stderr: a process of its own serves it, as the terminal would have."""
    if os.fork() == 0:
        try:
            os.setsid()
            while tail.fileno() >= 0:
                tail.pass_on()
        finally:
            os._exit(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the command ended. ``signal`` 0: by itself, with ``code``."""

    code: int
    signal: int
    text: str  # the end of what it wrote to stderr
    interrupted: bool = False
    usage: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Columns of its event."""
        if self.code == 0:
            return {"Status": "Completed"}
        word = _signal_name(self.signal) if self.signal else str(self.code)
        why = f"killed by {word}" if self.signal else f"exit code {word}"
        from tocsin.model.text.tails import last_lines, sent_tail, stored_tail

        text = clean(self.text)
        lines = "\n".join(last_lines(stored_tail(text), MESSAGE_LINES, LONGEST_MESSAGE))
        return {
            "Status": "Canceled" if self.interrupted else "Failed",
            "Reason": "user_canceled" if self.interrupted else "",
            "ErrorCode": word,
            "Message": redact(clean(f"{why}\n{lines}" if lines else why))[:LONGEST_MESSAGE],
            "LogTail": sent_tail(text),
        }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Reporter:
    """Turns the command's life into events, in a thread of its own: a disk that hangs does not hold the command up."""

    def __init__(self, wrapped: Wrapped, place: Place | None, clock: Clock) -> None:
        self._wrapped, self._place, self._clock = wrapped, place, clock
        self._queued_us = micros(clock.now())
        self._started_us = self._queued_us
        self._properties = _properties(wrapped)
        self._todo: queue.SimpleQueue[tuple[str, int, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid, self._stop_at = 0, 0.0  # of the command while it runs; when a canceled one gets SIGKILL
        self._wake, self._over, self._sent = threading.Event(), threading.Event(), threading.Event()

    def started(self, pid: int) -> None:
        """The command runs."""
        self._started_us = max(micros(self._clock.now()), self._queued_us + 1)  # the clock may be set back meanwhile
        self._properties["pid"] = str(pid)
        self._pid = pid
        self._put("Queued", self._queued_us, {})
        self._put("Running", self._started_us, {"StartTime": self._started_us})
        self._begin()

    def stopping(self) -> bool:
        """The command has ended: no signal is sent any more. Whether it was canceled."""
        self._pid = 0
        return bool(self._stop_at)

    def _stop_where_asked(self, journal: Journal) -> None:
        now = self._clock.monotonic()
        if not self._pid or (self._stop_at and now < self._stop_at) or not journal.cancel_requested():
            return
        try:
            os.kill(self._pid, signal.SIGKILL if self._stop_at else signal.SIGTERM)
        except ProcessLookupError:
            pass  # it ends just now
        self._stop_at = now + GRACE

    def ended(self, how: Ended) -> None:
        """The command has ended: write it down, then send what waits, both within LAST_WORDS."""
        at = max(micros(self._clock.now()), self._started_us + 1)
        if self._thread is None:
            self._put("Queued", self._queued_us, {})
            self._begin()
        data = {
            **how.data(),
            "StartTime": self._started_us,
            "EndTime": at,
            "DurationMs": (at - self._started_us) // 1000,
        }
        exit_properties = {"exit_code": str(how.code) if not how.signal else "", "signal": _signal_name(how.signal) if how.signal else ""}  # fmt: skip
        self._properties |= {k: v for k, v in {**exit_properties, **how.usage}.items() if v}
        self._put(str(data["Status"]), at, data)
        self._todo.put(None)
        if self._thread is not None:
            until = self._clock.monotonic() + LAST_WORDS
            self._thread.join(LAST_WORDS)
            self._sent.wait(max(0.0, until - self._clock.monotonic()))

    def _put(self, status: str, at: int, data: dict[str, Any]) -> None:
        self._todo.put((status, at, {**data, "Properties": dict(self._properties)}))

    def _begin(self) -> None:
        thread = threading.Thread(target=self._guarded, args=(self._write,), name="tocsin-exec", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # no more threads: no events
        self._thread = thread

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as e:  # noqa: BLE001  # nothing here may harm the command
            self._sent.set()
            warn_once("exec", "tocsin exec could not report: %s: %s", type(e).__name__, e)

    def _write(self) -> None:
        """The first thread: makes durable what happens, whether or not anything can be sent."""
        journal = self._begun()
        if journal is None or journal.sender is None:
            self._sent.set()
        else:
            send = partial(self._send, journal.sender)
            threading.Thread(target=self._guarded, args=(send,), name="tocsin-exec-send", daemon=True).start()
        beat_at = self._clock.monotonic() + self._wrapped.heartbeat
        while True:
            try:
                item = self._todo.get(timeout=min(self._wrapped.heartbeat, POLL_EVERY))
            except queue.Empty:
                if journal is not None and self._idle(journal, self._clock.monotonic() >= beat_at):
                    beat_at = self._clock.monotonic() + self._wrapped.heartbeat
                    self._wake.set()
                continue
            if item is None:
                break
            if journal is not None:
                journal.status(*item)
            self._wake.set()
        self._over.set()
        self._wake.set()
        self._sent.wait(LAST_WORDS)
        if journal is not None:
            journal.close()

    def _idle(self, journal: Journal, beats: bool) -> bool:
        """``beats``, when a heartbeat was due and a cancel seen. A disk that fails here must not cost the last event."""
        import sqlite3

        try:
            self._stop_where_asked(journal)
            if beats:
                journal.beat()
        except (sqlite3.Error, OSError) as e:
            warn_once("beat", "heartbeats cannot be written: %s", e)
        return beats

    def _begun(self) -> Journal | None:
        """The journal with its first entry; the spool where the workspace cannot be written."""
        import sqlite3

        from tocsin.sdk.running.journal import open_journal

        first = self._todo.get()
        assert first is not None
        places = [self._place, None] if self._place is not None else [None]
        for place in places:
            try:
                journal = open_journal(self._wrapped, place, self._clock)
                if journal is not None:
                    journal.status(*first)
                return journal
            except (sqlite3.Error, OSError) as e:
                if place is None:
                    raise
                warn_once(
                    "exec", "the run cannot be kept in the workspace %s: %s; it is reported alone", place.folder, e
                )
        return None

    def _send(self, sender: Sender) -> None:
        """The second thread: sends what is written; it may hang as long as the network does."""
        retry_in = 0.0
        while True:
            self._wake.wait(retry_in or None)
            self._wake.clear()
            over = self._over.is_set()
            outcome = sender.drain(LAST_WORDS - 1 if over else 30.0, timeout=2.0 if over else 5.0)
            if over and (outcome != "another process sends" or self._sent.is_set()):
                self._sent.set()
                sender.close()
                return
            retry_in = 0.1 if over else 0.0 if outcome == "nothing waits" else min(max(1.0, 2 * retry_in), 60.0)


def _workspace() -> Place | None:
    """The workspace that the command is called in, or the one whose run it is part of."""
    from tocsin.sdk.config import find
    from tocsin.sdk.errors import WorkspaceException

    try:
        return find(os.environ.get("TOCSIN_WORKSPACE") or None)
    except (WorkspaceException, OSError):
        return None


def _properties(wrapped: Wrapped) -> dict[str, str]:
    out = {
        "command": redact(clean(shlex.join(wrapped.command)))[:4000],
        "host": os.uname().nodename,
        "directory": _directory(),
    }
    names: dict[str, Callable[[], str | None]] = {
        "slurm.job_id": lambda: os.environ.get("SLURM_JOB_ID"),
        "slurm.job_name": lambda: os.environ.get("SLURM_JOB_NAME"),
        "slurm.array_task_id": lambda: os.environ.get("SLURM_ARRAY_TASK_ID"),
    }
    return out | {name: clean(value) for name, read in names.items() if (value := read())}


def _directory() -> str:
    try:
        return clean(os.getcwd())
    except OSError:
        return ""  # it was removed

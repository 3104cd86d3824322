"""The process beside a submitted script: waits for a slot, starts it, beats, stops it, and says how it ended.

It lives in a session of its own, so that neither the submitter's end nor its Ctrl-C ends the run. Run as
``python -m tocsin.sdk.running.runner FOLDER RUN_ID``; it waits for the run's row, which the submitter writes afterwards: a submitter
that dies in between leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from tocsin.model.statuses import TERMINAL
from tocsin.model.text.tails import sent_tail, stored_tail, traceback_of
from tocsin.sdk import config
from tocsin.sdk.runconfig import targets
from tocsin.sdk.running import snapshot
from tocsin.sdk.running.process import identify
from tocsin.sdk.running.stopping import group_lives, signal_group
from tocsin.sdk.running.tail import end_of_file
from tocsin.sdk.session import Session
from tocsin.sdk.storage.metrics import Kind
from tocsin.sdk.storage.rows import RunRow
from tocsin.sdk.storage.slots import wait_for_slot
from tocsin.sdk.storage.store import make_error
from tocsin.sdk.text import clean, warn_once

LOG = "user_logs/std_log.txt"
"""The script's stdout and stderr, among the run's files."""
POLL_EVERY = 0.2
"""Seconds after which a cancel is seen."""
RETRY_EVERY = 1.0
"""Seconds after which a change is tried again that the disk did not take."""
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
Kept = TypeVar("Kept")


class Runner:
    """Runs one script."""

    def __init__(self, session: Session, row: RunRow) -> None:
        self.session, self.store = session, session.store
        self.run_id, self.num = row.run_id, row.num
        self.definition: dict[str, Any] = json.loads(row.definition or "{}")
        self.root = row.root_id
        self.parent = row.parent_id
        self.experiment, self.target = row.experiment, row.target
        self.snapshot_id = row.snapshot_id
        self.folder = session.run_folder(row.run_id)
        self._pause = threading.Event()
        self.stopped_by = 0
        self._last = row.status

    def status(self) -> str:
        """The run's status now; 'Failed' where its row is gone, the last that is known while the disk fails."""
        try:
            found = self.store.database.one("SELECT status FROM runs WHERE run_id = ?", (self.run_id,))
        except sqlite3.Error:
            return self._last
        self._last = str(found[0]) if found else "Failed"
        return self._last

    def _kept(self, change: Callable[[], Kept]) -> Kept:
        """Change the store. A disk that is full, or fails, is waited for: how the script ended is not to be lost."""
        while True:
            try:
                return change()
            except sqlite3.Error as e:
                if self.stopped_by:
                    raise
                warn_once("runner", "run %s cannot be written: %s; it is tried again", self.run_id, e)
            self._pause.wait(RETRY_EVERY)

    def go(self) -> None:
        """From Queued to the end."""
        slots = targets(self.session.settings).get(self.target)
        if not wait_for_slot(self.store, self.run_id, self.target, slots.slots if slots else None, self._may_wait):
            self._never_started()
            return
        process = self._start()
        if process is not None:
            self._watch(process)

    def _may_wait(self) -> bool:
        self._pause.wait(POLL_EVERY)
        return not self.stopped_by and self.status() not in {*TERMINAL, "CancelRequested"}

    def _never_started(self) -> None:
        if self.stopped_by:
            self._end("Failed", make_error("RunnerStopped", "its runner was stopped before the script started"))
        else:
            self._end("Canceled")

    def _start(self) -> subprocess.Popen[bytes] | None:
        code = self.folder / "code"
        files = self.folder / "files"
        snapshot.restore(self.session.folder / config.FOLDER / "snapshots", self.snapshot_id, code)
        for name in ("outputs", "logs"):
            _link_into(code / name, files / name)
        log = files / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = self._environment()
        try:
            with log.open("ab") as file:
                process = subprocess.Popen(
                    self._command(), cwd=code, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    start_new_session=True,
                )  # fmt: skip
        except OSError as e:
            self._end("Failed", make_error("UserError", f"the script could not be started: {e.strerror}: {e.filename}"))
            return None
        script, unless = identify(process.pid).dump(), {*TERMINAL, "CancelRequested"}
        self._kept(lambda: self.store.update(self.run_id, script=script))
        if self._kept(lambda: self.store.transition(self.run_id, "Running", unless=unless)) is None:
            self._stop(process)
        return process

    def _command(self) -> list[str]:
        command = self.definition.get("command")
        if isinstance(command, str):
            return ["/bin/sh", "-c", command]
        if command:
            return [str(part) for part in command]
        python = self.definition.get("interpreter") or sys.executable
        return [python, self.definition["script"], *(str(a) for a in self.definition.get("arguments", ()))]

    def _environment(self) -> dict[str, str]:
        target = targets(self.session.settings).get(self.target)
        out = {**os.environ, "PYTHONUNBUFFERED": "1", **(target.environment_variables if target else {})}
        out |= {str(k): str(v) for k, v in self.definition.get("environmentVariables", {}).items()}
        return out | {
            "TOCSIN_RUN_ID": self.run_id, "TOCSIN_PARENT_RUN_ID": self.parent, "TOCSIN_ROOT_RUN_ID": self.root,
            "TOCSIN_EXPERIMENT": self.experiment, "TOCSIN_WORKSPACE": str(self.session.folder),
        }  # fmt: skip

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        limit = float(self.definition.get("maxRunDurationSeconds") or 0)
        until = self.store.clock.monotonic() + limit if limit else None
        sample = self._sampling(process.pid)
        while not self._ended(process):
            sample()
            status = self.status()
            if status in TERMINAL or status == "CancelRequested" or self.stopped_by:
                self._stop(process)
                self._end("Canceled") if status == "CancelRequested" else self._end(
                    "Failed", make_error("RunnerStopped", f"its runner was stopped by {_name(self.stopped_by)}")
                )
                return
            if until is not None and self.store.clock.monotonic() > until:
                self._stop(process)
                message = f"it ran longer than max_run_duration_seconds={limit:g}"
                self._end("Failed", make_error("MaxDurationExceeded", message), {"Reason": "timeout"})
                return
        signal_group(process.pid, signal.SIGTERM)  # what it left running
        if group_lives(process.pid):
            self._wait_for_group(process, 2.0)
            signal_group(process.pid, signal.SIGKILL)
        self._exited(process.returncode)

    def _sampling(self, group: int) -> Callable[[], None]:
        """Takes a sample of the script's processes where ``system_metrics`` seconds have passed since the last."""
        every = float(self.session.settings.get("system_metrics") or 0)
        if every <= 0:
            return lambda: None
        from tocsin.sdk.running.sampling import Sampler

        clock = self.store.clock
        sampler = Sampler(group, clock.monotonic)
        next_at = clock.monotonic()

        def sample() -> None:
            nonlocal next_at
            if clock.monotonic() >= next_at:
                next_at = clock.monotonic() + every
                for name, value in sampler.sample().items():
                    self.session.recorder.log((self.num, name, int(Kind.VALUE), None, self.store.now(), value, None))

        return sample

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait a little for the script's end."""
        if hasattr(os, "pidfd_open") and process.poll() is None:
            try:
                file = os.pidfd_open(process.pid)
            except OSError:
                return process.poll() is not None
            try:
                select.select([file], [], [], POLL_EVERY)
            finally:
                os.close(file)
            return process.poll() is not None
        try:
            process.wait(POLL_EVERY)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM, then SIGKILL, to all of the group; returns when it is gone."""
        signal_group(process.pid, signal.SIGTERM)
        self._wait_for_group(process, float(self.session.settings.get("cancel_grace_seconds", GRACE)))
        signal_group(process.pid, signal.SIGKILL)
        self._wait_for_group(process, GRACE)

    def _wait_for_group(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        until = self.store.clock.monotonic() + seconds
        while self.store.clock.monotonic() < until:
            process.poll()
            if not group_lives(process.pid):
                return
            self._pause.wait(0.02)

    def _exited(self, code: int) -> None:
        if code == 0:
            self._end("Completed")
            return
        text = stored_tail(clean(end_of_file(self.folder / "files" / LOG).decode("utf-8", "replace")))
        lines = [line.rstrip() for line in text.split("\n") if line.strip()]
        message, trace = why(code, lines)
        facts = {"LogTail": sent_tail(text), "Reason": reason(code, lines)}
        if code < 0 and self.status() == "CancelRequested":
            self._end("Canceled")
            return
        self._end("Failed", make_error("UserError", message, trace), facts)

    def _end(self, status: str, error: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> None:
        if status == "Canceled":
            facts = {"Reason": "user_canceled", **(facts or {})}
        self._kept(lambda: self.store.transition(self.run_id, status, error=error, facts=facts))


def why(code: int, lines: list[str]) -> tuple[str, str]:
    """A failed script's message in azureml's words, and its traceback where it wrote one."""
    trace = traceback_of(lines)
    if code > 0 and trace is not None:
        name, _, text = trace.said.partition(":")
        if name.replace(".", "").isidentifier():
            said = f"{name.rpartition('.')[2]}:{text}" if text else name.rpartition(".")[2]
            return f"User program failed with {said}", "\n".join(trace.last(200))
    how = f"was killed by {_name(-code)}" if code < 0 else f"ended with exit code {code}"
    last = f": {lines[-1][:500]}" if lines else ""
    return f"User program {how}{last}", ""


def reason(code: int, lines: list[str]) -> str:
    """One of tocsin's reasons, '' where the log does not say."""
    text = "\n".join(lines[-20:])
    if "MemoryError" in text or "out of memory" in text.lower():
        return "out_of_memory"
    return "code_error" if code > 0 and "Traceback (most recent call last)" in text else ""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _link_into(link: Path, folder: Path) -> None:
    """``./outputs`` of the script is the run's own folder, so that a kill loses nothing of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if link.is_dir() and not link.is_symlink():
        import shutil

        shutil.copytree(link, folder, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(link)
    if not link.is_symlink() and not link.exists():
        os.symlink(os.path.relpath(folder, link.parent), link)


def _row(session: Session, run_id: str) -> RunRow | None:
    """The run's row, once the submitter has written it; None where it never does."""
    pause = threading.Event()
    until = session.store.clock.monotonic() + 60
    parent = os.getppid()
    while session.store.clock.monotonic() < until:
        if row := session.store.get(run_id):
            return row
        if os.getppid() != parent:
            return session.store.get(run_id)
        pause.wait(0.01)
    return None


def main(folder: str, run_id: str) -> int:
    """Run the script of ``run_id`` in the workspace at ``folder``; returns 0, whatever becomes of the script."""
    session = Session(config.find(folder))
    row = _row(session, run_id)
    if row is None:
        return 0
    runner = Runner(session, row)

    def stop(number: int, _frame: FrameType | None) -> None:
        runner.stopped_by = number

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    session.store.update(run_id, owner=session.store.presence.identity().dump())
    session.recorder.own(run_id)
    try:
        runner.go()
    except Exception as e:  # the run must end whatever fails
        session.store.transition(run_id, "Failed", error=make_error("ServiceError", f"{type(e).__name__}: {e}"))
        raise
    finally:
        session.recorder.disown(run_id)
        session.recorder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

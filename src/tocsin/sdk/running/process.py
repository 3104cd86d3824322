"""Who owns a run, and whether that process is gone: pid, its start time, the kernel's boot, and a lock that it holds."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import uuid
from pathlib import Path
from typing import NamedTuple

GONE_AFTER = 120.0
"""Seconds without a heartbeat after which a run of this host's previous boot counts as gone."""


class ProcessId(NamedTuple):
    """One process for ever: a pid alone is used again."""

    host: str
    boot: str  # the kernel's boot id, the same in all containers of a machine; '' where there is none
    space: str  # the pid namespace; pids of another one mean nothing here
    pid: int
    start: str  # when it started, in the kernel's ticks; '' where it could not be read
    lock: str = ""  # name of its lock file in the workspace

    def dump(self) -> str:
        """As text for the store."""
        return json.dumps(self._asdict())

    @classmethod
    def load(cls, text: str) -> ProcessId | None:
        """From the store's text; None where it is none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


def identify(pid: int, lock: str = "") -> ProcessId:
    """The process that has ``pid`` now."""
    return ProcessId(host=os.uname().nodename, boot=_boot(), space=_space(), pid=pid, start=start_of(pid), lock=lock)


def start_of(pid: int) -> str:
    """When process ``pid`` started; '' where it is not there, or only as a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return "" if state in (b"Z", b"X") else fields[18].decode()


def _start_by_ps(pid: int) -> str:
    """For kernels without /proc."""
    import subprocess

    try:
        done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@functools.cache
def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def runs_here(process: ProcessId) -> bool:
    """Whether its pid means a process of this machine and pid namespace, and that process is alive."""
    return _same_kernel(process) and process.space == _space() and _alive(process)


def _same_kernel(process: ProcessId) -> bool:
    return process.boot == _boot() and (bool(process.boot) or process.host == os.uname().nodename)


def _alive(process: ProcessId) -> bool:
    found = start_of(process.pid)
    return bool(found) and process.start in ("", found)


def is_gone(process: ProcessId, locks: Path, silent_for: float) -> bool:
    """Whether ``process`` is surely gone. ``silent_for``: seconds since its last heartbeat.

    In doubt it is alive: a process of another machine, or of another container whose lock cannot be seen, counts as alive.
    """
    if _same_kernel(process):
        if process.space == _space():
            return not _alive(process)
        return _lock_is_free(process, locks) is True
    if process.host != os.uname().nodename:
        return False
    return silent_for > GONE_AFTER and _lock_is_free(process, locks) is not False


def _lock_is_free(process: ProcessId, locks: Path) -> bool | None:
    """None where it cannot be said. A POSIX lock: the kernel drops it with the process, and no forked child inherits it."""
    if not process.lock or "/" in process.lock:
        return None
    try:
        file = os.open(locks / process.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


class Presence:
    """This process's identity in a workspace, with its lock held until it ends, however it ends."""

    def __init__(self, locks: Path | None) -> None:
        """``locks`` None: nobody else asks for this process, so it takes no lock."""
        self._locks = locks
        self._pid = 0
        self._file = -1
        self._identity: ProcessId | None = None

    def identity(self) -> ProcessId:
        """Takes the lock at the first call, and again in a forked child. Without a lock file the pid alone speaks."""
        if self._identity is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._identity = identify(self._pid, self._take())
        return self._identity

    def _take(self) -> str:
        if self._locks is None:
            return ""
        name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return ""
        return name

    def leave(self) -> None:
        """Remove the lock file: the process ends in good order."""
        if self._locks is not None and self._identity is not None and self._identity.lock and self._pid == os.getpid():
            try:
                os.unlink(self._locks / self._identity.lock)
            except OSError:
                pass  # it only takes room


@functools.cache
def user_name() -> str:
    """Who runs this process; '' where the machine does not know."""
    for name in ("LOGNAME", "USER", "USERNAME"):
        if value := os.environ.get(name):
            return value
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""

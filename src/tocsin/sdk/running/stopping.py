"""Ending a script with all that it started: SIGTERM to its process group, then SIGKILL."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tocsin.sdk.running.process import ProcessId, runs_here


def group_lives(group: int) -> bool:
    """Whether a process of ``group`` is still there; zombies do not count where there is /proc."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    members = _members(group)
    return members is None or bool(members)


def _members(group: int) -> list[int] | None:
    """Processes of ``group`` that are no zombies; None without /proc."""
    if not Path("/proc/self/stat").exists():
        return None
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_bytes()
            except OSError:
                continue
            state, _, pgrp, *_ = stat[stat.rindex(b")") + 2 :].split()
            if int(pgrp) == group and state not in (b"Z", b"X"):
                found.append(int(name))
    return found


def signal_group(group: int, number: int) -> None:
    """Send a signal to all of ``group``; one that is gone is no error."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def kill_left_over(script: str, user: int) -> None:
    """End the script of a run whose runner is gone: nobody watches it any more. ``script`` is a ProcessId as text.

    ``user``: whose workspace says so. A tocsin of root ends nobody else's process because a user's file names it.
    """
    process = ProcessId.load(script)
    if process is not None and runs_here(process) and _user_of(process.pid) in (user, None):
        signal_group(process.pid, signal.SIGKILL)


def _user_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None

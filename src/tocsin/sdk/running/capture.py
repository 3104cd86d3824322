"""What ran: the snapshot and git commit of an interactive run, taken beside training."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from pathlib import Path

from tocsin.sdk.errors import SnapshotException
from tocsin.sdk.running import snapshot
from tocsin.sdk.session import Session
from tocsin.sdk.text import clean, warn

PATIENCE = 60.0
"""Seconds that get_snapshot_id() waits for a snapshot under way."""
_under_way: dict[str, threading.Thread] = {}


def capture(session: Session, run_id: str, folder: Path | None) -> None:
    """Begin to take the snapshot and note the git commit; returns at once."""
    where = folder.absolute() if folder is not None else None

    def work() -> None:
        try:
            _properties(session, run_id, where or Path.cwd())
            if where is not None:
                _snapshot(session, run_id, where)
        except (SnapshotException, OSError, sqlite3.Error) as e:
            warn("run %s has no snapshot: %s", run_id, e)
        finally:
            _under_way.pop(run_id, None)

    thread = threading.Thread(target=work, name="tocsin-snapshot", daemon=True)
    _under_way[run_id] = thread
    try:
        thread.start()
    except RuntimeError:
        _under_way.pop(run_id, None)


def finished(run_id: str) -> None:
    """Wait for a snapshot under way."""
    if thread := _under_way.get(run_id):
        thread.join(PATIENCE)


def _snapshot(session: Session, run_id: str, folder: Path) -> None:
    found = snapshot.listing(folder, unlimited=False)
    if why := snapshot.too_large(found):
        warn("run %s has no snapshot: %s holds %s", run_id, folder, why)
        return
    session.store.update(run_id, snapshot_id=snapshot.take(folder, session.snapshots(run_id), found))


def take_now(snapshots: Path, folder: Path) -> str:
    """Take a snapshot, whatever its size, and return its id. Raises SnapshotException, OSError."""
    found = snapshot.listing(folder.absolute(), unlimited=True)
    if why := snapshot.too_large(found):
        warn("the snapshot of %s holds %s", folder, why)
    return snapshot.take(folder.absolute(), snapshots, found)


def _properties(session: Session, run_id: str, folder: Path) -> None:
    if found := git_properties(folder):
        row = session.store.get(run_id)
        session.store.relabel(run_id, "p", {**found, **(row.property_values if row else {})})


def git_properties(folder: Path) -> dict[str, str | None]:
    """The commit that ``folder`` is on; {} where it is no git work tree, or git is slow or absent."""
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return {}
    asked = {
        "tocsin.git.commit": ["rev-parse", "HEAD"],
        "tocsin.git.branch": ["rev-parse", "--abbrev-ref", "HEAD"],
        "tocsin.git.repository_uri": ["config", "--get", "remote.origin.url"],
        "tocsin.git.dirty": ["status", "--porcelain", "--untracked-files=no"],
    }
    out: dict[str, str | None] = {}
    for name, arguments in asked.items():
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False,
                stdin=subprocess.DEVNULL, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired, ValueError):
            return out
        if done.returncode == 0:
            said = done.stdout.strip()
            out[name] = str(bool(said)) if name.endswith("dirty") else _without_password(clean(said))
    if commit := out.get("tocsin.git.commit"):
        out["mlflow.source.git.commit"] = commit
    return {k: v for k, v in out.items() if v}


def _without_password(url: str) -> str:
    from tocsin.model.text.redact import redact

    return redact(url)

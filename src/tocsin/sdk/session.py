"""What the objects of one workspace share in a process: its store, its recorder; and whether this process may write."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tocsin.sdk.config import Place
from tocsin.sdk.sending.endpoint import Endpoint
from tocsin.sdk.sending.known import note
from tocsin.sdk.sending.recorder import Recorder
from tocsin.sdk.storage.rows import RunRow
from tocsin.sdk.storage.store import Store
from tocsin.sdk.text import warn_once

RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Variables with the rank of a process of distributed training."""
_sessions: dict[Path, Session] = {}
_lock = threading.Lock()


def writes() -> bool:
    """Whether this process writes: in distributed training only rank 0 does. TOCSIN_ALL_RANKS=1: all do."""
    if os.environ.get("TOCSIN_ALL_RANKS"):
        return True
    return all(os.environ.get(name, "") in ("", "0") for name in RANKS)


class Session:
    """A workspace in this process."""

    def __init__(self, place: Place | None) -> None:
        """``place`` None: in memory, for offline runs and ranks that do not write."""
        self.place = place
        self.settings: Mapping[str, Any] = place.settings if place else {}
        self.name = place.name if place else "offline"
        self.endpoint = self._find()
        self.store = Store(place.data if place else None, self.name, sends=self.endpoint is not None)
        self.store.owner_email = os.environ.get("TOCSIN_OWNER_EMAIL") or str(self.settings.get("owner_email") or "")
        self.recorder = Recorder(self.store, self.endpoint, self._find)
        if place is not None and self.recorder.sender is not None:
            note(place.folder)

    def _find(self) -> Endpoint | None:
        return Endpoint.find(self.settings, self.place.folder) if self.place else None

    @property
    def folder(self) -> Path:
        """The workspace's folder. Raises ValueError in memory."""
        if self.place is None:
            raise ValueError("an offline run has no folder")
        return self.place.folder

    def run_folder(self, run_id: str) -> Path:
        """Where a run's files are; an offline run has a temporary one."""
        if self.place is None:
            return _scratch() / run_id
        return self.place.data / "runs" / run_id

    def snapshots(self, run_id: str) -> Path:
        """Where snapshots are; an offline run keeps its own."""
        return self.place.data / "snapshots" if self.place else self.run_folder(run_id) / "snapshots"


def session_of(place: Place) -> Session:
    """The one session of ``place`` in this process."""
    with _lock:
        found = _sessions.get(place.folder)
        if found is None or found.settings != place.settings or found.endpoint != found._find():
            found = _sessions[place.folder] = Session(place)
        return found


def once_written(session: Session, run_id: str) -> RunRow | None:
    """`tocsin exec` starts its command first and writes its run down beside it: the script may be a little quicker."""
    pause = threading.Event()
    for _ in range(250):
        if row := session.store.get(run_id):
            return row
        pause.wait(0.02)
    return None


_memory: Session | None = None


def memory_session() -> Session:
    """The session of runs that are kept nowhere."""
    global _memory
    with _lock:
        if _memory is None:
            _memory = Session(None)
        return _memory


def usable(session: Session) -> Session:
    """``session``, or the one in memory (with one warning) where its disk fails, or this rank does not write."""
    if not writes():
        return memory_session()
    try:
        session.store.database.one("SELECT 1")
        return session
    except (sqlite3.Error, OSError) as e:
        warn_once(f"disk:{session.store.database.path}", "runs cannot be kept in %s: %s; this run is kept in memory only",
                  session.store.database.path, e)  # fmt: skip
        return memory_session()


_folder: Path | None = None


def _scratch() -> Path:
    global _folder
    if _folder is None:
        import atexit
        import shutil
        import tempfile

        _folder = Path(tempfile.mkdtemp(prefix="tocsin-offline-"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    return _folder


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)

"""Workspace folders on this machine: files, logs and cancel of the runs that they keep, and events that wait there."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from tocsin.errors import TocsinError
from tocsin.sdk import config
from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.sending.endpoint import Endpoint
from tocsin.sdk.sending.known import known
from tocsin.sdk.sending.spool import meant_for
from tocsin.sdk.storage.rows import RunRow
from tocsin.sdk.storage.store import Store
from tocsin.sdk.text import artifact_name, inside

MOST_FILES: Final = 1000
"""Files of a run that are listed."""
LOGS: Final = ("user_logs/", "logs/")
"""How names of logs begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file of a run; ``size`` in bytes."""

    name: str
    size: int

    @property
    def is_log(self) -> bool:
        """Whether it is one of the run's logs."""
        return self.name.startswith(LOGS)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run as its workspace keeps it."""

    place: config.Place
    store: Store
    row: RunRow

    @property
    def _files(self) -> Path:
        return self.place.data / "runs" / self.row.run_id / "files"

    def files(self) -> list[RunFile]:
        """Its files by name, at most MOST_FILES; none that a link leads out of its folder to."""
        root, out = self._files.resolve(), []
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                if path.resolve().is_relative_to(root) and path.is_file():
                    out.append(RunFile(name=path.relative_to(root).as_posix(), size=path.stat().st_size))
                if len(out) >= MOST_FILES:
                    return sorted(out, key=lambda f: f.name)
        return sorted(out, key=lambda f: f.name)

    def open(self, name: str) -> BinaryIO | None:
        """One of its files to read; None where it has none of this name."""
        try:
            path = inside(self._files, artifact_name(name))
            return path.open("rb") if path.is_file() else None  # to open a pipe would wait for ever
        except (UserErrorException, OSError):
            return None

    def spooled(self) -> list[bytes]:
        """Its events that wait to be sent, oldest first."""
        sql = "SELECT event FROM outbox WHERE run_id = ? AND NOT beat ORDER BY seq DESC LIMIT 20"
        return [str(row[0]).encode() for row in reversed(self.store.database.read(sql, (self.row.run_id,)))]


class Folders:
    """Those that tocsin.yaml names, the one that the project directory lies in, and those of this user that send here."""

    def __init__(self, home: Path, named: Callable[[], Sequence[str]], urls: Callable[[], Sequence[str]]) -> None:
        """``named`` gives folders from ``home`` on, as they are in force now; ``urls``: under which this tocsin is known."""
        self._home, self._named, self._urls = home, named, urls
        self._stores: dict[Path, Store] = {}
        self._lock = threading.Lock()

    def places(self) -> list[config.Place]:
        """Workspaces that can be read now, each once."""
        named = self._read([self._home, *(self._home / Path(name).expanduser() for name in self._named())])
        return list({place.folder: place for place in (*named, *self._noted())}.values())

    def sending_here(self) -> list[config.Place]:
        """Those whose events are meant for this tocsin."""
        return [place for place in self.places() if self._sends_here(place)]

    def _noted(self) -> list[config.Place]:
        return [place for place in self._read(known()) if self._sends_here(place)]

    def _read(self, folders: Sequence[Path]) -> list[config.Place]:
        found: dict[Path, config.Place] = {}
        for folder in folders:
            try:
                place = config.find(folder)
            except (TocsinError, UserErrorException, OSError):
                continue
            if (place.data / "runs.sqlite").is_file():
                found.setdefault(place.folder, place)
        return list(found.values())

    def _sends_here(self, place: config.Place) -> bool:
        return self.is_here(meant_for(place.data / "spool.lock"), place)

    def is_here(self, url: str, place: config.Place | None = None) -> bool:
        """Whether ``url`` is this tocsin's; '' where nobody has sent yet: then what ``place`` says."""
        if not url:
            found = Endpoint.find(place.settings, place.folder) if place is not None else Endpoint.find()
            url = "" if found is None else found.url
        return _address(url) in {_address(one) for one in self._urls()}

    def find(self, run_id: str) -> RunFolder | None:
        """The run where one of the workspaces keeps it; None also where its file cannot be read now."""
        for place in self.places():
            store = self.store(place)
            try:
                row = store.get(run_id)
            except sqlite3.Error:
                continue
            if row is not None:
                return RunFolder(place, store, row)
        return None

    def store(self, place: config.Place) -> Store:
        """The workspace's file."""
        with self._lock:
            if place.folder not in self._stores:
                self._stores[place.folder] = Store(place.data, place.name, sends=True)
            return self._stores[place.folder]

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for store in self._stores.values():
                store.database.close()
            self._stores.clear()


def _address(url: str) -> tuple[str, str, int | None, str]:
    """``url`` so that two spellings of one address are equal."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return (url, "", None, "")
    return (parts.scheme, "localhost" if host in ("127.0.0.1", "::1") else host, port, parts.path.rstrip("/"))

"""Events that wait in workspaces of this machine although their last process has ended.

A process sends its events itself. Where it was killed, or this tocsin was away when it ended, they wait on disk. They are
read from there, in order, and taken as those that are posted; a run whose process is gone is found out here, too.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog
from anyio import from_thread
from anyio.to_thread import run_sync

from tocsin.app.runs.folders import Folders
from tocsin.clock import Clock
from tocsin.errors import TocsinError
from tocsin.sdk.config import Place
from tocsin.sdk.sending import spool
from tocsin.sdk.sending.endpoint import Answer, Endpoint, Poster
from tocsin.sdk.storage.database import Database

log = structlog.get_logger(__name__)

EVERY: Final = 5.0
"""Seconds between rounds."""
LONGEST: Final = 10
"""Seconds that one workspace may hold up the others."""

Take = Callable[[bytes], Coroutine[Any, Any, object]]
"""Take an array of events; returns when they are durable. Raises TocsinError where that cannot be now."""


class _Here(Poster):
    """Brings events to this process, from a thread of its event loop."""

    def __init__(self, take: Take) -> None:
        super().__init__(Endpoint(url="", named=True))
        self._take = take

    def post(self, body: bytes, timeout: float) -> Answer:
        try:
            from_thread.run(self._take, body)
        except TocsinError as e:
            self.said = str(e)
            return Answer.AWAY
        return Answer.TAKEN


class Draining:
    """Looks every few seconds, in the event loop of the web server; the files are read by a thread."""

    def __init__(self, folders: Folders, take: Take, clock: Clock) -> None:
        self._folders, self._clock = folders, clock
        self._poster = _Here(take)
        self._stop = threading.Event()
        self._quiet: dict[Path, tuple[int, ...]] = {}

    async def run(self) -> None:
        """Until it is canceled; call ``stop`` first, so that a round under way ends."""
        while True:
            try:
                await run_sync(self.round)
            except Exception as e:  # noqa: BLE001  # what one workspace holds must not end this for the others
                log.warning("workspaces_not_read", error=f"{type(e).__name__}: {e}")
            await asyncio.sleep(EVERY)

    def stop(self) -> None:
        """End the round under way within about a second."""
        self._stop.set()

    def round(self) -> None:
        """Take what waits in each workspace, and of `tocsin exec`. Files that cannot be read now are tried in the next round."""
        for place in self._folders.sending_here():
            if self._stop.is_set():
                return
            try:
                self._workspace(place)
            except (sqlite3.Error, OSError) as e:
                log.debug("workspace_not_read", folder=str(place.folder), error=str(e))
        folder = spool.state_folder()
        file, lock = folder / "spool.sqlite", folder / "spool.lock"
        if not self._stop.is_set() and file.is_file() and self._folders.is_here(spool.meant_for(lock)):
            database = Database(file, spool.SCHEMA)
            try:
                self._drain(database, lock)
            finally:
                database.close()

    def _workspace(self, place: Place) -> None:
        before = _changed(place.data)
        if self._quiet.get(place.folder) == before:
            return
        store = self._folders.store(place)
        try:
            active = store.reap(every=0.0)
            if self._drain(store.database, place.data / "spool.lock") is spool.Drained.EMPTY and not active:
                self._quiet[place.folder] = before
        finally:
            store.database.close()

    def _drain(self, database: Database, lock: Path) -> spool.Drained:
        sender = spool.Sender(database, self._poster.endpoint, lock, self._clock, poster=self._poster)
        before = sender.waiting()
        outcome = spool.Drained.TIME if before else spool.Drained.EMPTY
        for _ in range(LONGEST):
            if outcome is not spool.Drained.TIME or self._stop.is_set():
                break
            outcome = sender.drain(1.0)
        if before and outcome is spool.Drained.EMPTY:
            log.info("events_taken_from_disk", file=str(database.path), events=before)
        return outcome


def _changed(data: Path) -> tuple[int, ...]:
    """Differs where the workspace's file was written meanwhile."""
    out = []
    for name in ("runs.sqlite", "runs.sqlite-wal"):
        try:
            found = (data / name).stat()
            out += [found.st_mtime_ns, found.st_size]
        except FileNotFoundError:
            out += [0, 0]
    return tuple(out)

"""Backup and restore of the log store and the state, which belong together.

A backup is made while tocsin runs: the state first, then the log store, in one moment without commits, so that no cursor is
ahead of the log. After a restore Kafka is read from the backup's positions again. What fired between the backup and the
loss would be notified a second time: ``notified_until`` says up to when somebody was notified already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tocsin import __version__
from tocsin.app.engine.notified_until import KEY, fired_at
from tocsin.app.project.stores import open_log, open_state
from tocsin.clock import Clock
from tocsin.config.project.home import Home
from tocsin.errors import StoreError, TocsinError
from tocsin.logstore.interface import LogStore
from tocsin.logstore.upkeep import copy_durably
from tocsin.model.delivery import DeliveryState
from tocsin.state.interface import Attempted, State
from tocsin.state.pairing import pair

MANIFEST, EVENTS, STATE = "backup.json", "events.duckdb", "state.sqlite"
_ALL = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What ``backup.json`` says. It is written last: a directory without it holds no whole backup."""

    tocsin: str  # version
    made_at: str  # ISO, UTC
    commit_seq: int
    bytes: int


def back_up(log: LogStore, state: State, directory: Path, clock: Clock) -> Backup:
    """Copy both stores into ``directory``, made if absent. Raises TocsinError where it holds a backup, StoreError."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        empty = not any(directory.iterdir())
    except OSError as e:
        raise TocsinError(f"{directory} cannot be made: {e.strerror}") from e
    if not empty:
        raise TocsinError(f"{directory} is not empty; name another directory")
    made_at = clock.now()
    head = log.backup(directory / EVENTS, lambda: state.backup(directory / STATE))
    size = sum(path.stat().st_size for path in directory.iterdir())
    made = Backup(
        tocsin=__version__, made_at=f"{made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", commit_seq=head.seq, bytes=size
    )
    (directory / MANIFEST).write_text(json.dumps(asdict(made), indent=2) + "\n", encoding="utf-8")
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What ``restore`` did."""

    backup: Backup
    expired: int  # intents and deliveries of the backup that fired before `notified_until`


def restore(home: Home, directory: Path, clock: Clock, *, notified_until: datetime | None) -> Restored:
    """Bring the stores of a backup into ``home``, which has none. The caller holds the home's lock.

    Raises TocsinError where ``directory`` holds no whole backup or ``home`` has stores; then nothing was changed.
    """
    try:
        backup = Backup(**json.loads((directory / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise TocsinError(f"{directory} holds no whole backup: {MANIFEST} cannot be read ({e})") from e
    settings = home.settings()
    events, state_path = home.store_path(settings), home.state_path(settings)
    targets = {
        EVENTS: events,
        f"{EVENTS}.wal": Path(f"{events}.wal"),
        STATE: state_path,
    }
    for path in (*targets.values(), Path(f"{state_path}-wal")):
        if path.exists():
            raise TocsinError(f"{path} exists; move it away first, a restore never overwrites")
    for name, path in targets.items():
        if (directory / name).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            copy_durably(directory / name, path)
    state = open_state(home, settings, clock)
    try:
        log = open_log(home, settings, clock)
        try:
            if not pair(log, state).ok:
                raise StoreError(f"the stores of {directory} do not belong together")
        finally:
            log.close()
        expired = 0 if notified_until is None else expire(state, notified_until, clock.now())
    finally:
        state.close()
    return Restored(backup=backup, expired=expired)


def expire(state: State, until: datetime, now: datetime) -> int:
    """Drop what waits to be notified and fired before ``until``, and remember ``until``. Returns how many."""
    waiting = [
        delivery
        for phase in (DeliveryState.READY, DeliveryState.HELD)
        for delivery in state.deliveries(state=phase, limit=_ALL)
        if delivery.created_at < until
    ]
    reply = f"expired: restored from a backup, notified until {until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    state.attempted(
        [
            Attempted(id=d.id, state=DeliveryState.DROPPED, attempt=d.attempt, reply=reply, next_at=now, at=now)
            for d in waiting
        ]
    )
    intents = [intent.id for intent in state.intents(_ALL) if fired_at(intent) < until]
    state.put_deliveries((), intents, now)
    state.put(KEY, until.isoformat())
    return len(waiting) + len(intents)


def export_parquet(log: LogStore, directory: Path, tables: Sequence[str]) -> Mapping[str, int]:
    """Write ``tables``, all where none is named, into ``directory``, made if absent; the rows of each.

    Files of an earlier export are replaced, each when its successor is whole. Raises TocsinError for a table that is not
    there, StoreError where a file cannot be written.
    """
    known = log.schema()
    for name in tables:
        if name not in known:
            raise TocsinError(f"there is no table '{name[:100]}'; there are {', '.join(sorted(known))}")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise StoreError(f"{directory} cannot be made: {e.strerror}") from e
    return log.export(tables or list(known), directory)

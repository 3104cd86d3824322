"""What the store keeps in memory of itself, as of the last durable commit.

The one ``Sequencer`` stamps commits, and fences timers off from them.

timer due at D ──fence(D)──►  every later stamp > D; a commit stamped before D that is still being written is waited for
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from tocsin.clock import EPOCH, Clock, from_micros, micros
from tocsin.logstore.dead_letters import last_dead_id
from tocsin.logstore.ingest.batch import PartitionKey
from tocsin.logstore.interface import CommitInfo
from tocsin.logstore.recent.changes import NewestBeats, NewestKeys
from tocsin.logstore.recent.run_locator import RunLocator

NEWEST = 2000
"""Commits that are remembered, so that evaluation need not ask for them."""


@dataclass(slots=True, kw_only=True)
class RecentState:
    """As of the last commit."""

    seq: int
    ingested_at: datetime
    dead_id: int  # of the newest dead letter
    positions: dict[PartitionKey, int]
    runs: RunLocator
    beats: NewestBeats
    keys: NewestKeys


def read_known(con: duckdb.DuckDBPyConnection, now: datetime) -> RecentState:
    """What the tables say."""
    newest = con.execute("SELECT seq, ingested_at FROM tocsin.commits ORDER BY seq DESC LIMIT 1").fetchall()
    seq, at = (newest[0][0], newest[0][1].replace(tzinfo=UTC)) if newest else (0, EPOCH)
    rows = con.execute('SELECT cluster, topic_id, "partition", next FROM tocsin.positions').fetchall()
    ((latest,),) = con.execute("SELECT max(TimeGenerated) FROM RunStatusChanged").fetchall()
    return RecentState(
        seq=seq,
        ingested_at=at,
        dead_id=last_dead_id(con),
        positions={(cluster, topic_id, part): at_offset for cluster, topic_id, part, at_offset in rows},
        runs=RunLocator(con, seq),
        beats=NewestBeats(now.astimezone(UTC).replace(tzinfo=None)),
        keys=NewestKeys(latest or datetime.min),
    )


COMMITS = "SELECT seq, ingested_at, rows, heartbeats FROM tocsin.commits WHERE seq > $after ORDER BY seq LIMIT $limit"
"""Commits beyond $after."""


def commits_in(table: pa.Table) -> list[CommitInfo]:
    """What ``COMMITS`` found."""
    return [CommitInfo(**(row | {"ingested_at": row["ingested_at"].replace(tzinfo=UTC)})) for row in table.to_pylist()]


class NewestCommits:
    """The last commits of this process that took a CommitSeq; written by one thread, read by any."""

    def __init__(self, before: int) -> None:
        """``before``: the newest commit before the first of them."""
        self._before = before
        self._commits: deque[CommitInfo] = deque()

    def add(self, commit: CommitInfo) -> None:
        """The next commit is durable."""
        self._commits.append(commit)
        if len(self._commits) > NEWEST:
            self._before = self._commits[0].seq  # first, so that nobody misses it
            self._commits.popleft()

    def after(self, seq: int, limit: int) -> Sequence[CommitInfo] | None:
        """Commits beyond ``seq``, in order, at most ``limit``; None where the table must be asked."""
        while True:
            try:
                found = [c for c in self._commits if c.seq > seq]
            except RuntimeError:  # it grew meanwhile
                continue
            return found[:limit] if seq >= self._before else None


class Sequencer:
    """Stamps strictly increase: max(previous + 1 µs, clock, fence + 1 µs). Safe from any thread."""

    def __init__(self, clock: Clock, last: datetime) -> None:
        self._clock = clock
        self._last = micros(last)
        self._in_flight: int | None = None
        self._changed = threading.Condition()

    def stamp(self) -> datetime:
        """The IngestedAt of a commit that begins; ``done`` must follow."""
        with self._changed:
            self._last = max(self._last + 1, micros(self._clock.now()))
            self._in_flight = self._last
            return from_micros(self._last)

    def done(self, publish: Callable[[], None] | None = None) -> None:
        """The commit is durable or given up. ``publish`` runs before anybody who waits goes on."""
        with self._changed:
            if publish is not None:
                publish()
            self._in_flight = None
            self._changed.notify_all()

    def fence(self, at: datetime) -> None:
        """Every later stamp is after ``at``; returns when no commit stamped at or before it is being written."""
        us = micros(at)
        with self._changed:
            self._last = max(self._last, us)
            self._changed.wait_for(lambda: self._in_flight is None or self._in_flight > us)

"""What the store keeps in memory of itself, as of the last durable commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from tocsin.clock import EPOCH
from tocsin.logstore.dead_letters import last_dead_id
from tocsin.logstore.ingest.batch import PartitionKey
from tocsin.logstore.interface import CommitInfo
from tocsin.logstore.recent.heartbeats import NewestBeats
from tocsin.logstore.recent.keys import NewestKeys
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

"""The log store's contract: append-only analytics tables, one sequencer, exactly-once commits, sandboxed queries.

Order of what a commit does, in one transaction: drop records below the stored positions, read the raw payloads, drop
duplicates, insert rows, heartbeats and dead letters, update ``Runs``, move the positions, stamp CommitSeq and
IngestedAt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.model.event import Batch, Commit, Position

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest commit that brought rows. ``seq`` 0 and the epoch for an empty store."""

    seq: int
    ingested_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitInfo:
    """A commit as rules meet it."""

    seq: int
    ingested_at: datetime
    rows: int  # of RunStatusChanged
    heartbeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerInfo:
    """What is known of a consumer over all starts."""

    name: str
    first_start: datetime  # what was produced before is expired, for Kafka and file consumers
    last_alive: datetime  # last time that intake was known to be up for it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter as stored; ``id`` names it for replay."""

    id: int
    time: datetime
    consumer: str
    topic: str
    partition: int | None
    offset: int | None
    reason: str
    detail: str
    payload: bytes
    whole: bool  # False where the payload was cut: it cannot be replayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one query. ``watched``: a user wrote it, so its memory and the size of its answer are bounded too."""

    seconds: float = 30.0
    rows: int = 10_000
    watched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpan:
    """The first and last event time of a run (``Runs.FirstTime`` and ``LastTime``)."""

    run_id: str
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A run that some commits touched, as the last of them left it. Times are naive UTC, as the store has them."""

    # of what is new: TimeGenerated of events, receipt of stored heartbeats; None: a heartbeat not stored
    least: datetime | None
    # of Runs, dynamic columns as JSON text; None: heartbeats came last, for which nobody reads the rest
    row: Mapping[str, Any] | None
    seen: datetime | None = None  # receipt of the last heartbeat, where nothing but heartbeats came
    progress: bool = False  # whether one of them said how far the run is


StoredRow = Mapping[str, Any]
"""A row of RunStatusChanged as it is stored, without Raw: times are naive UTC, dynamic columns JSON text."""

Rows = tuple[str, Mapping[str, object]]
"""A SELECT that stands in a FROM, and its parameters. Their names begin with ``of_`` unless a method names them."""


Ask = Callable[[str, Mapping[str, object]], list[dict[str, Any]]]
"""Runs a small SELECT of tocsin with values as ``$name``. Returns its rows by column, with times in naive UTC."""


class LogReader(ABC):
    """Reads the store. Safe from any thread: each call has its own cursor and its own read-only transaction."""

    @abstractmethod
    def head(self) -> Head:
        """The newest commit that brought rows."""

    @abstractmethod
    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        """Commits with ``seq > after``, in order, at most ``limit``."""

    @abstractmethod
    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        """Run one SELECT that tocsin compiled, values as ``$name``.

        Every table of model.columns and every reference table is visible by name; internal ones are not needed. Raises
        QueryTimeout after ``limits.seconds`` (interrupted), QueryError where DuckDB refuses it, StoreLost. At most
        ``limits.rows`` rows come back where limits are given.
        """

    @abstractmethod
    def spans(self, run_ids: Iterable[str]) -> Mapping[str, RunSpan]:
        """The span of each of ``run_ids`` that has events."""

    @abstractmethod
    def table(self, name: str) -> str:
        """Name of a table of model.columns in a FROM, for a query that gives the plain name to something else."""

    @abstractmethod
    def rows_of(self, after: int, hi: int) -> Rows:
        """SELECT of the rows that commits in (``after``, ``hi``] added to RunStatusChanged. Its parameters are $lo and $hi."""

    @abstractmethod
    def runs_touched(self, after: int, hi: int) -> Rows:
        """SELECT of the rows of Runs that commits in (``after``, ``hi``] touched last."""

    @abstractmethod
    def runs_of(self, run_ids: Collection[str]) -> Rows:
        """SELECT of the rows of Runs of these runs. Reading a few does not scan all."""

    @abstractmethod
    def runs_of_jobs(self, job_keys: Collection[str]) -> Rows:
        """SELECT of the rows of Runs with these JobKeys."""

    @abstractmethod
    def runs_as_of(self, seq: int) -> Rows:
        """SELECT of Runs as of commit ``seq``, without the heartbeats that were not stored.

        Source is '' for a run that had sent only heartbeats.
        """

    @abstractmethod
    def recent_runs(self, after: int, hi: int) -> Mapping[str, Touched] | None:
        """Runs that commits in (``after``, ``hi``] touched, by RunId. None if memory does not hold all these commits."""

    @abstractmethod
    def recent_rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        """The rows of ``rows_of`` from memory. None if memory does not hold all these commits."""

    @abstractmethod
    def schema(self) -> Mapping[str, Mapping[str, str]]:
        """Table name → column name → KQL type, reference tables included."""


class LogStore(LogReader):
    """Reads and writes the store. One instance of one process owns the file, and one thread writes at a time."""

    @abstractmethod
    def asking(self, limits: Limits) -> AbstractContextManager[Ask]:
        """Gives a function that runs small SELECTs of tocsin, without a transaction for each.

        Each returns at most ``limits.rows`` rows; together they take at most ``limits.seconds``. Raises what ``select`` does.
        """

    @property
    @abstractmethod
    def pair_id(self) -> str:
        """Identity shared with the state store that belongs to it; made with the store."""

    @abstractmethod
    def set_pair_id(self, pair_id: str) -> None:
        """Set the pair id to that of another state store (``--adopt``)."""

    @abstractmethod
    def append(self, batches: Sequence[Batch]) -> Commit:
        """Make ``batches`` durable in one commit. When it returns, they survive a kill -9 and a power cut.

        Receipts come in the order of ``batches``. Raises PositionGap (a batch starts beyond its stored position:
        nothing was kept), StoreFull (below the reserve: nothing was kept), StoreLost (unknown until ``reopen``).
        """

    @abstractmethod
    def fence(self, at: datetime) -> Head:
        """Promise that every later commit is stamped after ``at``; return the head as of that promise."""

    @abstractmethod
    def reopen(self) -> Head:
        """Close and open again after StoreLost; read positions and head again, return the head."""

    @abstractmethod
    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        """Partition → next offset to read, for one topic of one cluster."""

    @abstractmethod
    def topic_ids(self, cluster: str, topic: str) -> Sequence[str]:
        """Ids under which positions of the topic called ``topic`` are stored, newest last."""

    @abstractmethod
    def start_consumer(self, name: str, now: datetime) -> ConsumerInfo:
        """Record that consumer ``name`` starts. Returns its record from before this start."""

    @abstractmethod
    def alive(self, names: Iterable[str], now: datetime) -> None:
        """Set ``last_alive`` of these consumers to ``now``. Takes no CommitSeq."""

    @abstractmethod
    def append_mirror(
        self,
        upto: int,
        alerts: Sequence[Mapping[str, object]],
        notes: Sequence[Mapping[str, object]],
        actions: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Append rows of Alerts, Notifications and Actions and set ``mirror_seq`` to ``upto``, in one transaction.

        Takes no CommitSeq. Does nothing if ``upto`` is not beyond ``mirror_seq``.
        """

    @property
    @abstractmethod
    def mirror_seq(self) -> int:
        """Up to which row of the state's mirror log Alerts, Notifications and Actions are written; 0 at first."""

    @abstractmethod
    def set_table(self, name: str, table: pa.Table) -> None:
        """Create or replace a reference table in one transaction. Raises StoreError if ``name`` is a table of tocsin."""

    @abstractmethod
    def drop_table(self, name: str) -> None:
        """Drop a reference table."""

    @abstractmethod
    def dead_letters(
        self, *, consumer: str = "", ids: Sequence[int] = (), unreplayed: bool = True, limit: int = 1000
    ) -> Sequence[StoredDeadLetter]:
        """Stored dead letters, oldest first."""

    @abstractmethod
    def mark_replayed(self, ids: Sequence[int], at: datetime) -> None:
        """Set ReplayedAt of these dead letters to ``at``."""

    @abstractmethod
    def retain(self, now: datetime, keep: Mapping[str, timedelta]) -> Mapping[str, int]:
        """Delete rows older than ``keep`` says for their table. Returns how many rows of each table were deleted."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Write the WAL into the file now."""

    @abstractmethod
    def backup(self, target: Path, before: Callable[[], None]) -> Head:
        """Copy the store to the file ``target`` as of the head that is returned, while commits go on.

        ``before`` is called in the moment of which the copy is, while nothing is committed or mirrored: the state is
        copied there. Raises StoreError; what then lies at ``target`` is no copy.
        """

    @abstractmethod
    def export(self, tables: Collection[str], directory: Path) -> Mapping[str, int]:
        """Write tables as Parquet files into ``directory``, all as of one moment, while commits go on; the rows of each.

        Raises KeyError for a table that is not in ``schema``, StoreError where a file cannot be written.
        """

    @abstractmethod
    def rest(self) -> None:
        """Checkpoint if the WAL has reached a quarter of its threshold. Called when no batch waits, so none waits for it.

        Raises StoreLost, StoreError.
        """

    @abstractmethod
    def size(self) -> int:
        """Bytes on disk: file, WAL and spill."""

    @abstractmethod
    def close(self) -> None:
        """Close; a second call does nothing."""


__all__ = [
    "Ask",
    "Batch",
    "Commit",
    "CommitInfo",
    "ConsumerInfo",
    "Head",
    "Limits",
    "LogReader",
    "LogStore",
    "Position",
    "Rows",
    "RunSpan",
    "StoredDeadLetter",
    "StoredRow",
    "Touched",
]

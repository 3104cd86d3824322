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
    """Bounds of one user query. ``watched``: anybody asked it, so that its memory and its answer are bounded too."""

    seconds: float = 30.0
    rows: int = 10_000
    watched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpan:
    """Between which event times a run's events lie (``Runs.FirstTime`` and ``LastTime``)."""

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
"""A SELECT, to be put into a FROM, and its parameters, whose names begin with ``of_`` where nothing else is said."""


Ask = Callable[[str, Mapping[str, object]], list[dict[str, Any]]]
"""Runs a small SELECT of ours, values as ``$name``; its rows by column, times naive UTC."""


class LogReader(ABC):
    """Read side, safe from any thread: each call works on a cursor of its own inside a read-only transaction."""

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
        """Spans of those of ``run_ids`` that have events."""

    @abstractmethod
    def table(self, name: str) -> str:
        """What stands in a FROM for a table of model.columns, where the query gives its name to something else."""

    @abstractmethod
    def rows_of(self, after: int, hi: int) -> Rows:
        """The rows of RunStatusChanged that commits in (``after``, ``hi``] brought. The parameters are $lo and $hi."""

    @abstractmethod
    def runs_touched(self, after: int, hi: int) -> Rows:
        """The rows of Runs that commits in (``after``, ``hi``] touched, and none later."""

    @abstractmethod
    def runs_of(self, run_ids: Collection[str]) -> Rows:
        """The rows of Runs of these runs, with its columns; to read a few is not to look through all."""

    @abstractmethod
    def runs_of_jobs(self, job_keys: Collection[str]) -> Rows:
        """The rows of Runs with these JobKeys, with its columns."""

    @abstractmethod
    def runs_as_of(self, seq: int) -> Rows:
        """All rows of Runs as of commit ``seq``, with its columns. Of a heartbeat that was not stored nothing is known; of
        runs of which only heartbeats had come, Source is ''.
        """

    @abstractmethod
    def recent_runs(self, after: int, hi: int) -> Mapping[str, Touched] | None:
        """Runs that commits in (``after``, ``hi``] touched, by RunId, where memory still knows all of them; else
        None.
        """

    @abstractmethod
    def recent_rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        """What ``rows_of`` would give, where memory still knows all of it; else None."""

    @abstractmethod
    def schema(self) -> Mapping[str, Mapping[str, str]]:
        """Table name → column name → KQL type, reference tables included."""


class LogStore(LogReader):
    """The whole store. One instance a process owns the file; every write goes through one thread at a time."""

    @abstractmethod
    def asking(self, limits: Limits) -> AbstractContextManager[Ask]:
        """Within the block a few small SELECTs of ours can be asked, of at most ``limits.rows`` rows each, in
        ``limits.seconds`` together. Raises what ``select`` does.
        """

    @property
    @abstractmethod
    def pair_id(self) -> str:
        """Identity shared with the state store that belongs to it; made with the store."""

    @abstractmethod
    def set_pair_id(self, pair_id: str) -> None:
        """Take over another pair id (``--adopt``)."""

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
        """Note that intake starts for consumer ``name``; returns what was known, before ``last_alive`` is moved."""

    @abstractmethod
    def alive(self, names: Iterable[str], now: datetime) -> None:
        """Note that intake is up for these consumers. Takes no CommitSeq."""

    @abstractmethod
    def append_mirror(
        self,
        upto: int,
        alerts: Sequence[Mapping[str, object]],
        notes: Sequence[Mapping[str, object]],
        actions: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Append rows of Alerts, Notifications and Actions (columns by name) and set the mirror sequence to ``upto``,
        at once.

        Takes no CommitSeq. A call with ``upto`` not beyond ``mirror_seq`` does nothing.
        """

    @property
    @abstractmethod
    def mirror_seq(self) -> int:
        """Up to which row of the state's mirror log Alerts, Notifications and Actions are written; 0 at first."""

    @abstractmethod
    def set_table(self, name: str, table: pa.Table) -> None:
        """Replace (or make) a reference table in one commit. Raises StoreError where ``name`` is one of ours."""

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
        """Set ReplayedAt."""

    @abstractmethod
    def retain(self, now: datetime, keep: Mapping[str, timedelta]) -> Mapping[str, int]:
        """Delete what is older than ``keep`` (by table name) as SEMANTICS.md's Retention says; rows deleted by table."""

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
        """Nothing waits to be written: write the WAL into the file if it has grown by a quarter of what is borne, so
        that it need not be done when somebody waits. Raises StoreLost, StoreError.
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

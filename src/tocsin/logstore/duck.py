"""The log store in one DuckDB file (or in memory, for tests of rules)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from tocsin.clock import EPOCH, Clock
from tocsin.config.fileid import file_id
from tocsin.config.yaml.sizes import parse_size
from tocsin.errors import StoreError, StoreFull, StoreGone, StoreLost
from tocsin.logstore import upkeep
from tocsin.logstore.dead_letters import find_dead
from tocsin.logstore.ingest.batch import AppendBatch, flatten
from tocsin.logstore.ingest.bisect import MAX_REFUSED, find_offenders
from tocsin.logstore.ingest.commit import Written, write
from tocsin.logstore.ingest.durable import COMMITS, NewestCommits, Sequencer, commits_in, read_known
from tocsin.logstore.ingest.open import (
    DEFAULT_MEMORY,
    NO_BOUND,
    Memory,
    Settings,
    bytes_on_disk,
    grew,
    lost_on_fatal,
    open_instance,
    row_groups,
    transaction,
)
from tocsin.logstore.ingest.staging import Staging
from tocsin.logstore.interface import (
    Ask,
    CommitInfo,
    ConsumerInfo,
    Head,
    Limits,
    LogStore,
    Rows,
    RunSpan,
    StoredDeadLetter,
    StoredRow,
    Touched,
)
from tocsin.logstore.query.as_of import rows_of_jobs, rows_of_runs, runs_as_of
from tocsin.logstore.query.select import Reader
from tocsin.logstore.query.tables import append_rows, check_name, reference_schema, replace_table
from tocsin.logstore.recent.changes import RecentChanges
from tocsin.logstore.upkeep import copy_durably, header, write_parquet
from tocsin.metrics.registry import Metrics
from tocsin.model import crash
from tocsin.model.columns import TABLES
from tocsin.model.event import Batch, Commit

_COMMITS = "CommitSeq > $lo AND CommitSeq <= $hi"
EXPORT_ROWS = 20_000
"""Rows of an export that are in memory at once; a row group of its files."""
_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between attempts of a commit for which there was no memory: a query that took too much of it is ended
within some hundredths.
"""


class DuckLogStore(LogStore):
    """See ``LogStore``. Writes go through one connection under one lock; reads through a cursor of each thread."""

    def __init__(self, settings: Settings, *, clock: Clock, reserve: int, metrics: Metrics | None = None) -> None:
        self._settings, self._clock, self._reserve, self._metrics = settings, clock, reserve, metrics
        self._write = threading.RLock()
        self._copying = threading.Lock()
        self._lost = ""
        self._closed = False
        self._fence = EPOCH
        self._pair_id = ""
        self._mirror_seq = 0
        self._start()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        clock: Clock,
        memory: Memory = DEFAULT_MEMORY,
        checkpoint_threshold: int = 128 << 20,
        reserve: int | None = None,
        max_clock_skew: timedelta = NO_BOUND,
        metrics: Metrics | None = None,
    ) -> DuckLogStore:
        """Open the file at ``path``, made if absent; None: in memory.

        ``checkpoint_threshold`` and ``reserve`` are bytes; the reserve of free disk space is the larger of 256 MiB and
        twice the threshold where not given; ``max_clock_skew`` is the setting of that name. Raises StoreError where the file cannot be opened.
        """
        settings = Settings(
            path=path,
            memory=memory,
            checkpoint_threshold=checkpoint_threshold,
            max_clock_skew=max_clock_skew,
        )
        if reserve is None:
            reserve = max(256 << 20, 2 * checkpoint_threshold)
        return cls(settings, clock=clock, reserve=reserve, metrics=metrics)

    def _start(self) -> None:
        staging = open_instance(self._settings)
        con = staging.con
        try:
            self._row_groups = row_groups(con)
            self._known = read_known(con, self._clock.now())
            ((self._pair_id, self._mirror_seq),) = con.execute("SELECT pair_id, mirror_seq FROM tocsin.meta").fetchall()
            self._references = reference_schema(con)
        except BaseException:
            con.close()
            raise
        self._staging, self._con = staging, con
        self._file = None if self._settings.path is None else file_id(self._settings.path)
        self._newest = NewestCommits(self._known.seq)
        self._recent = RecentChanges(self._known.seq)
        self._reader = Reader(con, self._clock, parse_size(self._settings.memory.limit))
        self._sequencer = Sequencer(self._clock, max(self._known.ingested_at, self._fence))
        self._head = Head(seq=self._known.seq, ingested_at=self._known.ingested_at)
        self._lost = ""

    def reopen(self) -> Head:
        with self._write:
            if not self._reader.close():
                self._lost = "a query that cannot be interrupted still holds the event store"
                raise StoreLost(self._lost)
            self._closed = False
            self._start()
            return self._head

    def close(self) -> None:
        with self._copying, self._write:  # closing is a checkpoint
            if not self._closed:
                self._closed = True
                self._reader.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The writer's connection, alone. A store that was found lost stays so until ``reopen``."""
        with self._write:
            if self._closed:
                raise StoreError("the event store is closed")
            if self._lost:
                raise StoreLost(self._lost)
            try:
                yield self._con
            except StoreLost as e:
                self._lost = str(e)
                raise
            except duckdb.Error as e:
                raise StoreError(str(e)) from e

    def _transaction(self, con: duckdb.DuckDBPyConnection) -> contextlib.AbstractContextManager[None]:
        return transaction(con, self._reader.room)

    def append(self, batches: Sequence[Batch]) -> Commit:
        with self._writing():
            self._check_space()
            append_batch = flatten(batches, self._known.positions, self._settings.max_clock_skew)
            refused: dict[int, str] = {}
            pauses = iter(_PAUSES)
            while True:
                try:
                    written = self._commit(self._staging, append_batch, refused)
                    break
                except duckdb.OutOfMemoryException as e:
                    pause = next(pauses, None)
                    if pause is None:
                        kind = StoreLost if grew(self._con, self._row_groups) else StoreError
                        raise kind(f"the commit does not fit into memory: {e}") from e
                    self._reader.make_room()
                    threading.Event().wait(pause)
                except (duckdb.DataError, duckdb.InvalidInputException) as e:
                    tried, append_batch.bulk = append_batch.bulk, True
                    found = find_offenders(self._staging, append_batch, self._known, refused)
                    if (tried and not found) or len(refused) + len(found) > MAX_REFUSED:
                        raise StoreError(f"the store refused the commit: {e}") from e
                    refused |= found
        self._count(written)
        self._checkpoint_at(self._settings.checkpoint_threshold)
        return written.commit

    def _commit(self, staging: Staging, append_batch: AppendBatch, refused: Mapping[int, str]) -> Written:
        written: Written | None = None
        try:
            with self._transaction(staging.con):
                written = write(staging, append_batch, self._known, self._sequencer, refused)
        except BaseException:
            self._sequencer.done()
            raise
        assert written is not None
        self._known = written.known
        written.note()
        if written.info is not None:
            self._recent.add(written.info.seq, written.brought)
            self._newest.add(written.info)
        self._sequencer.done(self._publish)
        return written

    def _publish(self) -> None:
        self._head = Head(seq=self._known.seq, ingested_at=self._known.ingested_at)

    def _check_space(self) -> None:
        if self._settings.path is None:
            return
        if file_id(self._settings.path) != self._file:
            raise StoreGone(f"{self._settings.path.name} was deleted or replaced; stop tocsin and bring it back")
        disk = os.statvfs(self._settings.path.parent)
        free = disk.f_bavail * disk.f_frsize
        if free < self._reserve:
            raise StoreFull(f"{free >> 20} MiB are free, the reserve is {self._reserve >> 20} MiB")

    def _count(self, written: Written) -> None:
        if self._metrics is not None:
            for consumer, n in written.unknown_status.items():
                self._metrics.inc("tocsin_intake_unknown_status_total", n, consumer=consumer)
            for consumer, n in written.ahead.items():
                self._metrics.inc("tocsin_intake_clock_skew_total", n, consumer=consumer)

    def _checkpoint_at(self, size: int) -> None:
        path = self._settings.path
        try:
            due = path is not None and os.stat(f"{path}.wal").st_size >= size
        except FileNotFoundError:
            return
        if due and self._copying.acquire(blocking=False):  # while the file is copied no checkpoint may change it
            # What was committed is durable. Beside another transaction DuckDB refuses; then the checkpoint comes later.
            try:
                with self._writing(), contextlib.suppress(duckdb.TransactionException):
                    self._checkpoint()
            finally:
                self._copying.release()

    def rest(self) -> None:
        self._checkpoint_at(self._settings.checkpoint_threshold // 4)

    def _checkpoint(self) -> None:
        with lost_on_fatal(), crash.inside("in_checkpoint"):
            self._con.execute("CHECKPOINT")

    def checkpoint(self) -> None:
        with self._copying, self._writing():
            self._checkpoint()

    def backup(self, target: Path, before: Callable[[], None]) -> Head:
        """See ``LogStore.backup``.

        Between two checkpoints the file's used blocks stand still: commits go to its WAL, large ones to free blocks
        besides. So the WAL is copied while nobody writes, and the file, which may be large, while commits go on.
        """
        path = self._settings.path
        if path is None:
            raise StoreError("a store in memory has no file to copy")
        with self._copying:
            with self._writing():
                before()
                head, checkpointed = self._head, header(path)
                wal = Path(f"{path}.wal")
                if wal.exists():
                    copy_durably(wal, Path(f"{target}.wal"))
            copy_durably(path, target)
            if header(path) != checkpointed:
                raise StoreError("a checkpoint came while the file was copied: this is no backup; make another")
        return head

    def fence(self, at: datetime) -> Head:
        self._fence = max(self._fence, at)
        self._sequencer.fence(at)
        return self._head

    @property
    def pair_id(self) -> str:
        return self._pair_id

    def set_pair_id(self, pair_id: str) -> None:
        with self._writing() as con:
            with self._transaction(con):
                con.execute("UPDATE tocsin.meta SET pair_id = $pair", {"pair": pair_id})
            self._pair_id = pair_id

    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        positions = self._known.positions
        return {part: at for (c, t, part), at in positions.items() if (c, t) == (cluster, topic_id)}

    def topic_ids(self, cluster: str, topic: str) -> Sequence[str]:
        rows = self._reader.rows(
            "SELECT topic_id FROM tocsin.positions WHERE cluster = $cluster AND topic = $topic GROUP BY topic_id ORDER BY min(made)",
            {"cluster": cluster, "topic": topic},
        )
        return [str(row[0]) for row in rows]

    def start_consumer(self, name: str, now: datetime) -> ConsumerInfo:
        with self._writing() as con, self._transaction(con):
            rows = con.execute(
                "SELECT first_start, last_alive FROM tocsin.consumers WHERE name = $name", {"name": name}
            ).fetchall()
            if not rows:
                con.execute("INSERT INTO tocsin.consumers VALUES ($name, $now, $now)", {"name": name, "now": _utc(now)})
                return ConsumerInfo(name=name, first_start=now, last_alive=now)
            ((first, last),) = rows
            self._alive(con, [name], now)
        return ConsumerInfo(name=name, first_start=first.replace(tzinfo=UTC), last_alive=last.replace(tzinfo=UTC))

    def alive(self, names: Iterable[str], now: datetime) -> None:
        known = list(names)
        if known:
            with self._writing() as con, self._transaction(con):
                self._alive(con, known, now)

    @staticmethod
    def _alive(con: duckdb.DuckDBPyConnection, names: list[str], now: datetime) -> None:
        con.execute(
            "UPDATE tocsin.consumers SET last_alive = $now WHERE last_alive < $now AND list_contains($names, name)",
            {"names": names, "now": _utc(now)},
        )

    def append_mirror(
        self,
        upto: int,
        alerts: Sequence[Mapping[str, object]],
        notes: Sequence[Mapping[str, object]],
        actions: Sequence[Mapping[str, object]] = (),
    ) -> None:
        with self._writing() as con:
            if upto <= self._mirror_seq:
                return
            with self._transaction(con):
                append_rows(con, "Alerts", alerts)
                append_rows(con, "Notifications", notes)
                append_rows(con, "Actions", actions)
                con.execute("UPDATE tocsin.meta SET mirror_seq = $upto", {"upto": upto})
            self._mirror_seq = upto

    @property
    def mirror_seq(self) -> int:
        return self._mirror_seq

    def set_table(self, name: str, table: pa.Table) -> None:
        with self._writing() as con:
            with self._transaction(con):
                replace_table(con, name, table)
            self._references = reference_schema(con)

    def drop_table(self, name: str) -> None:
        check_name(name)
        with self._writing() as con:
            with self._transaction(con):
                con.execute(f'DROP TABLE IF EXISTS main."{name}"')
            self._references = reference_schema(con)

    def mark_replayed(self, ids: Sequence[int], at: datetime) -> None:
        if ids:
            with self._writing() as con, self._transaction(con):
                con.execute(
                    "UPDATE tocsin.dead_letters SET ReplayedAt = $at WHERE list_contains($ids, id)",
                    {"at": _utc(at), "ids": list(ids)},
                )

    def retain(self, now: datetime, keep: Mapping[str, timedelta]) -> Mapping[str, int]:
        with self._copying, self._writing() as con:
            return upkeep.retain(con, now, keep, self._transaction)

    def head(self) -> Head:
        return self._head

    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        remembered = self._newest.after(after, limit)
        if remembered is not None:
            return remembered
        return commits_in(self._reader.select(COMMITS, {"after": after, "limit": limit}, None))

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        return self._reader.select(sql, params, limits)

    def asking(self, limits: Limits) -> contextlib.AbstractContextManager[Ask]:
        return self._reader.asking(limits)

    def spans(self, run_ids: Iterable[str]) -> Mapping[str, RunSpan]:
        ids = list(run_ids)
        if not ids:
            return {}
        runs_sql, params = self.runs_of(ids)
        rows = self._reader.select(
            f"SELECT RunId, FirstTime, LastTime FROM ({runs_sql}) WHERE FirstTime IS NOT NULL", params, None
        ).to_pylist()
        return {
            r["RunId"]: RunSpan(
                run_id=r["RunId"], first=r["FirstTime"].replace(tzinfo=UTC), last=r["LastTime"].replace(tzinfo=UTC)
            )
            for r in rows
        }

    def table(self, name: str) -> str:
        return f'main."{name}"'

    def rows_of(self, after: int, hi: int) -> Rows:
        return f"SELECT * FROM RunStatusChanged WHERE {_COMMITS}", {"lo": after, "hi": hi}

    def runs_touched(self, after: int, hi: int) -> Rows:
        return f"SELECT * FROM Runs WHERE {_COMMITS}", {"lo": after, "hi": hi}

    def runs_of(self, run_ids: Collection[str]) -> Rows:
        return rows_of_runs(run_ids, self._known.runs.since(run_ids))

    def runs_of_jobs(self, job_keys: Collection[str]) -> Rows:
        return rows_of_jobs(job_keys)

    def runs_as_of(self, seq: int) -> Rows:
        return runs_as_of(seq, head=self._head.seq, table=self.table)

    def recent_runs(self, after: int, hi: int) -> Mapping[str, Touched] | None:
        return self._recent.runs(after, hi)

    def recent_rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        return self._recent.rows(after, hi)

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        ours = {name: {c.name: c.type.value for c in columns} for name, columns in TABLES.items()}
        return ours | self._references

    def dead_letters(
        self, *, consumer: str = "", ids: Sequence[int] = (), unreplayed: bool = True, limit: int = 1000
    ) -> Sequence[StoredDeadLetter]:
        with self._writing() as con:
            return find_dead(con, consumer=consumer, ids=ids, unreplayed=unreplayed, limit=limit)

    def export(self, tables: Collection[str], directory: Path) -> Mapping[str, int]:
        wanted = {name: self.schema()[name] for name in tables}
        with self._reader.snapshot(EXPORT_ROWS) as read:
            return write_parquet(read, wanted, directory)

    def size(self) -> int:
        return bytes_on_disk(self._settings)


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)

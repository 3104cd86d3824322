"""Upkeep of the store's file: retention, compaction, backup and export.

Retention (SEMANTICS.md) deletes what is old by day; open runs keep their last row. Compaction rewrites the file without
the free space that deleting left. A copy outlives a crash of the machine. The export is Parquet, for tools that read neither
DuckDB nor our API.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tocsin.errors import StoreError
from tocsin.logstore.ddl import quoted
from tocsin.logstore.ingest.dedupe import forget_recent
from tocsin.logstore.ingest.open import FILE_VERSION
from tocsin.logstore.sqlfiles import sql

DEAD_BYTES = 1 << 30
"""Bytes of dead letters that are kept; beyond it the oldest go first."""

_COLUMN = {
    "RunStatusChanged": "TimeGenerated",
    "Heartbeats": "ReceivedAt",
    "RunMetrics": "Time",
    "Alerts": "Time",
    "Notifications": "Time",
    "Actions": "Time",
    "DeadLetters": "Time",
}


def retain(
    con: duckdb.DuckDBPyConnection,
    now: datetime,
    keep: Mapping[str, timedelta],
    transaction: Callable[[duckdb.DuckDBPyConnection], AbstractContextManager[None]],
) -> dict[str, int]:
    """Delete what is older than ``keep`` says, whole days only; rows deleted by table. Each table is one
    ``transaction``.
    """
    deleted: dict[str, int] = {}
    for table, age in keep.items():
        if table not in _COLUMN:
            continue
        day = (now - age).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        with transaction(con):
            if table == "RunStatusChanged":
                deleted[table] = _count(con, sql("retain_rows"), {"before": day})
                deleted["Runs"] = _count(con, sql("retain_runs"), {"before": day})
                con.execute(sql("retain_commits"), {"before": day})
                con.execute("DELETE FROM tocsin.run_updates WHERE RunId NOT IN (SELECT RunId FROM tocsin.runs)")
            else:
                name = "tocsin.dead_letters" if table == "DeadLetters" else table
                deleted[table] = _count(con, f"DELETE FROM {name} WHERE {_COLUMN[table]} < $before", {"before": day})
                if table == "DeadLetters":
                    deleted[table] += _count(con, sql("retain_dead_bytes"), {"most": DEAD_BYTES})
    with transaction(con):
        forget_recent(con, now.replace(tzinfo=None))
    return deleted


def _count(con: duckdb.DuckDBPyConnection, statement: str, params: Mapping[str, object]) -> int:
    ((n,),) = con.execute(statement, dict(params)).fetchall()
    return int(n)


def compact_file(path: Path) -> tuple[int, int]:
    """Rewrite the file at ``path``, which nobody has open; bytes before and after.

    The new file takes the place of the old one in one step, so a crash leaves one of them whole. Raises StoreError;
    then the old one stays.
    """
    fresh = path.with_name(path.name + ".compact")
    fresh.unlink(missing_ok=True)
    before = path.stat().st_size
    try:
        with duckdb.connect(":memory:") as con:
            con.execute(f"ATTACH {_quoted(path)} AS old")
            con.execute("CHECKPOINT old")
            con.execute(f"ATTACH {_quoted(fresh)} AS fresh (STORAGE_VERSION '{FILE_VERSION}', BLOCK_SIZE 262144)")
            con.execute("COPY FROM DATABASE old TO fresh")
            con.execute("CHECKPOINT fresh")
    except duckdb.Error as e:
        fresh.unlink(missing_ok=True)
        raise StoreError(f"{path} could not be rewritten: {e}") from e
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(fresh, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return before, path.stat().st_size


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def copy_durably(source: Path, target: Path) -> None:
    """Copy ``source`` to ``target``, made new, and flush it to the disk. Raises StoreError."""
    try:
        with source.open("rb") as reading, target.open("xb") as writing:
            os.chmod(target, 0o600)
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fsync(writing.fileno())
    except OSError as e:
        raise StoreError(f"{source} cannot be copied to {target}: {e.strerror}") from e


def header(path: Path) -> bytes:
    """The blocks of a DuckDB file that each checkpoint changes."""
    with path.open("rb") as file:
        return file.read(3 * 4096)


_UTC = pa.timestamp("us", "UTC")


def write_parquet(
    read: Callable[[str], pa.RecordBatchReader], tables: Iterable[str], directory: Path
) -> dict[str, int]:
    """Write each of ``tables`` to a file of its name in ``directory``; returns the rows of each.

    A file is renamed into place when it is whole, over an older one. Raises StoreError where it cannot be written.
    """
    return {table: _write(read(f"SELECT * FROM {quoted(table)}"), directory / f"{table}.parquet") for table in tables}


def _write(rows: pa.RecordBatchReader, target: Path) -> int:
    schema = pa.schema([_plain(field) for field in rows.schema])
    part, count = target.with_suffix(".part"), 0
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in rows:
                writer.write_batch(batch.cast(schema))
                count += batch.num_rows
        os.replace(part, target)
    except OSError as e:
        raise StoreError(f"{target} cannot be written: {e.strerror or e}") from e
    finally:
        part.unlink(missing_ok=True)
    return count


def _plain(field: pa.Field) -> pa.Field:
    """The store keeps times in UTC without saying so; JSON and ids are text to any reader."""
    if pa.types.is_timestamp(field.type):
        return field.with_type(_UTC)
    if isinstance(field.type, pa.ExtensionType):
        return field.with_type(field.type.storage_type)
    return field

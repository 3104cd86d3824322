"""Tables as Parquet files, for tools that read neither DuckDB nor our API."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tocsin.errors import StoreError
from tocsin.logstore.ddl import quoted

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

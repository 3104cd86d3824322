"""Alerts, Notifications and Actions: the mirror of what the state has notified, and of what people did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from tocsin.errors import StoreError
from tocsin.logstore.ddl import quoted
from tocsin.model.columns import TABLES, Column, KqlType

ARROW: Mapping[KqlType, pa.DataType] = {
    KqlType.STRING: pa.string(),
    KqlType.DATETIME: pa.timestamp("us"),
    KqlType.LONG: pa.int64(),
    KqlType.INT: pa.int32(),
    KqlType.REAL: pa.float64(),
    KqlType.BOOL: pa.bool_(),
    KqlType.DYNAMIC: pa.string(),
}


def append_rows(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Append ``rows`` (values by column; absent ones are '' or null). Raises StoreError for an unknown column."""
    if not rows:
        return
    columns = TABLES[table]
    known = {c.name for c in columns}
    for row in rows:
        if unknown := row.keys() - known:
            raise StoreError(f"{table} has no column {', '.join(sorted(unknown))}")
    arrays = [pa.array([_value(row.get(c.name), c) for row in rows], ARROW[c.type]) for c in columns]
    con.register("mirrored", pa.Table.from_arrays(arrays, [c.name for c in columns]))
    try:
        con.execute(f"INSERT INTO {quoted(table)} BY NAME FROM mirrored")
    finally:
        con.unregister("mirrored")


def _value(value: Any, column: Column) -> object:
    if column.type is KqlType.STRING:
        return "" if value is None else str(value).encode("utf-8", "replace").decode()
    if value is None:
        return "{}" if column.type is KqlType.DYNAMIC else None
    if column.type is KqlType.DYNAMIC:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    if column.type is KqlType.DATETIME:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        assert isinstance(value, datetime)
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    return value

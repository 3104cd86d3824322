"""Tables that come in through Arrow: reference tables, each replaced in one commit, and the mirror.

Alerts, Notifications and Actions are the mirror of what the state has notified, and of what people did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from tocsin.errors import StoreError
from tocsin.logstore.ddl import quoted
from tocsin.model.columns import TABLES, Column, KqlType

_NAME = re.compile(r"[A-Za-z_]\w*")
_OURS = frozenset(name.lower() for name in TABLES)
_KQL = {
    "VARCHAR": "string",
    "TIMESTAMP": "datetime",
    "TIMESTAMP WITH TIME ZONE": "datetime",
    "DATE": "datetime",
    "BIGINT": "long",
    "INTEGER": "int",
    "SMALLINT": "int",
    "TINYINT": "int",
    "UBIGINT": "long",
    "UINTEGER": "long",
    "DOUBLE": "real",
    "FLOAT": "real",
    "BOOLEAN": "bool",
    "JSON": "dynamic",
}


def check_name(name: str) -> None:
    """Raises StoreError where a reference table cannot be called ``name``."""
    if name.lower() in _OURS:
        raise StoreError(f"{name} is one of tocsin's own tables")
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no name for a table: use letters, digits and _")


def replace_table(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Make the table ``name``, or replace it, inside the open transaction."""
    check_name(name)
    con.register("reference", table)
    try:
        con.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
        con.execute(f"CREATE TABLE main.{quoted(name)} AS FROM reference")
    finally:
        con.unregister("reference")


def reference_schema(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Reference tables: name → column → KQL type. What KQL has no type for counts as dynamic."""
    found: dict[str, dict[str, str]] = {}
    tables = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' AND NOT internal AND NOT temporary"
    ).fetchall()
    if all(name.lower() in _OURS for (name,) in tables):
        return found  # as in most projects: to list all columns takes five times as long
    rows = con.execute(
        """
        SELECT table_name, column_name, data_type FROM duckdb_columns()
        WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal
        ORDER BY table_name, column_index
        """
    ).fetchall()
    for table, column, kind in rows:
        if table.lower() not in _OURS:
            found.setdefault(table, {})[column] = _KQL.get(kind, "real" if kind.startswith("DECIMAL") else "dynamic")
    return found


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

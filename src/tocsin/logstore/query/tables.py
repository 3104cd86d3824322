"""Reference tables: they come in through Arrow, into real tables, replaced in one commit."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from tocsin.errors import StoreError
from tocsin.logstore.ddl import quoted
from tocsin.model.columns import TABLES

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

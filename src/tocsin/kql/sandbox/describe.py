"""What DuckDB says of a statement before anything is stored: its columns, or why it does not bind.

An in-memory DuckDB with empty tables of the schema; it holds no rows, sees no files, and is used for nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

import duckdb

from tocsin.kql.schema import KQL_TYPES, Schema
from tocsin.logstore.query.refusals import refusal
from tocsin.model.columns import as_kql

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "128MiB",
    "threads": 1,
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


_DESCRIBE = "DESCRIBE "


class Describer:
    """DuckDB with the empty tables of one schema. Safe to share between threads."""

    def __init__(self, schema: Schema) -> None:
        self._lock = Lock()
        self._connection = duckdb.connect(":memory:", config=_CONFIG)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET errors_as_json = true")  # with the place in the statement
        for name, columns in schema.items():
            listed = ", ".join(f"{quoted(column)} {KQL_TYPES[kind]}" for column, kind in columns.items())
            self._connection.execute(f"CREATE TABLE {quoted(name)} ({listed})")
        self._connection.execute("SET lock_configuration = true")

    def columns(self, sql: str, parameters: Mapping[str, object], *, own: str = "", before: int = 0) -> dict[str, str]:
        """Output columns of ``sql`` -> KQL type. Raises ``QueryError`` where it does not bind, with its place in
        ``own``, the SQL that its author wrote, which stands in ``sql`` behind ``before`` characters.
        """
        with self._lock:
            try:
                rows = self._connection.execute(f"{_DESCRIBE}{sql}", dict(parameters)).fetchall()
            except duckdb.Error as fault:
                raise refusal(str(fault), own, len(_DESCRIBE) + before) from fault
        return {str(row[0]): as_kql(str(row[1])) for row in rows}

    def parsed(self, sql: str) -> dict[str, Any]:
        """DuckDB's own parse tree of ``sql``; key ``error`` says whether it is one it serializes (SELECT only)."""
        with self._lock:
            row = self._connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        tree = json.loads(row[0]) if row else {}
        return dict(tree)


@lru_cache(maxsize=2)
def describer(schema: Schema) -> Describer:
    """The describer of a schema; the last two are kept, so that a reload costs nothing twice."""
    return Describer(schema)


@lru_cache(maxsize=512)
def regex_fault(pattern: str) -> str:
    """What is wrong with a regular expression (RE2, as in KQL); '' for a right one."""
    with _REGEX_LOCK:
        try:
            _regexes().execute("SELECT regexp_matches('', $pattern)", {"pattern": pattern})
        except duckdb.Error as fault:
            said = str(fault)
            return next((ours for theirs, ours in _REGEX_WORDS.items() if theirs in said), "it cannot be read")
    return ""


_REGEX_WORDS = {
    "invalid perl operator": "it looks ahead or behind or has a flag or name that is not supported; match the whole, and extract() a group",
    "missing )": "a round bracket is not closed",
    "missing ]": "a square bracket is not closed",
    "unexpected )": "a round bracket is closed that was not opened",
    "no argument for repetition": "nothing stands before a *, + or ?",
    "bad repetition": "two repetitions follow each other",
    "invalid escape": "an escape that is not known stands in it",
    "invalid character class": "a range of characters is the wrong way round",
    "trailing": "it ends with a backslash",
    "invalid UTF": "it is no text",
    "invalid repetition size": "it repeats too often",
    "invalid named capture": "a named group is wrong: (?P<name>…)",
}
"""What RE2 says -> in our words."""


_REGEX_LOCK = Lock()


@lru_cache(maxsize=1)
def _regexes() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config=_CONFIG)


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

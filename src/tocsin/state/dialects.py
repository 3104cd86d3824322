"""What differs between the databases that may hold the state: statements, rows in bulk, and what a refusal means."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, FromClause, Table, Text, bindparam, column, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.dml import UpdateBase

from tocsin.errors import StoreError

Convert = Callable[[Any], Any] | None


class Bulk:
    """One INSERT, UPDATE or DELETE, compiled once, when it is first needed; executed for a list of rows.

    ``names`` are the parameters that every row brings.
    """

    def __init__(self, statement: UpdateBase, names: Sequence[str], dialect: Dialect) -> None:
        self._statement, self._names, self._dialect = statement, names, dialect

    @cached_property
    def _compiled(self) -> tuple[str, bool, list[tuple[str, Convert]]]:
        """The text, whether its parameters are positional, and what each row's values become."""
        compiled: Any = self._statement.compile(dialect=self._dialect, column_keys=self._names)
        order: Sequence[str] = compiled.positiontup or list(compiled.binds)
        plan = [(n, compiled.binds[n].type.bind_processor(self._dialect)) for n in order]
        return str(compiled), compiled.positiontup is not None, plan

    def run(self, tx: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Execute for each of ``rows``; nothing where there is none."""
        if not rows:
            return
        sql, positional, plan = self._compiled
        if positional:
            ready: list[Any] = [tuple([f(row[n]) if f else row[n] for n, f in plan]) for row in rows]
        else:
            ready = [{n: f(row[n]) if f else row[n] for n, f in plan} for row in rows]
        tx.exec_driver_sql(sql, ready)


class SqlDialect(ABC):
    """Statements that Core does not write the same for every database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def bulk(self, statement: UpdateBase, names: Sequence[str]) -> Bulk:
        """``statement`` for many rows, each with the parameters ``names``."""
        return Bulk(statement, names, self._dialect)

    def insert_new(self, table: Table, key: Sequence[str], *, without: Sequence[str] = ()) -> Bulk:
        """INSERT that leaves rows alone whose ``key`` is there. The database fills the columns ``without``."""
        return self.bulk(self._insert_new(table, key), [c.name for c in table.columns if c.name not in without])

    def upsert(self, table: Table, key: Sequence[str], *, only: Sequence[str] = ()) -> Bulk:
        """INSERT that replaces the other columns of rows whose ``key`` is there; ``only`` these, where given."""
        replaced = only or [c.name for c in table.columns if c.name not in key]
        return self.bulk(self._upsert(table, key, replaced), [c.name for c in table.columns])

    @abstractmethod
    def _insert_new(self, table: Table, key: Sequence[str]) -> UpdateBase:
        """The statement of ``insert_new``."""

    @abstractmethod
    def _upsert(self, table: Table, key: Sequence[str], replaced: Sequence[str]) -> UpdateBase:
        """The statement of ``upsert`` that replaces the columns ``replaced``."""

    @abstractmethod
    def texts(self, name: str) -> FromClause:
        """A table with one column ``value``: the texts of the parameter ``name``, whose value comes from ``pack``."""

    @abstractmethod
    def pack(self, values: Sequence[str]) -> object:
        """``values`` as the parameter of ``texts``: one parameter, however many they are."""


class Sqlite(SqlDialect):
    """SQLite 3.35 and later."""

    def _insert_new(self, table: Table, key: Sequence[str]) -> UpdateBase:
        return sqlite.insert(table).on_conflict_do_nothing(index_elements=key)

    def _upsert(self, table: Table, key: Sequence[str], replaced: Sequence[str]) -> UpdateBase:
        new = sqlite.insert(table)
        return new.on_conflict_do_update(index_elements=key, set_={name: new.excluded[name] for name in replaced})

    def texts(self, name: str) -> FromClause:
        return func.json_each(bindparam(name, type_=Text)).table_valued(column("value", Text), name="given")

    def pack(self, values: Sequence[str]) -> object:
        return msgspec.json.encode(values).decode("utf-8")


_SQLITE = {
    "SQLITE_FULL": "the disk is full; make room, nothing was lost",
    "SQLITE_BUSY": "it is locked by another program; is a second tocsin, a backup or a shell working on it?",
    "SQLITE_LOCKED": "it is locked by another connection",
    "SQLITE_CORRUPT": (
        "the file is damaged; stop tocsin, keep a copy, and restore a backup "
        "or move the file away and start with `tocsin up --adopt`"
    ),
    "SQLITE_NOTADB": "the file is no SQLite database",
    "SQLITE_CANTOPEN": "the file cannot be opened; does its directory exist, and may tocsin write there?",
    "SQLITE_READONLY": "the file is read-only for this user",
    "SQLITE_IOERR": "the disk failed to read or write",
    "SQLITE_NOMEM": "no memory is left",
}


def explain(error: SQLAlchemyError, where: str) -> StoreError:
    """The error to raise: which store, what is wrong, what to do, and the database's own words."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    words = str(cause if cause is not None else error)
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "") or ""
        for key, text in _SQLITE.items():
            if name.startswith(key):
                return StoreError(f"state store {where}: {text} ({words})")
    return StoreError(f"state store {where} refused: {words}")

"""What differs between the databases that may hold the state, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec
from sqlalchemy import Dialect, FromClause, Table, Text, bindparam, column, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import UpdateBase

from tocsin.state.bulk import Bulk


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

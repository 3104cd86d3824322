"""What differs between the databases that may hold the state, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, Table, Text, bindparam, column, func, select
from sqlalchemy.dialects import sqlite


class SqlDialect(ABC):
    """Statements that Core does not spell the same for every database."""

    @abstractmethod
    def insert_new(self, table: Table, key: Sequence[str]) -> Any:
        """INSERT that leaves rows alone whose ``key`` is there."""

    @abstractmethod
    def upsert(self, table: Table, key: Sequence[str]) -> Any:
        """INSERT that replaces the other columns of rows whose ``key`` is there."""

    @abstractmethod
    def texts(self, name: str) -> Select[tuple[str]]:
        """One column of texts out of the parameter ``name``; its value comes from ``pack``."""

    @abstractmethod
    def pack(self, values: Sequence[str]) -> object:
        """``values`` as the parameter of ``texts``: one parameter, however many they are."""


class Sqlite(SqlDialect):
    """SQLite 3.35 and later."""

    def insert_new(self, table: Table, key: Sequence[str]) -> Any:
        return sqlite.insert(table).on_conflict_do_nothing(index_elements=key)

    def upsert(self, table: Table, key: Sequence[str]) -> Any:
        new = sqlite.insert(table)
        return new.on_conflict_do_update(
            index_elements=key, set_={c.name: new.excluded[c.name] for c in table.columns if c.name not in key}
        )

    def texts(self, name: str) -> Select[tuple[str]]:
        each = func.json_each(bindparam(name, type_=Text)).table_valued(column("value", Text))
        return select(each.c.value)

    def pack(self, values: Sequence[str]) -> object:
        return msgspec.json.encode(values).decode("utf-8")

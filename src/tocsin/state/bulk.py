"""Statements for many rows. SQLAlchemy's own handling of parameters costs more than SQLite's work on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase

Convert = Callable[[Any], Any] | None


class Bulk:
    """One INSERT, UPDATE or DELETE, compiled once, executed for a list of rows.

    ``names`` are the parameters that every row brings.
    """

    def __init__(self, statement: UpdateBase, names: Sequence[str], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=names)
        self._sql = str(compiled)
        order: Sequence[str] = compiled.positiontup or list(compiled.binds)
        self._positional = compiled.positiontup is not None
        self._plan: list[tuple[str, Convert]] = [(n, compiled.binds[n].type.bind_processor(dialect)) for n in order]

    def run(self, tx: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Execute for each of ``rows``; nothing where there is none."""
        if not rows:
            return
        plan = self._plan
        if self._positional:
            ready: list[Any] = [tuple([f(row[n]) if f else row[n] for n, f in plan]) for row in rows]
        else:
            ready = [{n: f(row[n]) if f else row[n] for n, f in plan} for row in rows]
        tx.exec_driver_sql(self._sql, ready)

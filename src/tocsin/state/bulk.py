"""Statements for many rows. SQLAlchemy's own handling of parameters costs more than SQLite's work on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase

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

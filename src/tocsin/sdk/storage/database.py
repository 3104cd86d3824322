"""One SQLite file that many processes use: short transactions, patient waits, a fresh connection after a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds that a transaction waits for those of other processes."""
_abandoned: list[sqlite3.Connection] = []  # the parent's connections in a forked child: neither used nor closed there
_all: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """A file (or ``:memory:``) with the tables of ``schema``. Safe for threads, processes and forks.

    Every method raises sqlite3.Error where the disk fails, or other processes held the file longer than PATIENCE.
    """

    def __init__(self, path: Path | str, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        _all.add(self)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.path != ":memory:":
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            try:
                self._prepare(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not _made(connection):
            _write_ahead(connection)
            connection.execute("BEGIN IMMEDIATE")
            if not _made(connection):  # nobody was quicker
                for statement in self._schema.split(";\n"):
                    connection.execute(statement)
                connection.execute("PRAGMA user_version = 1")
            connection.execute("COMMIT")
        # A power cut may take the last transactions; the end of a process takes none.
        connection.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block or nothing. Blocks of one thread may nest."""
        with self._lock:
            connection = self._open()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                _give_up(connection)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._lock:
            return self._open().execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        with self._lock:
            row: tuple[Any, ...] | None = self._open().execute(sql, parameters).fetchone()
            return row

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        if self._connection is not None and self.path != ":memory:":
            _abandoned.append(self._connection)
            self._connection = None


def _give_up(connection: sqlite3.Connection) -> None:
    """End a transaction that was not committed; SQLite itself may have done so, where the disk is full."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _made(connection: sqlite3.Connection) -> bool:
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) > 0


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers and a writer beside each other. SQLite does not wait for the lock that this switch needs, so we do."""
    pause = threading.Event()
    for attempt in range(200):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if attempt == 199:
                raise
            pause.wait(0.01 + 0.02 * (os.getpid() % 7) / 7)


def _in_child() -> None:
    for database in list(_all):
        database._after_fork()


os.register_at_fork(after_in_child=_in_child)

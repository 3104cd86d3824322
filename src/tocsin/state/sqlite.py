"""The state in a SQLite file: WAL, every commit on the disk before it counts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from tocsin.clock import Clock
from tocsin.config.fileid import file_id
from tocsin.errors import StoreError
from tocsin.state.dialects import Sqlite
from tocsin.state.sql import WRITES, SqlState

_CONNECTIONS = 8
"""Readers at a time: the evaluator, the mirror, notify's threads, the web. More wait for a free one."""
_PAGE = 8192
"""Bytes of a page of a new file. Rows are a few KiB: with SQLite's 4096 a commit of 1,000 alerts costs a fifth more."""
_WAL_PAGES = 2000
"""Pages of the WAL before a commit writes them into the file: with SQLite's 1000 that of one large outcome would."""


class SqliteState(SqlState):
    """The default state store."""

    _path: Path | None = None
    _file: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path | None, *, clock: Clock, busy: timedelta = timedelta(seconds=10)) -> SqliteState:
        """Open, make or migrate the file at ``path``; None: in memory, for as long as it is open.

        ``busy`` is how long to wait for another program's lock. Raises StoreError where the file cannot be used.
        """
        where = str(path) if path is not None else "in memory"
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"state store {where}: its directory cannot be made ({error})") from error
        engine = _engine(path, busy, b"" if path is not None else _empty())
        made = cls(engine, Sqlite(engine.dialect), where, one_connection=path is None)
        made._path, made._file = path, None if path is None else file_id(path)
        return made

    def _gone(self) -> bool:
        return self._file is not None and self._path is not None and file_id(self._path) != self._file

    def backup(self, target: Path) -> None:
        if target.exists():
            raise StoreError(f"{target} exists already")
        try:
            with closing(self._engine.raw_connection()) as pooled, closing(sqlite3.connect(target)) as copy:
                connection = pooled.driver_connection
                assert isinstance(connection, sqlite3.Connection)
                connection.backup(copy)
            target.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"state store {self._where} cannot be copied to {target}: {error}") from error


@cache
def _empty() -> bytes:
    """A migrated store without a row, as SQLite's pages: one in memory is a copy, for a third of a migration's cost."""
    engine = _engine(None, timedelta(0), b"")
    state = SqliteState(engine, Sqlite(engine.dialect), "in memory", one_connection=True)
    connection = engine.raw_connection()
    image: bytes = connection.dbapi_connection.serialize()  # type: ignore[union-attr]
    connection.close()
    state.close()
    return image


def _engine(path: Path | None, busy: timedelta, image: bytes) -> Engine:
    """An engine over the file at ``path``, or over a copy in memory of ``image``."""
    seconds = busy.total_seconds()

    def connect() -> sqlite3.Connection:
        # isolation_level None: SQLAlchemy's own BEGIN below is the only one.
        c = sqlite3.connect(path or ":memory:", timeout=seconds, isolation_level=None, check_same_thread=False)
        try:
            if image:
                c.deserialize(image)
            c.execute("PRAGMA foreign_keys = ON")
            if path is not None:
                c.execute(f"PRAGMA page_size = {_PAGE}")
                c.execute("PRAGMA journal_mode = WAL")
                c.execute("PRAGMA synchronous = FULL")
                c.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        except BaseException:
            c.close()
            raise
        return c

    if path is None:
        engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    else:
        engine = create_engine(
            "sqlite://", creator=connect, poolclass=QueuePool, pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=60
        )

    @event.listens_for(engine, "begin")
    def begin(c: Connection) -> None:
        # A reader that turns writer may find the lock taken and its snapshot expired: writers lock first.
        c.exec_driver_sql("BEGIN IMMEDIATE" if c.get_execution_options().get(WRITES) else "BEGIN")

    return engine

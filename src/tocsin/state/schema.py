"""Brings a database to the newest revision. Alembic is only loaded where an older one is there: it takes half a second."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Connection, create_mock_engine, insert, inspect, make_url, text

from tocsin.errors import StoreError
from tocsin.state.tables import marks, metadata

HEAD = "0001"
"""The newest revision in ``migrations/versions``."""


def current(tx: Connection) -> str | None:
    """The revision of the database; None for an empty one."""
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(tx: Connection) -> None:
    """Make or migrate all tables inside the caller's transaction: all of it or nothing.

    Raises StoreError where a newer tocsin made the database.
    """
    match current(tx):
        case None:
            create(tx)
        case revision if revision != HEAD:
            migrate(tx)


def create(tx: Connection) -> None:
    """The tables of an empty database, as all migrations together make them."""
    for statement in _statements(tx.dialect.name):
        tx.exec_driver_sql(statement)
    tx.execute(insert(marks), {"id": 1, "pair_id": "", "row_cursor": 0, "timer_t": None, "mirror_seq": 0})
    tx.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    tx.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


@cache
def _statements(dialect: str) -> tuple[str, ...]:
    """The SQL of all tables and indexes, compiled once a process: compiling takes longer than SQLite then does."""
    url = make_url(f"{dialect}://")
    words, made = url.get_dialect()(), list[str]()
    metadata.create_all(
        create_mock_engine(url, lambda sql, *_: made.append(str(sql.compile(dialect=words)))), checkfirst=False
    )
    return tuple(made)


def migrate(tx: Connection) -> None:
    """Run the migrations that the database lacks, in the caller's transaction. Raises StoreError as ``upgrade``."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "tocsin.state:migrations")
    config.attributes["connection"] = tx
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"the state store is of revision {current(tx)}, which this tocsin does not know (it knows up to {HEAD}): "
            "a newer tocsin made it; run that one"
        ) from error

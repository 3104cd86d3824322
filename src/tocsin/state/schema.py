"""Brings a database to the newest revision. Alembic is only loaded where there is something to do."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from tocsin.errors import StoreError

HEAD = "0001"
"""The newest revision in ``migrations/versions``."""


def current(tx: Connection) -> str | None:
    """The revision of the database; None for an empty one."""
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(tx: Connection) -> None:
    """Migrate inside the caller's transaction: all of it or nothing.

    Raises StoreError where a newer tocsin made the database.
    """
    if current(tx) == HEAD:
        return
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

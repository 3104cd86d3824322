"""What a database's refusal means for a person."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tocsin.errors import StoreError

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

"""Rewrites a log store's file without the holes that deleting left."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from tocsin.errors import StoreError
from tocsin.logstore.ingest.open import FILE_VERSION


def compact_file(path: Path) -> tuple[int, int]:
    """Rewrite the file at ``path``, which nobody has open; bytes before and after.

    The new file takes the place of the old one in one step, so a crash leaves one of them whole. Raises StoreError;
    then the old one stays.
    """
    fresh = path.with_name(path.name + ".compact")
    fresh.unlink(missing_ok=True)
    before = path.stat().st_size
    try:
        with duckdb.connect(":memory:") as con:
            con.execute(f"ATTACH {_quoted(path)} AS old")
            con.execute("CHECKPOINT old")
            con.execute(f"ATTACH {_quoted(fresh)} AS fresh (STORAGE_VERSION '{FILE_VERSION}', BLOCK_SIZE 262144)")
            con.execute("COPY FROM DATABASE old TO fresh")
            con.execute("CHECKPOINT fresh")
    except duckdb.Error as e:
        fresh.unlink(missing_ok=True)
        raise StoreError(f"{path} could not be rewritten: {e}") from e
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(fresh, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return before, path.stat().st_size


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"

"""Tables of the log store as files for other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tocsin.errors import StoreError, TocsinError
from tocsin.logstore.interface import LogStore


def export_parquet(log: LogStore, directory: Path, tables: Sequence[str]) -> Mapping[str, int]:
    """Write ``tables``, all where none is named, into ``directory``, made if absent; the rows of each.

    Files of an earlier export are replaced, each when its successor is whole. Raises TocsinError for a table that is not
    there, StoreError where a file cannot be written.
    """
    known = log.schema()
    for name in tables:
        if name not in known:
            raise TocsinError(f"there is no table '{name[:100]}'; there are {', '.join(sorted(known))}")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise StoreError(f"{directory} cannot be made: {e.strerror}") from e
    return log.export(tables or list(known), directory)

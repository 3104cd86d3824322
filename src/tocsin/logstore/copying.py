"""Copies of files that outlive a crash of the machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tocsin.errors import StoreError


def copy_durably(source: Path, target: Path) -> None:
    """Copy ``source`` to ``target``, made new, and flush it to the disk. Raises StoreError."""
    try:
        with source.open("rb") as reading, target.open("xb") as writing:
            os.chmod(target, 0o600)
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fsync(writing.fileno())
    except OSError as e:
        raise StoreError(f"{source} cannot be copied to {target}: {e.strerror}") from e


def header(path: Path) -> bytes:
    """The blocks of a DuckDB file that each checkpoint changes."""
    with path.open("rb") as file:
        return file.read(3 * 4096)

"""Which file stands at a path."""

from __future__ import annotations

import os
from pathlib import Path


def file_id(path: Path) -> tuple[int, int] | None:
    """What tells the file at ``path`` from every other one there is; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

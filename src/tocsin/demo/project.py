"""The rules and on-call files of the demo."""

from __future__ import annotations

import shutil
from pathlib import Path

FILES = Path(__file__).parent / "files"


def lay_project(directory: Path) -> None:
    """Copy them into a project directory that has no files of its own."""
    shutil.copytree(FILES, directory, dirs_exist_ok=True)

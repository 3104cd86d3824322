"""Where the packaged consumers, rules and templates lie: in a checkout beside src/, in a wheel inside the package."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

from tocsin.errors import TocsinError

DIRECTORIES = ("consumers", "rules/alerts", "rules/oncall", "templates")
"""What is copied out by ``tocsin init``."""
YAML_SUFFIXES = (".yaml", ".yml")


@functools.cache
def packaged() -> Path:
    """The directory that holds the packaged ``consumers/``, ``rules/`` and ``templates/``."""
    source = Path(__file__).resolve().parents[2]
    root = source.parent
    if source.name == "src" and (root / "pyproject.toml").is_file() and (root / "consumers").is_dir():
        return root
    inside = Path(str(resources.files("tocsin") / "_content"))
    if not inside.is_dir():
        raise TocsinError(f"the installed tocsin is not whole: {inside} is missing; install it again")
    return inside


def files_in(directory: Path, suffixes: tuple[str, ...] = YAML_SUFFIXES) -> list[Path]:
    """Files of ``directory`` with one of ``suffixes``, by name; hidden ones and editors' backups left out."""
    try:
        found = list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(p for p in found if p.name.endswith(suffixes) and not p.name.startswith((".", "#")) and p.is_file())

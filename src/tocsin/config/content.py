"""Where the packaged consumers, rules and templates lie: in a checkout beside src/, in a wheel inside the package."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

from tocsin.errors import TocsinError

DIRECTORIES = ("consumers", "rules/alerts", "rules/causes", "rules/oncall", "templates")
"""What ships."""
PROJECT_DIRECTORIES = ("consumers", "rules", "templates", "tables", "calendars")
"""What makes a directory a project's."""
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


def copyable() -> list[str]:
    """The shipped files that ``tocsin copy`` knows, as paths from a project directory on."""
    root = packaged()
    return [
        f"{directory}/{path.name}"
        for directory in DIRECTORIES
        for path in files_in(root / directory, (*YAML_SUFFIXES, ".j2", ".css"))
    ]


def shipped_files(directory: str) -> list[Path]:
    """The shipped YAML files of ``directory``, such as ``rules/alerts``."""
    return files_in(packaged() / directory)

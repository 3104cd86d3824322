"""Where a workspace is: its folder, found by walking up, and the file that describes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.sdk.errors import ProjectSystemException, WorkspaceException

FOLDER = ".tocsin"
FILE = "config.json"
AZURE = (".azureml/config.json", "aml_config/config.json", "config.json")
"""Where azureml keeps a workspace's name; a folder that has one of these is a workspace too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A workspace's folder and what its file says."""

    folder: Path  # the one that holds .tocsin
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The workspace's name."""
        return str(self.settings.get("workspace_name") or self.folder.name)

    @property
    def data(self) -> Path:
        """Where its runs are kept."""
        return self.folder / FOLDER


def find(start: Path | str | None = None) -> Place:
    """The workspace at ``start`` (a folder, or its config.json) or above it. Raises WorkspaceException where there is none."""
    given = Path(start).expanduser() if start is not None else Path.cwd()
    if given.is_file():
        folder = given.parent
        if folder.name in (FOLDER, ".azureml", "aml_config"):
            folder = folder.parent
        return _place(folder, given)
    if not given.exists():
        raise WorkspaceException(f"{given} is not there")
    for folder in (given.resolve(), *given.resolve().parents):
        for name in (f"{FOLDER}/{FILE}", *AZURE):
            path = folder / name
            if path.is_file() and (name != "config.json" or _is_azures(path)):
                return _place(folder, path)
    raise WorkspaceException(
        f"no workspace is in {given.resolve()} or above it; make one with: tocsin folder attach -w NAME"
    )


def _is_azures(path: Path) -> bool:
    try:
        return "workspace_name" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return False  # config.json is a common name


def _place(folder: Path, file: Path) -> Place:
    try:
        settings = json.loads(file.read_bytes())
    except OSError as e:
        raise WorkspaceException(f"{file} cannot be read: {e.strerror}") from e
    except ValueError as e:
        line = getattr(e, "lineno", 1)
        raise WorkspaceException(f"{file}:{line}: this is no JSON: {e}") from e
    if not isinstance(settings, dict):
        raise WorkspaceException(f'{file}:1: a workspace\'s file is an object: {{"workspace_name": "…"}}')
    return Place(folder=folder.resolve(), settings=settings)


def attach(folder: Path, settings: Mapping[str, Any], *, exist_ok: bool) -> Place:
    """Make ``folder`` a workspace, or change what its file says. Raises ProjectSystemException unless ``exist_ok``."""
    path = folder / FOLDER / FILE
    before: dict[str, Any] = {}
    if path.is_file():
        if not exist_ok:
            raise ProjectSystemException(f"{folder} is a workspace already: {path}; exist_ok=True takes it as it is")
        before = dict(_place(folder, path).settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    after = {**before, **{k: v for k, v in settings.items() if v is not None}}
    if after != before:
        replace_file(path, json.dumps(after, indent=2, ensure_ascii=False) + "\n")
    ignore = path.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n!.gitignore\n!config.json\n!*.runconfig\n")
    return Place(folder=folder.resolve(), settings=after)


def replace_file(path: Path, text: str) -> None:
    """Write a whole file or leave the one before."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)

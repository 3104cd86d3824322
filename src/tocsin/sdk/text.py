"""Names, values and paths from users, made safe: for SQLite, for JSON that intake reads, for the file system."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tocsin.sdk.errors import UserErrorException

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}", re.ASCII)
_EXPERIMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}", re.ASCII)
_warned: set[str] = set()


def warn_once(key: str, message: str, *args: object) -> None:
    """One warning a process for each ``key``, by logging, which never raises into training."""
    if key not in _warned:
        _warned.add(key)
        warn(message, *args)


def warn(message: str, *args: object) -> None:
    """A warning of the logger ``tocsin.sdk``, which never raises into training."""
    import logging

    logging.getLogger("tocsin.sdk").warning(message, *args)


def clean(text: object) -> str:
    """``text`` as a str that UTF-8 can hold: lone surrogates become '?'."""
    out = text if type(text) is str else str(text)
    return out if out.isascii() else out.encode("utf-8", "replace").decode("utf-8")


def run_id_of(text: object) -> str:
    """A run id as given. Raises UserErrorException where it would be no safe name of a folder."""
    out = str(text)
    if not _RUN_ID.fullmatch(out):
        raise UserErrorException(
            f"{out[:80]!r} is no run id: letters, digits, '_', '.' and '-', at most 255, the first a letter or digit"
        )
    return out


def experiment_name(text: object) -> str:
    """An experiment's name. Raises UserErrorException for what azureml refuses too."""
    out = str(text)
    if not _EXPERIMENT.fullmatch(out):
        raise UserErrorException(
            f"{out[:80]!r} is no name of an experiment: letters, digits, '_', '.' and '-', at most 255, "
            "the first a letter or digit"
        )
    return out


def artifact_name(text: object) -> str:
    """A file's name inside a run, with '/' between its parts. Raises UserErrorException where it leads out of the run."""
    given = str(text).replace("\\", "/")
    path = PurePosixPath(given)
    parts = [p for p in path.parts if p != "."]
    if not parts or path.is_absolute() or ".." in parts or "\0" in given or ":" in parts[0]:
        raise UserErrorException(f"{given[:200]!r} is no name of a file in a run: a relative path without '..'")
    if any(len(p.encode("utf-8", "replace")) > 255 for p in parts) or len(given) > 2048:
        raise UserErrorException(f"{given[:80]!r}… is too long for a name of a file in a run")
    return "/".join(clean(p) for p in parts)


def inside(root: Path, name: str) -> Path:
    """The path of ``name`` below ``root``, links followed. Raises UserErrorException where it lies outside."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UserErrorException(f"{name[:200]!r} leads out of the run's folder by a link")
    return path


def string_values(given: Mapping[Any, Any] | None, what: str) -> dict[str, str | None]:
    """Tags or properties as given, values as strings. Raises UserErrorException where it is no mapping."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UserErrorException(f"{what} is a dict of strings, not a {type(given).__name__}")
    return {clean(key): string_value(key, value, what) for key, value in given.items()}


def string_value(key: object, value: object, what: str) -> str | None:
    """A tag's or property's value; what is no string becomes one, with a warning."""
    if value is None:
        return None
    if isinstance(value, str):
        return clean(value)
    out = json.dumps(value, default=str) if isinstance(value, dict | list | tuple) else str(value)
    warn_once(f"{what}:{key}", "%s %r: its value is a %s and is kept as the string %.80r", what, clean(key),
              type(value).__name__, out)  # fmt: skip
    return clean(out)

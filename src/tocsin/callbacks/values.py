"""What the callbacks share: the run that they log into, and which of a framework's values a run keeps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tocsin.sdk.errors import RunEnvironmentException
from tocsin.sdk.workspace import Run

_log = logging.getLogger("tocsin.sdk")


def run_of(run: Run | None) -> Run:
    """``run``, else the one of which this process is the script. Where there is none, one in memory: a script that is tried by hand
    trains all the same.
    """
    if run is not None:
        return run
    try:
        return Run.get_context(allow_offline=False)
    except RunEnvironmentException:
        _log.warning(
            "no run was given, and this process is no submitted run: what training logs is kept in memory only"
        )
        return Run.get_context()


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are one number, tensors of one element too."""
    found = {}
    for name, value in values.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError):  # text, a tensor of several elements
            continue
    return found


def settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are a number, a text or a truth value, names of nested ones joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update({f"{name}.{inner}": one for inner, one in settings(value).items()})
        elif isinstance(value, str | int | float):
            found[str(name)] = value
    return found

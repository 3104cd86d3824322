"""A run as stored, and what may be asked of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.text import clean

SCRIPT, EXEC = "tocsin.scriptrun", "tocsin.exec"
"""Type of a submitted run."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One row of ``runs``. Times are microseconds since the epoch, UTC. Tags and properties are JSON texts."""

    num: int
    run_id: str
    experiment: str
    number: int
    parent_id: str
    root_id: str
    type: str
    display_name: str
    description: str
    status: str
    target: str
    submitted_by: str
    created_us: int
    sort_us: int
    start_us: int | None
    end_us: int | None
    error: str | None
    definition: str | None
    snapshot_id: str
    owner: str
    script: str
    heartbeat_us: int
    slot: int
    events: int
    tags: str
    properties: str

    @property
    def tag_values(self) -> dict[str, str | None]:
        """Tags; a simple string tag has the value None."""
        out: dict[str, str | None] = json.loads(self.tags)
        return out

    @property
    def property_values(self) -> dict[str, str | None]:
        """Properties."""
        out: dict[str, str | None] = json.loads(self.properties)
        return out


COLUMNS = ", ".join(f"r.{f.name}" for f in fields(RunRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """A run to be made. ``interactive``: it is Running at once, and its owner ends it."""

    run_id: str
    experiment: str
    status: str
    parent_id: str = ""
    root_id: str = ""
    type: str = ""
    display_name: str = ""
    description: str = ""
    target: str = ""
    owner: str = ""
    definition: Mapping[str, Any] | None = None
    snapshot_id: str = ""
    tags: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which runs. Absent fields ask nothing."""

    experiment: str | None = None
    parent_id: str | None = None
    below: str | None = None  # every run under this one, at any depth
    top_only: bool = False
    type: str | None = None
    status: str | None = None
    target: str | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)  # a value of None: the key is there
    properties: Mapping[str, str | None] = field(default_factory=dict)


def labels_asked(given: object, what: str) -> dict[str, str | None]:
    """``tags`` or ``properties`` of a query: a key, several keys, or a dict of keys and values."""
    if given is None:
        return {}
    if isinstance(given, str):
        return {clean(given): None}
    if isinstance(given, Mapping):
        return {clean(k): None if v is None else clean(v) for k, v in given.items()}
    if isinstance(given, Sequence) and all(isinstance(k, str) for k in given):
        return {clean(k): None for k in given}
    raise UserErrorException(f"{what} is a key, or a dict of keys and values, not a {type(given).__name__}")


def encoded(value: str | None) -> str:
    """A label's value as a key column holds it."""
    return "" if value is None else "=" + value

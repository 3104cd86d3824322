"""What an import or an export says of each rule: what was kept, what could not be kept and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A key that could not be kept, or only nearly, and why."""

    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One alert rule of a file, and the rule that became of it.

    ``rule`` has the language's keys as a rule file would; None where ``why_not`` says why there is none. ``off`` says
    why a rule says ``enabled: false`` although its source does not.
    """

    file: str
    path: str  # where in the file, e.g. resources[2]
    type: str  # what it is there, e.g. Microsoft.Insights/scheduledQueryRules 2021-08-01
    name: str  # what it is called there
    rule: Mapping[str, Any] | None = None
    kept: tuple[str, ...] = ()  # "severity 1 -> severity: error"
    lost: tuple[Lost, ...] = ()
    off: str = ""
    why_not: str = ""
    stub: Mapping[str, Any] | None = None  # of a rule that was not imported: what it would have had, for a comment


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A rule as an Azure resource; ``resource`` is None where ``why_not`` says why there is none."""

    name: str
    resource: Mapping[str, Any] | None = None
    rule: Mapping[str, Any] = field(default_factory=dict)  # as data, defaults of its file included
    lost: tuple[Lost, ...] = ()
    why_not: str = ""


class Refused(Exception):
    """Why one rule is not imported or exported; caught where the next one is evaluated."""

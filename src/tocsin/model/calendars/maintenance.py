"""Times in which work is known to stand still, as on-call files announce them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Wanted = Mapping[str, frozenset[str]]
"""Field → texts, one of which it has. Fields are columns of a run, labels, ``rule`` and ``severity``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """The clocks of what it matches stand still from ``begin`` until ``settle`` after ``end``."""

    begin: datetime  # UTC
    end: datetime  # UTC
    settle: timedelta = timedelta(0)
    match: Wanted = field(default_factory=dict)  # all of these; the empty one matches everything
    but: Wanted = field(default_factory=dict)  # what has all of these goes on; the empty one is nothing
    place: str = ""  # file:line

    @property
    def until(self) -> datetime:
        """When clocks go on; UTC."""
        return self.end + self.settle

"""What is known of the consumers when rules are evaluated: up to when each reported, since when it exists, what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

KEEPS_HISTORY = frozenset({"kafka", "file"})
"""Kinds of connector whose source holds what was produced before tocsin first looked at it."""

Span = tuple[datetime, datetime]
"""From when to when; UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProgress:
    """Plain values about consumers, by name. A consumer that is in no map is gone: nobody waits for it."""

    watermarks: Mapping[str, datetime | None] = field(
        default_factory=dict
    )  # UTC; None: nothing received since the start
    first_starts: Mapping[str, datetime] = field(default_factory=dict)  # UTC; when its intake was first started
    kinds: Mapping[str, str] = field(default_factory=dict)  # kafka | http | file | poll
    outages: Mapping[str, Sequence[Span]] = field(default_factory=dict)  # when it could not be reached; ended, in order

    complete: bool = True  # False: which consumers there are is not known yet, so nobody has reported

    def has_reached(self, due: datetime, consumers: Iterable[str]) -> bool:
        """Whether all that ``consumers`` had to say up to ``due`` has been reached."""
        for name in consumers:
            if not self.complete:
                return False
            if name in self.watermarks:
                mark = self.watermarks[name]
                if mark is None or mark < due:
                    return False
        return True

    def expired_before(self, consumer: str) -> datetime | None:
        """What the consumer's source produced before this is history; None where its kind keeps none."""
        return self.first_starts.get(consumer) if self.kinds.get(consumer) in KEEPS_HISTORY else None

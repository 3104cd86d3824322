"""What a backtest takes for reached: everything up to T, except where a consumer is known not to have been reached.

known unreachable              [───────────)             tocsin was down, or its broker away
watermark   T           begin        T            stands still inside, as it did
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from tocsin.model.watermarks import SourceProgress, Span

_US = timedelta(microseconds=1)
Outages = Mapping[str, Sequence[Span]]
"""When consumers could not be reached, by name; in order, apart from each other."""


class OutageCalendar:
    """When which consumers could not be reached."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages

    @property
    def names(self) -> frozenset[str]:
        """The consumers of which it is known."""
        return frozenset(self._outages)

    def source_progress(self, at: datetime) -> SourceProgress:
        """What was known of the consumers at ``at``."""
        marks: dict[str, datetime | None] = dict.fromkeys(self._outages, at)
        marks |= {name: span[0] - _US for name, span in self._at(at)}  # what is due at its begin is held too
        return SourceProgress(watermarks=marks, outages=self._outages)

    def hold(self, at: datetime, consumers: Iterable[str]) -> datetime:
        """When the first of ``consumers`` that were not reached at ``at`` was received again; ``at`` where all were."""
        names = set(consumers)
        return min((span[1] for name, span in self._at(at) if name in names), default=at)

    def reached(self, at: datetime, consumers: Iterable[str]) -> datetime:
        """When all of ``consumers`` were reached at a time, from ``at`` on."""
        held = None
        while at != held:
            held, at = at, self.hold(at, consumers)
        return at

    def next_end(self, at: datetime) -> datetime | None:
        """When the first of the outages that ``at`` lies in is over; None where it lies in none."""
        return min((span[1] for _, span in self._at(at)), default=None)

    def _at(self, at: datetime) -> list[tuple[str, Span]]:
        found = []
        for name, spans in self._outages.items():
            last = bisect_right(spans, at, key=lambda span: span[0]) - 1
            if last >= 0 and at < spans[last][1]:
                found.append((name, spans[last]))
        return found

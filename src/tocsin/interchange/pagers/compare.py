"""Who is on call by a schedule of ours and by the final schedule in a pager's export, hour by hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.notify.oncall.schedule import Entry, Schedule, on_call_at

HOUR = timedelta(hours=1)
SPAN = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Hours in a row in which others are on call here than there."""

    start: datetime  # UTC, a full hour
    end: datetime  # UTC, not included
    theirs: tuple[str, ...]
    ours: tuple[str, ...]

    @property
    def hours(self) -> int:
        """How many."""
        return (self.end - self.start) // HOUR

    def __str__(self) -> str:
        names = (" and ".join(who) or "nobody" for who in (self.theirs, self.ours))
        return (
            f"{utc_text(self.start)} to {utc_text(self.end)}, {self.hours} h: {next(names)} there, {next(names)} here"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What became of the comparison of one schedule."""

    schedule: str
    start: datetime  # UTC
    end: datetime  # UTC, not included
    hours: int  # compared
    differences: tuple[Difference, ...]

    @property
    def differing(self) -> int:
        """Hours that differ."""
        return sum(each.hours for each in self.differences)

    def __str__(self) -> str:
        span = f"{utc_text(self.start)} to {utc_text(self.end)}"
        return f"{self.schedule}: {self.hours} hours compared with the final schedule, {span}; {self.differing} differ"


def compare(schedule: Schedule, final: Sequence[Entry]) -> Compared:
    """From the first shift of ``final`` (not empty) on, at most 90 days. An hour differs where any instant in it does."""
    start = min(each.start for each in final)
    end = min(max(each.end for each in final), start + SPAN)
    first = start.replace(minute=0, second=0, microsecond=0)
    hours = [first + n * HOUR for n in range(-((first - end) // HOUR))]
    differ: dict[datetime, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    changes = {at for each in final for at in (each.start, each.end)}
    changes |= {at for each in schedule.overrides for at in (each.start, each.end)}
    changes |= {at for layer in schedule.layers for at in layer.changes(start, end)}
    for at in sorted({start, *hours[1:], *(at for at in changes if start < at < end)}):
        theirs = tuple(sorted({each.who for each in final if each.start <= at < each.end}))
        ours = tuple(sorted({each.who for each in on_call_at(schedule, at)}))
        if theirs != ours:
            differ.setdefault(at.replace(minute=0, second=0, microsecond=0), (theirs, ours))
    found: list[Difference] = []
    for hour, (theirs, ours) in differ.items():
        since = hour
        if found and found[-1].end == hour and (found[-1].theirs, found[-1].ours) == (theirs, ours):
            since = found.pop().start
        found.append(Difference(start=since, end=hour + HOUR, theirs=theirs, ours=ours))
    return Compared(schedule=schedule.name, start=start, end=end, hours=len(hours), differences=tuple(found))


def utc_text(at: datetime) -> str:
    """For example ``2026-03-29T01:00Z``."""
    return f"{at:%Y-%m-%dT%H:%M}Z"

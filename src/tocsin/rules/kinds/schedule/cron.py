"""Schedules of what is expected: cron in a time zone, less the days that do not count.

An hour that the clock skips means the next instant, one that comes twice means the first:

    "30 2 * * *", Budapest    28 March 02:30+01    29 March 03:00+02 (02:30 does not exist)    30 March 02:30+02
                              24 Oct   02:30+02    25 Oct   02:30+02 (not again at +01)        26 Oct   02:30+01
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from tocsin.model.calendars.calendar import Calendar

MOST_SKIPPED = 1000
"""Scheduled times in a row that a calendar may leave out; beyond it nothing is expected any more."""

EXAMINED = 400
"""Scheduled times in a row of which the shortest distance is taken."""
_DAY = timedelta(hours=23)  # one on which the clock skips an hour
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When something is expected. Raises ValueError for a cron or a zone that cannot be read."""

    cron: str
    grace: timedelta  # the window of a scheduled time S is [S - early, S + grace]
    early: timedelta = timedelta(0)
    zone: str = "UTC"
    skip: Calendar = field(default_factory=Calendar)

    def __post_init__(self) -> None:
        try:
            tz = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"'{self.zone}' is no time zone; write for example Europe/Budapest") from None
        if len(self.cron.split()) != 5:
            raise ValueError(f"'{self.cron}' is no cron; write minute, hour, day, month, weekday: 0 2 * * *")
        try:
            next(CronSim(self.cron, datetime(2026, 1, 1, tzinfo=tz)), None)
        except CronSimError as e:
            raise ValueError(f"'{self.cron}' is no cron: {str(e).lower()}; write for example 0 2 * * *") from None

    def overlap(self) -> timedelta | None:
        """The shortest time between two scheduled times, where their windows touch: an event would meet both."""
        width = self.early + self.grace
        if width < _DAY and all(part.isdecimal() for part in self.cron.split()[:2]):
            return None
        shortest = _shortest(self.cron, self.zone)
        return shortest if shortest is not None and width >= shortest else None

    def first(self, at: datetime) -> datetime | None:
        """The first scheduled time whose window begins at ``at`` or later; UTC. None: there is none."""
        return self.after(at + self.early - _US)

    def after(self, at: datetime) -> datetime | None:
        """The first scheduled time after ``at``; UTC. None: there is none."""
        return self._step(at, reverse=False)

    def before(self, at: datetime) -> datetime | None:
        """The last scheduled time before ``at``; UTC. None: there is none."""
        return self._step(at, reverse=True)

    def counts(self, scheduled: datetime) -> bool:
        """Whether the day of a scheduled time counts."""
        return scheduled.astimezone(ZoneInfo(self.zone)).date() not in self.skip

    def _step(self, at: datetime, *, reverse: bool) -> datetime | None:
        tz = ZoneInfo(self.zone)
        for found in islice(_instants(self.cron, at.astimezone(tz), reverse=reverse), MOST_SKIPPED):
            if found.date() not in self.skip:
                return found.astimezone(UTC)
        return None


@lru_cache(maxsize=4096)
def _shortest(cron: str, zone: str) -> timedelta | None:
    begin = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    found = islice(_instants(cron, begin, reverse=False), EXAMINED)
    utc = [each.astimezone(UTC) for each in found]
    return min((later - earlier for earlier, later in pairwise(utc)), default=None)


def _instants(cron: str, at: datetime, *, reverse: bool) -> Iterator[datetime]:
    """Scheduled times beyond ``at``, in its zone. Of two times that read the same on the wall the second is left out."""
    start = at.astimezone(UTC)
    for found in CronSim(cron, at, reverse=reverse):
        utc = found.astimezone(UTC)
        if not found.fold and (utc < start if reverse else utc > start):
            yield found

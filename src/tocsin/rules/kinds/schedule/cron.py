"""Schedules of what is expected: cron in a time zone, less the days that do not count.

An hour that the clock skips means the next instant, one that comes twice means the first:

    "30 2 * * *", Budapest    28 March 02:30+01    29 March 03:00+02 (02:30 does not exist)    30 March 02:30+02
                              24 Oct   02:30+02    25 Oct   02:30+02 (not again at +01)        26 Oct   02:30+01
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from tocsin.model.calendars.calendar import Calendar

MOST_SKIPPED = 1000
"""Scheduled times in a row that a calendar may leave out; beyond it nothing is expected any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When something is expected. Raises ValueError for a cron or a zone that cannot be read."""

    cron: str
    grace: timedelta
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


def _instants(cron: str, at: datetime, *, reverse: bool) -> Iterator[datetime]:
    """Scheduled times beyond ``at``, in its zone. Of two times that read the same on the wall the second is left out."""
    start = at.astimezone(UTC)
    for found in CronSim(cron, at, reverse=reverse):
        utc = found.astimezone(UTC)
        if not found.fold and (utc < start if reverse else utc > start):
            yield found

"""What is muted: by time intervals (routes, quiet hours, maintenance) and by silences.

An interval holds by the clock on the wall of its zone, as Alertmanager's do: where an hour comes twice, it holds in
both.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from tocsin.model.calendars.wallclock import DAY, TimeRange, changes, local
from tocsin.notify.routing.matchers import Fields, Matcher, matches

FARTHEST = timedelta(days=400)
"""How far the end of an interval is searched for."""
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One specification: all of its fields hold. Empty ones say nothing. Times past midnight belong to the day on
    which they begin.
    """

    zone: ZoneInfo = _UTC
    times: tuple[TimeRange, ...] = ()
    weekdays: frozenset[int] = frozenset()  # 0 is Monday
    days_of_month: tuple[tuple[int, int], ...] = ()  # both ends included; negative ones count from the month's end
    months: frozenset[int] = frozenset()
    years: tuple[tuple[int, int], ...] = ()  # both ends included
    days: Container[date] | None = None  # of a calendar

    def holds(self, t: datetime) -> bool:
        """Whether ``t`` lies in it."""
        wall = local(t, self.zone)
        if not self.times:
            return self._day(wall.date())
        minute = wall.hour * 60 + wall.minute
        return any(
            self._day(wall.date() - DAY if each.overnight and minute < each.end else wall.date())
            for each in self.times
            if (minute >= each.start or minute < each.end if each.overnight else each.start <= minute < each.end)
        )

    def _day(self, day: date) -> bool:
        return (
            (not self.weekdays or day.weekday() in self.weekdays)
            and (not self.months or day.month in self.months)
            and (not self.years or any(low <= day.year <= high for low, high in self.years))
            and (not self.days_of_month or any(_in_month(day, low, high) for low, high in self.days_of_month))
            and (self.days is None or day in self.days)
        )

    def edges(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Instants in (start, end) at which it may begin or end, in no order; UTC."""
        marks = {0, *(each.start for each in self.times), *(each.end for each in self.times)}
        day, last = local(start, self.zone).date() - DAY, local(end, self.zone).date() + DAY
        while day <= last:
            midnight = datetime(day.year, day.month, day.day)
            for mark in marks:
                wall = midnight + timedelta(minutes=mark)
                for fold in (0, 1):
                    at = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
                    if start < at < end:
                        yield at
            day += DAY
        yield from (at for at in changes(start, end, self.zone) if at < end)


def _in_month(day: date, low: int, high: int) -> bool:
    length = monthrange(day.year, day.month)[1]
    first = low if low > 0 else length + 1 + low
    last = high if high > 0 else length + 1 + high
    return max(first, 1) <= day.day <= min(last, length)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeInterval:
    """An interval with a name: it holds where one of its specifications does."""

    name: str
    any_of: tuple[Interval, ...]

    def holds(self, t: datetime) -> bool:
        """Whether ``t`` lies in it."""
        return any(each.holds(t) for each in self.any_of)

    def until(self, t: datetime) -> datetime | None:
        """When it ends, of one that holds at ``t``; when it begins, of one that does not. None beyond ``FARTHEST``.
        UTC.
        """
        now, at, step = self.holds(t), t, timedelta(days=9)
        while at < t + FARTHEST:
            edges = sorted({edge for each in self.any_of for edge in each.edges(at, at + step)})
            for edge in (*edges, at + step):
                if self.holds(edge) is not now:
                    return edge
            at += step
        return None


class Then(StrEnum):
    """What becomes of an event alert that was suppressed."""

    DIGEST = "digest"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """A route's: muted during these intervals, or outside of those in which it is active."""

    during: tuple[TimeInterval, ...] = ()
    active: tuple[TimeInterval, ...] = ()  # empty: always
    then: Then = Then.DIGEST

    def holds(self, t: datetime) -> str:
        """The name of the interval that mutes at ``t``; '' where the route sends."""
        for each in self.during:
            if each.holds(t):
                return each.name
        if self.active and not any(each.holds(t) for each in self.active):
            return f"outside of {' and '.join(each.name for each in self.active)}"
        return ""

    def until(self, t: datetime) -> datetime | None:
        """When the route sends again, of one that is muted at ``t``; None beyond ``FARTHEST``. UTC."""
        at = t
        while self.holds(at):
            parts = (*(each for each in self.during if each.holds(at)), *self.active)
            nexts = [found for each in parts if (found := each.until(at)) is not None]
            if not nexts or (at := min(nexts)) > t + FARTHEST:
                return None
        return at


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """A person's: messages wait until they end, but for what ``but`` matches."""

    interval: TimeInterval
    but: tuple[Matcher, ...] = ()  # no matcher: no exception

    def holds(self, fields: Fields, t: datetime) -> bool:
        """Whether an alert of ``fields`` waits at ``t``."""
        return self.interval.holds(t) and not (self.but and matches(self.but, fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Alerts of known work: what ``match`` matches is muted, but for what ``but`` matches. From and to, or an
    interval.
    """

    start: datetime | None = None  # UTC
    end: datetime | None = None  # UTC, not included
    during: TimeInterval | None = None
    match: tuple[Matcher, ...] = ()
    but: tuple[Matcher, ...] = ()
    then: Then = Then.DIGEST
    place: str = ""  # file:line

    def holds(self, fields: Fields, t: datetime) -> bool:
        """Whether an alert of ``fields`` is muted by it at ``t``."""
        if (self.start is not None and t < self.start) or (self.end is not None and t >= self.end):
            return False
        if self.during is not None and not self.during.holds(t):
            return False
        return matches(self.match, fields) and not (self.but and matches(self.but, fields))

    def until(self, t: datetime) -> datetime | None:
        """When one that holds at ``t`` ends; UTC, None for not in sight."""
        ends = [self.end, self.during.until(t) if self.during is not None else None]
        return min((at for at in ends if at is not None), default=None)


def maintained(maintenances: Iterable[Maintenance], fields: Fields, t: datetime) -> Maintenance | None:
    """The maintenance that mutes an alert of ``fields`` at ``t``: of several the one that ends last; None for none."""
    found = [each for each in maintenances if each.holds(fields, t)]
    never = datetime.max.replace(tzinfo=UTC)
    return max(found, key=lambda each: each.until(t) or never, default=None)


PREVIEW = timedelta(days=7)
"""How far back a preview goes."""


class SilenceState(StrEnum):
    """Where a silence is in its life (Alertmanager's words)."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Alerts that all of ``matchers`` match are not notified of from ``start`` until ``end``."""

    id: str
    matchers: tuple[Matcher, ...]  # at least one that does not match everything
    start: datetime  # UTC
    end: datetime  # UTC, not included
    by: str
    comment: str = ""

    def __post_init__(self) -> None:
        if not self.matchers or matches(self.matchers, {}):
            raise ValueError("a silence must match something in particular: at least one field that is not empty")
        if self.end <= self.start:
            raise ValueError("a silence ends after it starts")

    def state(self, at: datetime) -> SilenceState:
        """Where it is at ``at``."""
        if at < self.start:
            return SilenceState.PENDING
        return SilenceState.ACTIVE if at < self.end else SilenceState.EXPIRED

    def holds(self, fields: Fields, at: datetime) -> bool:
        """Whether an alert of ``fields`` is silenced by it at ``at``."""
        return self.start <= at < self.end and matches(self.matchers, fields)


def silenced(silences: Iterable[Silence], fields: Fields, at: datetime) -> Silence | None:
    """The silence that mutes an alert of ``fields`` at ``at``: of several the one that ends last; None for none."""
    return max((each for each in silences if each.holds(fields, at)), key=lambda each: each.end, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a silence would hide now, and would have hidden lately."""

    now: tuple[str, ...]  # ids of active alerts
    lately: tuple[str, ...]  # ids of alerts that fired within PREVIEW


def preview(
    matchers: tuple[Matcher, ...], alerts: Iterable[tuple[str, Fields, datetime, bool]], at: datetime
) -> Preview:
    """What ``matchers`` match of ``alerts``: (id, fields, when it fired, whether it is active)."""
    found = [(id_, fired, active) for id_, fields, fired, active in alerts if matches(matchers, fields)]
    return Preview(
        now=tuple(id_ for id_, _, active in found if active),
        lately=tuple(id_ for id_, fired, _ in found if at - PREVIEW < fired <= at),
    )

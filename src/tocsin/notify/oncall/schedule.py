"""Who is on call at an instant, and why.

             08:00        18:00  20:00                 08:00
us           |··············|████████████████████████████|      later in the list: wins where both cover
eu           |█████████████████████|                            a window belongs to the day on which it begins
override                  |██|                                  applies to what the layers say
on call      | eu ··· eu |ov|us ···················· us |
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from tocsin.model.calendars.wallclock import ALL_DAY, DAY, TimeRange, instant, local


class Why(StrEnum):
    """Why somebody is on call; commands, pages and messages show the text."""

    LAYER = "by layer"
    OVERRIDE = "by override"
    SWAP = "by swap"  # an override with `instead_of`
    FEED = "by calendar feed"
    UNCOVERED = "for what nothing else covers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One person on call."""

    who: str  # a person's name or an address
    why: Why
    of: str = ""  # the layer's name, the override's reason, the feed's entry

    @property
    def text(self) -> str:
        """For a person, e.g. ``anna is on call by layer eu``."""
        return f"{self.who} is on call {self.why}{' ' + self.of if self.of else ''}"


NOBODY = "nobody is on call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Members who take turns. The clock on the wall counts: a handoff at 09:00 stays at 09:00 when clocks change."""

    members: tuple[str, ...]  # in turn; one may stand in it more than once
    every: timedelta = timedelta(weeks=1)  # whole days, or a part of a day that divides it
    start: datetime | None = None  # the first handoff, naive, in the layer's zone; None: one member, for ever

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("a rotation needs a member")
        if self.start is None and len(self.members) > 1:
            raise ValueError("a rotation of more than one member needs a start")
        if self.every < timedelta(minutes=30) or (self.every % DAY and DAY % self.every):
            raise ValueError("a rotation changes every so many days, or by a part of a day that divides it")

    def member_at(self, t: datetime, zone: ZoneInfo) -> str | None:
        """Whose turn it is at ``t``; None before the start."""
        if self.start is None:
            return self.members[0]
        turn = self.turn_at(t, zone)
        return self.members[turn % len(self.members)] if turn >= 0 else None

    def turn_at(self, t: datetime, zone: ZoneInfo) -> int:
        """Number of the handoff at or before ``t``, from 0; negative before the start."""
        assert self.start is not None
        turn = (local(t, zone) - self.start) // self.every
        while self.handoff(turn + 1, zone) <= t:  # in an hour that comes again, the clock has been further already
            turn += 1
        return turn

    def handoff(self, turn: int, zone: ZoneInfo) -> datetime:
        """The instant at which turn number ``turn`` begins; UTC."""
        assert self.start is not None
        return instant(self.start + turn * self.every, zone)

    def handoffs(self, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Handoffs in (start, end), the first of all included."""
        if self.start is None:
            return
        turn = max(self.turn_at(start, zone) + 1, 0)
        while (at := self.handoff(turn, zone)) < end:
            yield at
            turn += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A rotation within hours. Days of ``skips`` and weekdays beside ``weekdays`` are left out, with the windows
    that begin on them.
    """

    name: str
    zone: ZoneInfo
    rotation: Rotation
    hours: tuple[TimeRange, ...] = (ALL_DAY,)
    weekdays: frozenset[int] = frozenset(range(7))  # 0 is Monday
    skips: Container[date] = frozenset()

    def covers(self, t: datetime) -> bool:
        """Whether ``t`` lies in one of its windows."""
        day = local(t, self.zone).date()
        # The day after: where clocks go back over midnight, it has begun before the day is over.
        return any(begin <= t < end for n in (-1, 0, 1) for begin, end in self._windows(day + n * DAY))

    def member_at(self, t: datetime) -> str | None:
        """Who is on call by this layer at ``t``; None where it does not cover."""
        return self.rotation.member_at(t, self.zone) if self.covers(t) else None

    def _windows(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        if day.weekday() in self.weekdays and day not in self.skips:
            for hours in self.hours:
                yield hours.on(day, self.zone)

    def changes(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Instants in (start, end) at which what it says may change, in no order."""
        day, last = local(start, self.zone).date() - DAY, local(end, self.zone).date() + DAY
        while day <= last:
            for window in self._windows(day):
                yield from (at for at in window if start < at < end)
            day += DAY
        yield from self.rotation.handoffs(start, end, self.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Somebody takes over for a time: everything, or with ``instead_of`` the shifts of one person."""

    start: datetime  # UTC
    end: datetime  # UTC, not included
    who: str
    reason: str = ""
    instead_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A shift out of a calendar feed."""

    start: datetime  # UTC
    end: datetime  # UTC, not included
    who: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Who is on call when: layers or a feed, what covers the rest, and overrides over all of that."""

    name: str
    layers: tuple[Layer, ...] = ()  # the later wins
    feed: tuple[Entry, ...] = ()  # the one that begins later wins
    overlap_all: bool = False  # all that cover are on call, instead of the last
    uncovered: str = ""  # who takes what no layer covers
    overrides: tuple[Override, ...] = field(default=())  # in the order in which they apply
    zone: ZoneInfo | None = None  # of times shown


def on_call_at(schedule: Schedule, t: datetime) -> tuple[Assignment, ...]:
    """Who is on call at ``t``, each with the reason; empty where nobody is."""
    found = covering(schedule, t)
    if not schedule.overlap_all:
        found = found[-1:]
    if not found and schedule.uncovered:
        found = (Assignment(who=schedule.uncovered, why=Why.UNCOVERED),)
    for override in schedule.overrides:
        if override.start <= t < override.end:
            found = _overridden(found, override)
    return tuple({each.who: each for each in found}.values())  # nobody twice; the winning reason


def covering(schedule: Schedule, t: datetime) -> tuple[Assignment, ...]:
    """What each layer, or entry of the feed, that covers ``t`` says, before overrides; the last wins."""
    found = [
        Assignment(who=who, why=Why.LAYER, of=layer.name)
        for layer in schedule.layers
        if (who := layer.member_at(t)) is not None
    ]
    entries = [each for each in schedule.feed if each.start <= t < each.end]
    entries.sort(key=lambda each: each.start)
    return (*found, *(Assignment(who=each.who, why=Why.FEED, of=each.title) for each in entries))


def _overridden(found: tuple[Assignment, ...], override: Override) -> tuple[Assignment, ...]:
    if not override.instead_of:
        return (Assignment(who=override.who, why=Why.OVERRIDE, of=override.reason),)
    swapped = Assignment(who=override.who, why=Why.SWAP, of=override.reason)
    return tuple(swapped if each.who == override.instead_of else each for each in found)

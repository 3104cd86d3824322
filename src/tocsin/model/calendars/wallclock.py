"""Wall clocks: times as a person in a zone reads them, and the instants that they mean.

Spring, Budapest              01:59 | 03:00      02:30 is skipped: it means 03:00, the instant of the change
autumn, Budapest       02:00 … 02:59 | 02:00 …   02:30 comes twice: it means the first

No library: zoneinfo takes the skipped 02:30 for 03:30.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = timedelta(days=1)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 24 * 60
"""Of a day on a wall clock."""

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|(24):(00)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """Minutes of a day on a wall clock, the end not included. Where the end is not after the start it lies on the
    next day.
    """

    start: int  # minutes after midnight, below 1440
    end: int  # minutes after midnight, at most 1440

    def __post_init__(self) -> None:
        if not (0 <= self.start < MINUTES and 0 < self.end <= MINUTES and self.start != self.end):
            raise ValueError("a time range goes from one time of the day to another")

    @property
    def overnight(self) -> bool:
        """Whether it ends on the next day."""
        return self.end < self.start

    def __str__(self) -> str:
        return f"{clock_text(self.start)}-{clock_text(self.end)}"

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Its instants where it begins on ``day``: first, and first after; UTC."""
        return at_minute(day, self.start, zone), at_minute(day, self.end + (MINUTES if self.overnight else 0), zone)


ALL_DAY = TimeRange(start=0, end=MINUTES)


def at_minute(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """The instant of ``minute`` minutes after midnight of ``day`` on the wall clock of ``zone``; UTC."""
    return instant(datetime.combine(day, time()) + timedelta(minutes=minute), zone)


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The UTC instant of ``wall``, a naive time in ``zone``: skipped means the instant of the change, twice the
    first.
    """
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if local(found, zone) == wall.replace(fold=0):
        return found
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change(before, found, zone) or found


def local(t: datetime, zone: ZoneInfo) -> datetime:
    """The naive wall time in ``zone`` at ``t``."""
    return t.astimezone(zone).replace(tzinfo=None, fold=0)


def changes(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Instants in (start, end] at which the clocks of ``zone`` are changed; UTC."""
    at = start
    while at < end:
        upto = min(at + DAY, end)
        if (found := _change(at, upto, zone)) is not None:
            yield found
        at = upto


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime | None:
    """The instant in (before, after] at which the offset of ``zone`` changes; zones change at whole seconds."""
    low, high = before.replace(microsecond=0), after
    if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
        return None
    old = low.astimezone(zone).utcoffset()
    lowest, width = 0, -((low - high) // timedelta(seconds=1))
    while width - lowest > 1:
        middle = (lowest + width) // 2
        if (low + timedelta(seconds=middle)).astimezone(zone).utcoffset() == old:
            lowest = middle
        else:
            width = middle
    return low + timedelta(seconds=width)


def zone_named(name: str) -> ZoneInfo:
    """The zone called ``name``. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(f"'{name}' is not a time zone") from e


def parse_clock(text: str) -> int:
    """``08:30`` as minutes after midnight; ``24:00`` is the end of the day. Raises ValueError that says what would
    be right.
    """
    if (found := _TIME.fullmatch(text.strip())) is None:
        raise ValueError(f"'{text}' is not a time of the day; write 08:00, in quotes")
    return int(found[1] or found[3]) * 60 + int(found[2] or found[4])


def clock_text(minute: int) -> str:
    """Minutes after midnight as ``08:30``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def parse_range(text: str) -> TimeRange:
    """``08:00-20:00``. Raises ValueError that says what would be right."""
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"'{text}' is not a range of times; write 08:00-20:00")
    begin, upto = parse_clock(start), parse_clock(end)
    if begin in (MINUTES, upto):
        raise ValueError(f"'{text}' is empty; write 00:00-24:00 for the whole day")
    return TimeRange(start=begin, end=upto or MINUTES)


def parse_weekday(text: str) -> int:
    """``mon`` or ``monday`` as 0. Raises ValueError that says what would be right."""
    word = text.strip().lower()
    for number, short in enumerate(WEEKDAYS):
        if word in (short, _LONG[number]):
            return number
    raise ValueError(f"'{text}' is not a day of the week; write one of {', '.join(WEEKDAYS)}")


_LONG = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def parse_weekdays(text: str) -> frozenset[int]:
    """``sat``, or ``mon-fri`` and Alertmanager's ``monday:friday`` with both ends. Raises ValueError that says what
    would be right.
    """
    first, colon, last = text.replace("-", ":").partition(":")
    start = parse_weekday(first)
    end = parse_weekday(last) if colon else start
    return frozenset((start + n) % 7 for n in range((end - start) % 7 + 1))

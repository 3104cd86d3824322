"""On-call schedules minute by minute, written from the semantics, as slow and plain as can be.

A time on the wall means the first minute at which the wall clock has reached it: one that is skipped is reached when
the clocks
change, one that comes twice the first time.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Walls:
    """The wall clock of a zone at each minute of a time."""

    def __init__(self, zone: str, start: datetime, end: datetime) -> None:
        self.minutes = [start + n * MINUTE for n in range((end - start) // MINUTE)]
        self.walls = [t.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) for t in self.minutes]
        self._reached = list(accumulate(self.walls, max))

    def first(self, wall: datetime) -> int:
        """Number of the first minute at which the clock has reached ``wall``."""
        return bisect_left(self._reached, wall)

    def days(self) -> list[date]:
        """Every day that the clock shows, and the one before."""
        return [self.walls[0].date() - DAY, *sorted({w.date() for w in self.walls})]


@dataclass(frozen=True)
class PlainLayer:
    """A layer in plain values; times are minutes after midnight."""

    name: str
    zone: str
    members: Sequence[str]
    every: timedelta
    start: datetime
    hours: Sequence[tuple[int, int]]
    weekdays: frozenset[int] = frozenset(range(7))
    skips: frozenset[date] = frozenset()


@dataclass(frozen=True)
class PlainSchedule:
    """A schedule in plain values."""

    layers: Sequence[PlainLayer]
    overlap_all: bool = False
    uncovered: str = ""
    overrides: Sequence[tuple[datetime, datetime, str, str]] = field(default=())  # from, to, who, instead of


def by_minute(
    schedule: PlainSchedule, start: datetime, end: datetime
) -> Mapping[datetime, tuple[tuple[str, ...], bool]]:
    """Who is on call in each minute of [start, end), and whether nothing covers it but `uncovered`."""
    early, late = start - 3 * DAY, end + 3 * DAY
    layers = [_members(layer, early, late) for layer in schedule.layers]
    found: dict[datetime, tuple[tuple[str, ...], bool]] = {}
    for n in range((end - start) // MINUTE):
        t = start + n * MINUTE
        who = [layer[t] for layer in layers if t in layer]
        if not schedule.overlap_all:
            who = who[-1:]
        gap = not who
        if gap and schedule.uncovered:
            who = [schedule.uncovered]
        for begin, upto, taker, instead_of in schedule.overrides:
            if begin <= t < upto:
                gap = gap and instead_of not in ("", *who)
                who = [taker if each == instead_of else each for each in who] if instead_of else [taker]
        found[t] = tuple(sorted(set(who))), gap
    return found


@lru_cache(maxsize=64)
def _walls(zone: str, start: datetime, end: datetime) -> Walls:
    return Walls(zone, start, end)


def _members(layer: PlainLayer, start: datetime, end: datetime) -> dict[datetime, str]:
    walls = _walls(layer.zone, start, end)
    covered: set[int] = set()
    for day in walls.days():
        if day.weekday() not in layer.weekdays or day in layer.skips:
            continue
        midnight = datetime(day.year, day.month, day.day)
        for begin, upto in layer.hours:
            over = DAY if upto < begin else timedelta(0)
            first = walls.first(midnight + begin * MINUTE)
            covered |= set(range(first, walls.first(midnight + upto * MINUTE + over)))
    turns: dict[int, int] = {}  # minute → the turn that begins then
    turn, handoff = 0, layer.start
    while handoff <= walls.walls[-1]:
        turns[walls.first(handoff)] = turn
        turn, handoff = turn + 1, handoff + layer.every
    members: dict[datetime, str] = {}
    current = None
    for n, t in enumerate(walls.minutes):
        current = turns.get(n, current)
        if current is not None and n in covered:
            members[t] = layer.members[current % len(layer.members)]
    return members


def utc(text: str) -> datetime:
    """``2026-03-29T00:00`` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

"""The shifts of a schedule, its gaps and overlaps, and its inline tests: what `check` says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from tocsin.model.calendars.wallclock import local
from tocsin.notify.oncall.schedule import NOBODY, Assignment, Schedule, Why, covering, on_call_at

FARTHEST = timedelta(days=400)
"""How far a shift's end, or the next gap, is searched for."""
_FIRST_STEP = timedelta(days=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One and the same answer from ``start`` until ``end``; nobody where ``on_call`` is empty."""

    start: datetime  # UTC
    end: datetime  # UTC, not included
    on_call: tuple[Assignment, ...]

    @property
    def who(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(each.who for each in self.on_call)

    @property
    def is_gap(self) -> bool:
        """Whether no layer, feed or override covers it; `uncovered` does not count."""
        return all(each.why is Why.UNCOVERED for each in self.on_call)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two or more layers, or entries of the feed, name different people."""

    start: datetime  # UTC
    end: datetime  # UTC, not included
    covering: tuple[Assignment, ...]  # the last wins, unless `overlap: all`


def shifts(schedule: Schedule, start: datetime, end: datetime) -> list[Shift]:
    """What ``on_call_at`` says at each instant of [start, end), as the fewest shifts; cut at both ends."""
    found: list[Shift] = []
    for begin, upto in _pieces(schedule, start, end):
        on_call = on_call_at(schedule, begin)
        if found and found[-1].on_call == on_call:
            found[-1] = replace(found[-1], end=upto)
        else:
            found.append(Shift(start=begin, end=upto, on_call=on_call))
    return found


def _pieces(schedule: Schedule, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) cut at every instant at which an answer may change."""
    if start >= end:
        return
    cuts = {start, end}
    for layer in schedule.layers:
        cuts.update(layer.changes(start, end))
    spans = [*((e.start, e.end) for e in schedule.feed), *((o.start, o.end) for o in schedule.overrides)]
    cuts.update(at for span in spans for at in span if start < at < end)
    yield from pairwise(sorted(cuts))


def shift_at(schedule: Schedule, t: datetime) -> Shift:
    """The whole shift in which ``t`` lies, both ends searched for at most ``FARTHEST`` away."""
    step, found = _FIRST_STEP, None
    while True:
        around = shifts(schedule, t - step, t + step)
        found = next(each for each in around if each.start <= t < each.end)
        inside = t - step < found.start and found.end < t + step
        if inside or step >= FARTHEST:
            return found
        step = min(step * 4, FARTHEST)


def gaps(schedule: Schedule, start: datetime, end: datetime) -> list[Shift]:
    """Parts of [start, end) that no layer, feed or override covers, with who takes them."""
    return [each for each in shifts(schedule, start, end) if each.is_gap]


def next_gap(schedule: Schedule, t: datetime) -> Shift | None:
    """The gap in which ``t`` lies or the first after it; None where there is none within ``FARTHEST``. Its end may be cut."""
    at, step = t, _FIRST_STEP
    while at < t + FARTHEST:
        upto = min(at + step, t + FARTHEST)
        if found := gaps(schedule, at, upto):
            return found[0]
        at, step = upto, step * 2
    return None


def overlaps(schedule: Schedule, start: datetime, end: datetime) -> list[Overlap]:
    """Parts of [start, end) for which layers, or entries of the feed, name different people."""
    found: list[Overlap] = []
    for begin, upto in _pieces(schedule, start, end):
        names = covering(schedule, begin)
        if len({each.who for each in names}) < 2:
            continue
        if found and found[-1].end == begin and found[-1].covering == names:
            found[-1] = replace(found[-1], end=upto)
        else:
            found.append(Overlap(start=begin, end=upto, covering=names))
    return found


def person_shifts(found: Iterable[Shift]) -> list[Shift]:
    """Each person's shifts: one for each time in which somebody is on call for one reason, by start and name."""
    open_: dict[Assignment, Shift] = {}
    done: list[Shift] = []
    for shift in found:
        for each in shift.on_call:
            known = open_.get(each)
            if known is not None and known.end == shift.start:
                open_[each] = replace(known, end=shift.end)
                continue
            if known is not None:
                done.append(known)
            open_[each] = Shift(start=shift.start, end=shift.end, on_call=(each,))
    return sorted([*done, *open_.values()], key=lambda each: (each.start, each.who))


def span_text(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """``mon 2026-11-30 20:00 to tue 08:00 Europe/Budapest``; the second date where it is a week away or more."""
    first, last = local(start, zone), local(end, zone)
    short = last - first < timedelta(days=7)
    same = first.date() == last.date()
    upto = last.strftime("%H:%M" if same else "%a %H:%M" if short else "%a %Y-%m-%d %H:%M").lower()
    return f"{first.strftime('%a %Y-%m-%d %H:%M').lower()} to {upto} {zone.key}"


AHEAD = timedelta(weeks=4)
"""How far `check` looks for gaps and overlaps."""
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineTest:
    """Who must be on call at an instant."""

    at: datetime  # UTC
    on_call: tuple[str, ...]  # in any order


def run_test(schedule: Schedule, test: InlineTest) -> str:
    """What is wrong: who is on call instead, and why; '' where the test passes."""
    found = on_call_at(schedule, test.at)
    if {each.who for each in found} == set(test.on_call):
        return ""
    wanted = " and ".join(test.on_call) or "nobody"
    instead = "; ".join(each.text for each in found) or NOBODY
    return f"at {test.at.astimezone(UTC):%Y-%m-%dT%H:%MZ} {wanted} should be on call, but {instead}"


def gap_text(schedule: Schedule, now: datetime) -> str:
    """What of the next weeks no layer covers, and who takes it; '' where all is covered."""
    found = gaps(schedule, now, now + AHEAD)
    if not found:
        return ""
    first = found[0]
    who = f"{schedule.uncovered} takes {'it' if len(found) == 1 else 'them'}" if schedule.uncovered else NOBODY
    return f"nothing covers {span_text(first.start, first.end, schedule.zone or _UTC)}{_more(found)}; {who}"


def overlap_text(schedule: Schedule, now: datetime) -> str:
    """What of the next weeks two layers cover with different people, and who wins; '' where there is no such time."""
    found = overlaps(schedule, now, now + AHEAD)
    if not found:
        return ""
    first = found[0]
    of = [each.of or each.who for each in first.covering]
    ends = "all are on call" if schedule.overlap_all else f"{of[-1]} wins"
    when = span_text(first.start, first.end, schedule.zone or _UTC)
    return f"{' and '.join(of)} both cover {when}{_more(found)}; {ends}"


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - 1} more in {AHEAD // timedelta(weeks=1)} weeks" if len(found) > 1 else ""

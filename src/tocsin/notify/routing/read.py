"""Routes, inhibition, intervals and silences out of their models: every fault with its line, all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tocsin.config.calendars.maintenance import MaintenanceModel
from tocsin.config.yaml.document import KeyPath, Placed, suggest
from tocsin.errors import Problem
from tocsin.model.alert import fingerprint
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.calendars.wallclock import parse_range, parse_weekdays, zone_named
from tocsin.notify.oncall.models import Match, PersonModel
from tocsin.notify.routing.groups import GroupTiming
from tocsin.notify.routing.inhibit import InhibitRule
from tocsin.notify.routing.matchers import BadMatcher, Matcher, matches, one_of, parse_matchers
from tocsin.notify.routing.models import (
    InhibitModel,
    IntervalModel,
    RootModel,
    RouteModel,
    RouteTestModel,
    SideModel,
    SilenceModel,
    TimeIntervalModel,
)
from tocsin.notify.routing.mute import Interval, Maintenance, Mute, QuietHours, Silence, Then, TimeInterval
from tocsin.notify.routing.tree import Route, Taken, route

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Names that the files and rules declare."""

    receivers: Collection[str] = ()  # receivers, people; an address is known without
    escalations: Collection[str] = ()
    intervals: Mapping[str, TimeInterval] = field(default_factory=dict)
    fields: Collection[str] | None = None  # what rules' alerts carry; None: not known, nothing is said of it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What a reading function needs: where faults go, and what is known."""

    placed: Placed[RootModel] | Placed[InhibitModel] | Placed[SilenceModel]
    known: Known
    problems: list[Problem]

    def wrong(self, path: KeyPath, message: str, hint: str = "") -> None:
        self.problems.append(self.placed.problem(path, message, hint))

    def field(self, path: KeyPath, name: str) -> None:
        if self.known.fields is not None and name not in self.known.fields:
            hint = suggest(name, self.known.fields) or "alerts carry a rule's by, labels and fields"
            self.wrong(path, f"no rule's alerts have a field '{name}'", hint)

    def match(self, path: KeyPath, match: Match) -> list[Matcher]:
        found: list[Matcher] = []
        for name, texts in match.items():
            self.field((*path, name), name)
            try:
                found.append(one_of(name, tuple(map(str, texts))))
            except BadMatcher as e:
                self.wrong((*path, name), str(e), "severities are critical, error, warning, informational, verbose")
        return found

    def matchers(self, path: KeyPath, texts: Sequence[str]) -> list[Matcher]:
        found: list[Matcher] = []
        for i, text in enumerate(texts):
            at = (*path, i) if len(texts) > 1 else path
            try:
                read = parse_matchers(text)
            except BadMatcher as e:
                message, _, hint = str(e).partition("; ")
                self.wrong(at, message, hint)
                continue
            for each in read:
                self.field(at, each.name)
            found += read
        return found


# -- routes ------------------------------------------------------------------------------------------------------------


def read_route(
    placed: Placed[RootModel], known: Known, problems: list[Problem]
) -> tuple[Route, tuple[str, ...]] | None:
    """The tree and its ``always``; None where something is wrong, which goes to ``problems``."""
    before, model = len(problems), placed.model
    reading = _Reading(placed=placed, known=known, problems=problems)
    if model.match or model.matchers:
        reading.wrong((), "is the root, which takes every alert", "write match: in a route under routes:")
    if model.mute or model.active:
        reading.wrong((), "is the root, which is never muted", "write mute: in a route under routes:")
    if model.continue_:
        reading.wrong(("continue",), "has nothing after it: this is the root", "leave it out")
    for j, name in enumerate(model.always):
        _receiver(reading, ("always", j) if len(model.always) > 1 else ("always",), name)
    root = _node(reading, (), model, Route())
    return (root, model.always) if len(problems) == before else None


def _receiver(reading: _Reading, path: KeyPath, name: str) -> None:
    if "@" not in name and name not in reading.known.receivers:
        reading.wrong(path, f"'{name}' is no receiver, person or address", suggest(name, reading.known.receivers))


def _node(reading: _Reading, path: KeyPath, model: RouteModel, parent: Route) -> Route:
    for j, name in enumerate(model.receiver):
        _receiver(reading, (*path, "receiver", j) if len(model.receiver) > 1 else (*path, "receiver"), name)
    if model.escalation and model.escalation not in reading.known.escalations:
        hint = suggest(model.escalation, reading.known.escalations)
        reading.wrong((*path, "escalation"), f"'{model.escalation}' is no escalation", hint)
    group_by = parent.group_by if model.group_by is None else model.group_by
    if model.group_by and "..." in model.group_by and len(model.group_by) > 1:
        reading.wrong((*path, "group_by"), "names '...' beside others", "'...' is all fields: write it alone")
    for name in model.group_by or ():
        if name != "...":
            reading.field((*path, "group_by"), name)
    says_who = bool(model.receiver or model.escalation)
    node = Route(
        receivers=model.receiver if says_who else parent.receivers,
        escalation=model.escalation if says_who else parent.escalation,
        matchers=(
            *reading.match((*path, "match"), model.match),
            *reading.matchers((*path, "matchers"), model.matchers),
        ),
        goes_on=model.continue_,
        group_by=group_by,
        timing=_timing(reading, path, model, parent.timing),
        mute=_mute(reading, path, model),
        place=f"{reading.placed.document.file}:{reading.placed.document.line((*reading.placed.path, *path))}",
    )
    children = (_node(reading, (*path, "routes", i), child, node) for i, child in enumerate(model.routes))
    return replace(node, routes=tuple(children))


def _timing(reading: _Reading, path: KeyPath, model: RouteModel, parent: GroupTiming) -> GroupTiming:
    repeat: timedelta | None = parent.repeat
    if model.repeat_interval is not None:
        repeat = None if model.repeat_interval == "none" else model.repeat_interval
    for key, given in (("group_interval", model.group_interval), ("repeat_interval", repeat)):
        if given is not None and not given:
            reading.wrong((*path, key), "must be longer than 0s")
    return GroupTiming(
        wait=parent.wait if model.group_wait is None else model.group_wait,
        interval=parent.interval if model.group_interval is None else model.group_interval,
        repeat=repeat,
        backoff=parent.backoff if model.repeat_backoff is None else model.repeat_backoff,
        repeat_max=parent.repeat_max if model.repeat_max is None else model.repeat_max,
    )


def _mute(reading: _Reading, path: KeyPath, model: RouteModel) -> Mute | None:
    if model.mute is None and model.active is None:
        return None

    def named(key: str, names: Iterable[str]) -> tuple[TimeInterval, ...]:
        known = reading.known.intervals
        for name in names:
            if name not in known:
                reading.wrong((*path, key, "during"), f"'{name}' is no time interval", suggest(name, known))
        return tuple(known[name] for name in names if name in known)

    muted = model.mute.during if model.mute is not None else ()
    active = model.active.during if model.active is not None else ()
    says = model.mute or model.active
    assert says is not None
    return Mute(during=named("mute", muted), active=named("active", active), then=says.then)


# -- inhibition and silences -------------------------------------------------------------------------------------------


def read_inhibit(placed: Placed[InhibitModel], known: Known, problems: list[Problem]) -> InhibitRule | None:
    """The rule; None where something is wrong, which goes to ``problems``."""
    before, model = len(problems), placed.model
    reading = _Reading(placed=placed, known=known, problems=problems)

    def side(key: str, said: SideModel | Match) -> tuple[Matcher, ...]:
        if isinstance(said, SideModel):
            found = reading.matchers((key, "matchers"), said.matchers)
        else:
            found = reading.match((key,), said)
        if not said:
            reading.wrong((key,), "matches every alert", "write for example {rule: cluster-down}")
        return tuple(found)

    source, target = side("source", model.source), side("target", model.target)
    for name in model.equal:
        reading.field(("equal",), name)
    if len(problems) > before:
        return None
    return InhibitRule(
        source=source, target=target, equal=model.equal, hold=model.hold, then=model.then, place=placed.place
    )


def read_silence(placed: Placed[SilenceModel], known: Known, problems: list[Problem]) -> Silence | None:
    """The silence, with an id that follows from what it says; None where something is wrong, which goes to
    ``problems``.
    """
    before, model = len(problems), placed.model
    reading = _Reading(placed=placed, known=known, problems=problems)
    matchers = (*reading.match(("match",), model.match), *reading.matchers(("matchers",), model.matchers))
    if len(problems) == before and (not matchers or matches(matchers, {})):
        reading.wrong((), "matches every alert", "write match: {rule: run-failed}")
    if model.to <= model.from_:
        reading.wrong(("to",), "does not come after `from`")
    if len(problems) > before:
        return None
    id_ = fingerprint("silence", *map(str, matchers), model.from_.isoformat(), model.to.isoformat())
    return Silence(id=id_, matchers=matchers, start=model.from_, end=model.to, by=model.by, comment=model.comment)


def read_maintenance(
    placed: Placed[MaintenanceModel], intervals: Mapping[str, TimeInterval], problems: list[Problem]
) -> tuple[Maintenance, ...]:
    """What a maintenance mutes, one for each of its time intervals; names of none go to ``problems``. What else is
    wrong with it is found where rules are made to pause (`config.calendars.maintenance`): then it mutes nothing.
    """
    model = placed.model
    try:
        match, but = (
            tuple(one_of(name, tuple(map(str, texts))) for name, texts in said.items())
            for said in (model.match, model.except_)
        )
    except BadMatcher:
        return ()
    unknown = [name for name in model.during or () if name not in intervals]
    for name in unknown:
        problems.append(placed.problem(("during",), f"'{name}' is no time interval", suggest(name, intervals)))
    whens = [intervals[name] for name in model.during or () if name in intervals] if model.during else [None]
    return tuple(
        Maintenance(
            start=model.from_, end=model.to, during=during, match=match, but=but, then=Then(model.then),
            place=placed.place,
        )
        for during in whens
    )  # fmt: skip


# -- times
# ---------------------------------------------------------------------------------------------------------------


def read_interval(
    placed: Placed[TimeIntervalModel], calendars: Mapping[str, Calendar], problems: list[Problem]
) -> TimeInterval | None:
    """The interval; None where something is wrong, which goes to ``problems``."""
    before, model = len(problems), placed.model
    if model.any_of and _says(model):
        problems.append(placed.problem((), "says times beside any_of:", "write them within any_of: too"))
    if not model.any_of and not _says(model):
        problems.append(placed.problem((), "says no time", "write weekdays: [sat, sun], or times:"))
    parts: Sequence[tuple[KeyPath, IntervalModel]] = (
        [(("any_of", i), each) for i, each in enumerate(model.any_of)] if model.any_of else [((), model)]
    )
    found = tuple(_interval(placed, path, each, calendars, problems) for path, each in parts)
    return TimeInterval(name=model.name, any_of=found) if len(problems) == before else None


def _says(model: IntervalModel) -> bool:
    keys = ("times", "weekdays", "days_of_month", "months", "years", "days_of")
    return any(getattr(model, key) for key in keys)


def _interval(
    placed: Placed[TimeIntervalModel],
    path: KeyPath,
    model: IntervalModel,
    calendars: Mapping[str, Calendar],
    problems: list[Problem],
) -> Interval:
    def spans(key: str, texts: Sequence[str], parse: Callable[[str], tuple[int, int]]) -> list[tuple[int, int]]:
        found = []
        for text in texts:
            try:
                found.append(parse(text))
            except ValueError as e:
                message, _, hint = str(e).partition("; ")
                problems.append(placed.problem((*path, key), message, hint))
        return found

    unknown = [name for name in model.days_of if name not in calendars]
    for name in unknown:
        problems.append(placed.problem((*path, "days_of"), f"'{name}' is no calendar", suggest(name, calendars)))
    months = spans("months", model.months, _month_range)
    known = [calendars[name] for name in model.days_of if name in calendars]
    return Interval(
        zone=zone_named(model.timezone or "UTC"),
        times=tuple(map(parse_range, model.times or ())),
        weekdays=frozenset().union(*map(parse_weekdays, model.weekdays)),
        days_of_month=tuple(spans("days_of_month", model.days_of_month, _day_range)),
        months=frozenset(n for low, high in months for n in range(low, high + 1)),
        years=tuple(spans("years", model.years, _year_range)),
        days=_Days(tuple(known)) if model.days_of else None,
    )


@dataclass(frozen=True, slots=True)
class _Days:
    """Days of any of these calendars."""

    calendars: tuple[Calendar, ...]

    def __contains__(self, day: object) -> bool:
        return any(day in each for each in self.calendars)


def _ends(text: str, one: Callable[[str], int]) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    low = one(first.strip())
    high = one(last.strip()) if colon else low
    if low > high and (low < 0) == (high < 0):
        raise ValueError(f"'{text}' ends before it begins")
    return low, high


def _day_range(text: str) -> tuple[int, int]:
    """``1:5``, ``-1``. Raises ValueError."""

    def one(word: str) -> int:
        if not word.lstrip("-").isdecimal() or not 1 <= abs(int(word)) <= 31:
            raise ValueError(f"'{text}' is no day of a month; write 1 to 31, or -1 for the last")
        return int(word)

    low, high = _ends(text, one)
    if low < 0 < high:
        raise ValueError(f"'{text}' counts from the end and ends counted from the start; write both alike")
    return low, high


def _month_range(text: str) -> tuple[int, int]:
    """``may:august``, ``5``. Raises ValueError."""

    def one(word: str) -> int:
        if word.isdecimal() and 1 <= int(word) <= 12:
            return int(word)
        for number, month in enumerate(MONTHS, 1):
            if len(word) >= 3 and word.lower() in (month, month[:3]):
                return number
        raise ValueError(f"'{text}' is no month; write may, 5 or may:august")

    return _ends(text, one)


def _year_range(text: str) -> tuple[int, int]:
    """``2026:2028``. Raises ValueError."""

    def one(word: str) -> int:
        if not word.isdecimal() or not 1970 <= int(word) <= 9999:
            raise ValueError(f"'{text}' is no year; write 2026 or 2026:2028")
        return int(word)

    return _ends(text, one)


def quiet_hours(placed: Placed[PersonModel], problems: list[Problem]) -> QuietHours | None:
    """A person's quiet hours in her zone; None for none, and where something is wrong, which goes to ``problems``."""
    quiet = placed.model.quiet
    if quiet is None:
        return None
    if placed.model.timezone is None:
        hint = "write timezone: Europe/Budapest beside name:"
        problems.append(placed.problem(("quiet",), "has hours, but the person has no zone", hint))
    but: list[Matcher] = []
    for name, texts in quiet.except_.items():
        try:
            but.append(one_of(name, tuple(map(str, texts))))
        except BadMatcher as e:
            problems.append(placed.problem(("quiet", "except", name), str(e)))
    interval = Interval(
        zone=zone_named(placed.model.timezone or "UTC"),
        times=tuple(map(parse_range, quiet.hours)),
        weekdays=frozenset().union(*map(parse_weekdays, quiet.weekdays)),
    )
    return QuietHours(interval=TimeInterval(name=", ".join(quiet.hours), any_of=(interval,)), but=tuple(but))


# -- inline tests ------------------------------------------------------------------------------------------------------


def run_route_test(
    test: RouteTestModel, root: Route, always: Sequence[str], reached: Callable[[Taken], Sequence[str]]
) -> str:
    """What is wrong: who is notified instead, each with why; '' where the test passes. ``reached`` names a receiver as
    itself, of a schedule or an escalation's first step the people at the test's time.
    """
    taken = route(root, always, {name: str(value) for name, value in test.alert.items()})
    found = {name: each for each in taken for name in reached(each)}
    if set(found) == set(test.notifies):
        return ""
    missing = [name for name in test.notifies if name not in found]
    more = [f"{name} ({found[name].text})" for name in found if name not in test.notifies]
    parts = [
        f"does not notify {' and '.join(missing)}" if missing else "",
        f"notifies {'; '.join(more)}" if more else "",
    ]
    return ", but ".join(filter(None, parts))

"""Schedules and escalations out of their models: every fault with its line, all at once."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin.config.calendars.fetch import is_url
from tocsin.config.yaml.document import KeyPath, Placed, suggest
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.calendars.wallclock import (
    DAY,
    WEEKDAYS,
    instant,
    parse_clock,
    parse_range,
    parse_weekday,
    parse_weekdays,
    zone_named,
)
from tocsin.notify.addresses import BadAddress, parse_address
from tocsin.notify.oncall.escalation import Escalation, Step
from tocsin.notify.oncall.feed import Reader
from tocsin.notify.oncall.models import EscalationModel, LayerModel, RotationModel, ScheduleModel
from tocsin.notify.oncall.schedule import Entry, Layer, Override, Rotation, Schedule
from tocsin.notify.oncall.shifts import InlineTest, gap_text, overlap_text, run_test

_SHORTEST = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Names that the files declare."""

    people: Mapping[str, str] = field(default_factory=dict)  # name → address
    calendars: Mapping[str, Calendar] = field(default_factory=dict)


@dataclass(slots=True)
class _AnyOf:
    """Days that one of several calendars leaves out."""

    calendars: Sequence[Calendar]

    def __contains__(self, day: object) -> bool:
        return any(day in each for each in self.calendars)


class _Reading:
    """One schedule on its way."""

    def __init__(self, placed: Placed[ScheduleModel], known: Known, problems: list[Problem]) -> None:
        self._placed, self._known, self._problems = placed, known, problems
        self._zone = zone_named(placed.model.timezone) if placed.model.timezone else None

    def wrong(self, path: KeyPath, message: str, hint: str = "") -> None:
        self._problems.append(self._placed.problem(path, message, hint))

    def who(self, path: KeyPath, name: str) -> None:
        """``name`` is a person or an address."""
        if name in self._known.people:
            return
        if "@" not in name:
            self.wrong(path, f"'{name}' is no person or address", suggest(name, self._known.people))
            return
        try:
            parse_address(name)
        except BadAddress as e:
            self.wrong(path, f"'{name}' {e}", "write anna@example.org")

    def instant(self, path: KeyPath, at: datetime) -> datetime:
        if at.tzinfo is not None:
            return at.astimezone(UTC)
        if self._zone is None:
            self.wrong(path, f"'{at:%Y-%m-%dT%H:%M}' says no zone", "write timezone: Europe/Budapest in the schedule")
        return instant(at, self._zone or ZoneInfo("UTC"))

    def schedule(self) -> Schedule:
        model = self._placed.model
        forms = [key for key in ("layers", "rotation", "ical") if getattr(model, key)]
        if len(forms) != 1:
            said = f"has {' and '.join(f'{key}:' for key in forms)}" if forms else "says nobody"
            self.wrong((), said, "write layers:, or rotation:, or ical: with the URL of a feed")
        if model.ical and not is_url(model.ical):
            self.wrong(("ical",), f"'{model.ical}' is no URL", "write https://…")
        if model.uncovered:
            self.who(("uncovered",), model.uncovered)
        names = [layer.name for layer in model.layers]
        for i, name in enumerate(names):
            if name in names[:i]:
                self.wrong(("layers", i, "name"), f"'{name}' is taken", "name each layer differently")
        layers = [self._layer(i, layer) for i, layer in enumerate(model.layers)]
        if model.rotation is not None:
            layers.append(self._simple(model.rotation))
        return Schedule(
            name=model.name,
            layers=tuple(each for each in layers if each is not None),
            overlap_all=model.overlap == "all",
            uncovered=model.uncovered,
            overrides=tuple(self._override(i) for i in range(len(model.overrides))),
            zone=self._zone or (layers[0].zone if layers and layers[0] is not None else None),
        )

    def _layer(self, i: int, model: LayerModel) -> Layer | None:
        path: KeyPath = ("layers", i)
        zone = zone_named(model.timezone) if model.timezone else self._zone
        if zone is None:
            self.wrong(path, "says no zone", "write timezone: Europe/Budapest in it or in the schedule")
        for j, name in enumerate(model.except_):
            if name not in self._known.calendars:
                at: KeyPath = (*path, "except", j) if len(model.except_) > 1 else (*path, "except")
                self.wrong(at, f"'{name}' is no calendar", suggest(name, self._known.calendars))
        rotation = self._rotation((*path, "rotation"), model.rotation)
        if zone is None or rotation is None:
            return None
        weekdays = frozenset().union(*map(parse_weekdays, model.weekdays))
        return Layer(
            name=model.name,
            zone=zone,
            rotation=rotation,
            hours=tuple(map(parse_range, model.hours)),
            weekdays=weekdays or frozenset(range(7)),
            skips=self._skips(model.except_),
        )

    def _skips(self, names: Collection[str]) -> Container[date]:
        return _AnyOf([self._known.calendars[name] for name in names if name in self._known.calendars])

    def _simple(self, model: RotationModel) -> Layer | None:
        if self._zone is None:
            self.wrong(("rotation",), "says no zone", "write timezone: Europe/Budapest in the schedule")
        rotation = self._rotation(("rotation",), model)
        if self._zone is None or rotation is None:
            return None
        return Layer(name="rotation", zone=self._zone, rotation=rotation)

    def _rotation(self, path: KeyPath, model: RotationModel) -> Rotation | None:
        before = len(self._problems)
        for i, name in enumerate(model.members):
            self.who((*path, "members", i), name)
        if model.every < _SHORTEST or (model.every % DAY and DAY % model.every):
            hint = "write so many days (1d, 1w), or hours that divide a day (12h, 8h)"
            self.wrong((*path, "every"), "is no whole number of days and no part of a day", hint)
        start = self._start(path, model)
        if len(self._problems) > before:
            return None
        return Rotation(members=model.members, every=model.every, start=start)

    def _start(self, path: KeyPath, model: RotationModel) -> datetime | None:
        """The first handoff, naive."""
        *day, clock = model.handoff.split()
        if model.starting is None:
            if len(model.members) > 1:
                hint = f"write the day on which {model.members[0]} begins, as starting: 2026-01-05"
                self.wrong((*path, "starting"), "is missing", hint)
            return None
        begin = model.starting
        if day and model.every % timedelta(weeks=1):
            hint = "write every: 1w, or handoff: with a time only"
            self.wrong((*path, "handoff"), "names a day of the week, but turns do not last weeks", hint)
        elif day and (wanted := parse_weekday(day[0])) != begin.weekday():
            near = begin - DAY * ((begin.weekday() - wanted) % 7)
            message = f"{begin} is a {WEEKDAYS[begin.weekday()]}, but handoff: says {WEEKDAYS[wanted]}"
            self.wrong((*path, "starting"), message, f"write {near} or {near + 7 * DAY}")
        return datetime(begin.year, begin.month, begin.day) + timedelta(minutes=parse_clock(clock))

    def _override(self, i: int) -> Override:
        model, path = self._placed.model.overrides[i], ("overrides", i)
        start, end = self.instant((*path, "from"), model.from_), self.instant((*path, "to"), model.to)
        if end <= start:
            self.wrong((*path, "to"), "does not come after `from`")
        self.who((*path, "who"), model.who)
        if model.instead_of:
            self.who((*path, "instead_of"), model.instead_of)
        return Override(start=start, end=end, who=model.who, reason=model.reason, instead_of=model.instead_of)


def read_schedule(placed: Placed[ScheduleModel], known: Known, problems: list[Problem]) -> Schedule | None:
    """The schedule, without its feed's shifts; None where something is wrong, which goes to ``problems``."""
    before = len(problems)
    found = _Reading(placed, known, problems).schedule()
    return found if len(problems) == before else None


def feed_reader(model: ScheduleModel, known: Known) -> Reader:
    """What reads the feed of a schedule with ``ical``."""
    return Reader(people=known.people, by=model.people_by, zone=zone_named(model.timezone or "UTC"))


def check_schedule(
    placed: Placed[ScheduleModel], schedule: Schedule, now: datetime, *, entries: Sequence[Entry] | None = None
) -> list[Problem]:
    """Inline tests that fail, and as warnings gaps and overlaps of the next weeks. ``entries`` are None of a feed that
    has not been read: then nothing is known of it, and only that it needs somebody for such times is said.
    """
    model = placed.model
    if model.ical and entries is None:
        return [] if schedule.uncovered else [placed.problem(("ical",), *_NO_FEED, warning=True)]
    found = [
        placed.problem(("tests", i), fault)
        for i, test in enumerate(model.tests)
        if (fault := run_test(schedule, InlineTest(at=test.at, on_call=test.on_call)))
    ]
    for text, hint in (
        (gap_text(schedule, now), "" if schedule.uncovered else "write uncovered: with a person"),
        (overlap_text(schedule, now), ""),
    ):
        if text:
            found.append(placed.problem((), text, hint, warning=True))
    return found


_NO_FEED = "is the only source: before it has been read once, nobody is on call", "write uncovered: with a person"


def read_escalation(
    placed: Placed[EscalationModel], known: Collection[str], problems: list[Problem]
) -> Escalation | None:
    """The escalation; ``known`` are receivers and people. None where something is wrong, which goes to ``problems``."""
    before, model = len(problems), placed.model
    if not model.steps:
        problems.append(placed.problem(("steps",), "names nobody", "write steps: [{notify: on-call}]"))
    last = timedelta(0)
    for i, step in enumerate(model.steps):
        for j, name in enumerate(step.notify):
            path: KeyPath = ("steps", i, "notify", j) if len(step.notify) > 1 else ("steps", i, "notify")
            if name not in known and "@" not in name:
                problems.append(
                    placed.problem(path, f"'{name}' is no receiver, person or address", suggest(name, known))
                )
        if step.after < last:
            hint = "`after` counts from the escalation's start"
            problems.append(placed.problem(("steps", i, "after"), "comes before the step above", hint))
        last = step.after
    if len(problems) > before:
        return None
    return Escalation(
        name=model.name,
        steps=tuple(
            Step(notify=step.notify, after=step.after, repeat=step.repeat, every=step.every or timedelta(0))
            for step in model.steps
        ),
        ack_timeout=None if model.ack_timeout == "none" else model.ack_timeout,
        resume=model.resume,
    )

"""rules/oncall/*.yaml whole: every file into one value, every fault of every file at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field

from tocsin.config.calendars.maintenance import MaintenanceModel
from tocsin.config.calendars.named import CalendarModel
from tocsin.config.yaml.document import Document, KeyPath, Placed, YamlModel, suggest
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.notify.addresses import BadAddress, parse_address
from tocsin.notify.channels.apprise import Apprise
from tocsin.notify.oncall import read as read_schedules
from tocsin.notify.oncall.escalation import Escalation
from tocsin.notify.oncall.models import By, EscalationModel, Name, PersonModel, ScheduleModel
from tocsin.notify.oncall.schedule import Schedule, on_call_at
from tocsin.notify.routing import read
from tocsin.notify.routing.inhibit import InhibitRule
from tocsin.notify.routing.lookup import NO_TABLES, AddressTables, parse_lookup
from tocsin.notify.routing.models import (
    FirstOf,
    InhibitModel,
    ReceiverModel,
    RootModel,
    RouteTestModel,
    SilenceModel,
    TimeIntervalModel,
)
from tocsin.notify.routing.mute import Maintenance, QuietHours, Silence, TimeInterval
from tocsin.notify.routing.tree import Route, Taken

OWNER = "owner"
"""The receiver that exists without being declared: the run's owner."""
_BUILT_IN_OWNER = ReceiverModel(name=OWNER, email=FirstOf(first_of=("{{ Tags['tocsin.mail'] }}", "{{ OwnerEmail }}")))

T = TypeVar("T")


MAIL: By = "email"
PAGED: By = "page"
PAGE = Apprise.key
"""Channel of what people are paged by."""


def page_address(person: str) -> str:
    """The address of deliveries that page a person."""
    return f"{PAGE}:{person}"


class OnCallFile(YamlModel):
    """A file under rules/oncall/."""

    people: tuple[PersonModel, ...] = Field(
        default=(), description="Who can be notified.", examples=[[{"name": "anna", "email": "anna@example.org"}]]
    )
    receivers: tuple[ReceiverModel, ...] = Field(
        default=(),
        description="Names under which people, chats and pagers are notified.",
        examples=[[{"name": "ml-leads", "email": "ml-leads@example.org"}]],
    )
    route: RootModel | None = Field(
        default=None, description="Who is notified of what; in one of the files.", examples=[{"receiver": "ml-leads"}]
    )
    inhibit: tuple[InhibitModel, ...] = Field(
        default=(),
        description="Alerts that make others needless.",
        examples=[[{"source": {"rule": "cluster-down"}, "target": {"rule": "run-silent"}}]],
    )
    calendars: dict[Name, CalendarModel] = Field(
        default_factory=dict,
        description="Days that do not count, by name.",
        examples=[{"hu-holidays": {"country": "HU"}}],
    )
    time_intervals: tuple[TimeIntervalModel, ...] = Field(
        default=(), description="Times with a name.", examples=[[{"name": "weekends", "weekdays": ["sat", "sun"]}]]
    )
    silences: tuple[SilenceModel, ...] = Field(
        default=(), description="Alerts that are not notified of for a time.", examples=[[{"match": {"rule": "x"}}]]
    )
    maintenance: tuple[MaintenanceModel, ...] = Field(
        default=(),
        description="Times in which work is known to stand still.",
        examples=[[{"from": "2026-12-01T20:00Z", "to": "2026-12-01T23:00Z"}]],
    )
    schedules: tuple[ScheduleModel, ...] = Field(
        default=(), description="Who is on call when.", examples=[[{"name": "primary"}]]
    )
    escalations: tuple[EscalationModel, ...] = Field(
        default=(), description="Who is notified next.", examples=[[{"name": "page"}]]
    )
    tests: tuple[RouteTestModel, ...] = Field(
        default=(), description="Who must be notified of what.", examples=[[{"notifies": ["owner"]}]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallRules:
    """What the files say. Feeds have no shifts here: who fetches them puts them into the schedules."""

    people: Mapping[str, PersonModel] = field(default_factory=dict)
    receivers: Mapping[str, ReceiverModel] = field(default_factory=dict)
    root: Route = field(default_factory=Route)
    always: tuple[str, ...] = (OWNER,)
    inhibit: tuple[InhibitRule, ...] = ()
    intervals: Mapping[str, TimeInterval] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    tables: AddressTables = NO_TABLES  # in which receivers look addresses up
    escalations: Mapping[str, Escalation] = field(default_factory=dict)
    quiet: Mapping[str, QuietHours] = field(default_factory=dict)  # by person
    maintenances: tuple[Maintenance, ...] = ()

    @property
    def channels(self) -> Mapping[str, Mapping[str, Any]]:
        """What each receiver has besides mail, by key; a person who can be paged is one, too."""
        pages = {name: {PAGE: person.page} for name, person in self.people.items() if person.page}
        return {**pages, **{name: found for name, receiver in self.receivers.items() if (found := receiver.channels)}}

    def receiver_called(self, name: str) -> ReceiverModel | None:
        """The receiver, person or address ``name`` as a receiver; None for a word that nobody declared."""
        if (found := self.receivers.get(name)) is not None:
            return found
        if name in self.people or "@" in name:
            return ReceiverModel.of_address(name)
        return _BUILT_IN_OWNER if name == OWNER else None

    def wrong(self, name: str) -> tuple[str, str] | None:
        """(what is wrong with ``name`` as a receiver, what would be right), or None. For ``notify.to`` of rules."""
        if "@" in name and name not in self.receivers:
            try:
                parse_address(name)
            except BadAddress as e:
                return f"'{name}' {e}", "write ops@example.org"
            return None
        if self.receiver_called(name) is None:
            known = [*self.receivers, *self.people, OWNER]
            return f"'{name}' is no receiver, person or address", suggest(name, known)
        return None

    def person_at(self, address: str) -> PersonModel | None:
        """Whose address it is, for mails or for pages."""
        wanted = address.lower()
        every = self.people.values()
        return next((p for p in every if wanted in (p.email.lower(), page_address(p.name).lower())), None)

    def zone_of(self, address: str) -> ZoneInfo | None:
        """The time zone of the person with this address."""
        person = self.person_at(address)
        return ZoneInfo(person.timezone) if person is not None and person.timezone else None

    def reach(self, name: str, at: datetime) -> tuple[str, ...]:
        """Whom the receiver, person or address ``name`` comes to at ``at``: of a schedule who is on call; a receiver
        with other channels stands for itself. Empty for nobody. An escalation's ``Reach``.
        """
        receiver = self.receivers.get(name)
        if receiver is None or not receiver.schedule:
            return (name,)
        on_call = self.on_call(receiver.schedule, at)
        return (*on_call, name) if _others(receiver) else on_call

    def ways_on_call(self, person: str, at: datetime) -> tuple[By, ...]:
        """The ways to ``person`` of receivers by whose schedules the person is on call at ``at``."""
        return tuple(
            way
            for receiver in self.receivers.values()
            if receiver.schedule and PAGED in receiver.how
            for way in receiver.how
            if person in self.on_call(receiver.schedule, at)
        )

    def on_call(self, schedule: str, at: datetime) -> tuple[str, ...]:
        """Who is on call by ``schedule`` at ``at``; nobody where there is no such schedule."""
        found = self.schedules.get(schedule)
        return tuple(each.who for each in on_call_at(found, at)) if found is not None else ()

    def reached(self, taken: Taken, at: datetime) -> tuple[str, ...]:
        """The same of what a route takes; of an escalation, its first step's."""
        if taken.receiver:
            return self.reach(taken.receiver, at)
        escalation = self.escalations.get(taken.escalation)
        first = escalation.steps[0].notify if escalation is not None else ()
        return tuple(who for name in first for who in self.reach(name, at))


def _others(receiver: ReceiverModel) -> bool:
    """Whether it has channels besides its schedule."""
    return bool(receiver.email or receiver.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known besides the files."""

    calendars: Mapping[str, Calendar] = field(default_factory=dict)  # those that the files declare, read
    fields: Collection[str] | None = None  # what rules' alerts carry; None: not known
    tables: AddressTables | None = None  # None: not known
    template_fault: Callable[[str], str] = lambda text: ""  # what is wrong with a template; '' for nothing


class _Merge:
    """All files on their way into one value."""

    def __init__(self, files: Sequence[tuple[Document, OnCallFile]], context: Context, problems: list[Problem]) -> None:
        self._files, self._context, self._problems = files, context, problems
        self._places: dict[tuple[str, str], str] = {}

    def placed(self, key: str, kind: type[T]) -> Iterator[Placed[T]]:
        """Entries of ``key`` of all files."""
        for document, file in self._files:
            for i, model in enumerate(getattr(file, key)):
                assert isinstance(model, kind)
                yield Placed(model=model, document=document, path=(key, i))

    def named(self, space: str, placed: Placed[T]) -> bool:
        """Whether the name is free; what two files call the same in one ``space`` is a fault."""
        name = str(getattr(placed.model, "name", ""))
        if (first := self._places.setdefault((space, name), placed.place)) == placed.place:
            return True
        self._problems.append(placed.problem(("name",), f"'{name}' is taken", f"it stands in {first}"))
        return False

    def rules(self) -> OnCallRules:
        people = {p.model.name: p for p in self.placed("people", PersonModel) if self.named("who", p)}
        receivers = {r.model.name: r for r in self.placed("receivers", ReceiverModel) if self.named("who", r)}
        names = {*people, *receivers, OWNER}
        oncall = read_schedules.Known(
            people={name: p.model.email for name, p in people.items()}, calendars=self._context.calendars
        )
        schedules = {
            p.model.name: read_schedules.read_schedule(p, oncall, self._problems)
            for p in self.placed("schedules", ScheduleModel)
            if self.named("schedule", p)
        }
        escalations = {
            p.model.name: read_schedules.read_escalation(p, names, self._problems)
            for p in self.placed("escalations", EscalationModel)
            if self.named("escalation", p)
        }
        intervals = {
            p.model.name: read.read_interval(p, self._context.calendars, self._problems)
            for p in self.placed("time_intervals", TimeIntervalModel)
            if self.named("interval", p)
        }
        for each in receivers.values():
            self._receiver(each, {name: p.model for name, p in receivers.items()}, set(people), set(schedules))
        known = read.Known(
            receivers=names,
            escalations=set(escalations),
            # one that is broken is known: its own fault is enough
            intervals={n: i or TimeInterval(name=n, any_of=()) for n, i in intervals.items()},
            fields=self._context.fields,
        )
        quiet = {name: read.quiet_hours(p, self._problems) for name, p in people.items()}
        inhibit = (read.read_inhibit(p, known, self._problems) for p in self.placed("inhibit", InhibitModel))
        silences = (read.read_silence(p, known, self._problems) for p in self.placed("silences", SilenceModel))
        maintenances = (
            each
            for p in self.placed("maintenance", MaintenanceModel)
            for each in read.read_maintenance(p, known.intervals, self._problems)
        )
        root, always = self._route(known)
        return OnCallRules(
            people={name: p.model for name, p in people.items()},
            receivers={name: p.model for name, p in receivers.items()},
            root=root,
            always=always,
            inhibit=tuple(each for each in inhibit if each is not None),
            intervals=known.intervals,
            silences=tuple(each for each in silences if each is not None),
            schedules={name: each for name, each in schedules.items() if each is not None},
            escalations={name: each for name, each in escalations.items() if each is not None},
            quiet={name: each for name, each in quiet.items() if each is not None},
            maintenances=tuple(maintenances),
        )

    def _route(self, known: read.Known) -> tuple[Route, tuple[str, ...]]:
        found = [
            Placed(model=file.route, document=document, path=("route",))
            for document, file in self._files
            if file.route is not None
        ]
        for again in found[1:]:
            self._problems.append(again.problem((), "is given twice", f"it stands in {found[0].place}"))
        if not found:
            return Route(), (OWNER,)
        return read.read_route(found[0], known, self._problems) or (Route(), ())

    def _receiver(
        self,
        placed: Placed[ReceiverModel],
        receivers: Mapping[str, ReceiverModel],
        people: Collection[str],
        schedules: Collection[str],
    ) -> None:
        model = placed.model

        def wrong(path: KeyPath, message: str, hint: str = "") -> None:
            self._problems.append(placed.problem(path, message, hint))

        if model.schedule and model.schedule not in schedules:
            wrong(("schedule",), f"'{model.schedule}' is no schedule", suggest(model.schedule, schedules))
        for j, entry in enumerate(model.emails):
            path: KeyPath = ("email", "first_of", j) if model.takes_first else ("email", j)
            if fault := self._entry(entry, people):
                wrong(path, *fault)
        if model.fallback is not None:
            name = model.fallback.receiver
            if "@" not in name and name not in receivers and name not in people and name != OWNER:
                known = [*receivers, *people]
                wrong(("fallback", "receiver"), f"'{name}' is no receiver, person or address", suggest(name, known))
            if circle := _circle(model.name, receivers):
                wrong(("fallback",), f"goes in a circle: {' → '.join(circle)}")

    def _entry(self, entry: str, people: Collection[str]) -> tuple[str, str] | None:
        """What is wrong with an entry of ``email``, and what would be right; None for nothing."""
        if "{{" in entry or "{%" in entry:
            fault = self._context.template_fault(entry)
            return (f"is no template: {fault}", "") if fault else None
        if entry in people:
            return None
        if (lookup := parse_lookup(entry)) is not None:
            return None if self._context.tables is None else self._context.tables.fault(lookup)
        if "@" not in entry:
            return f"'{entry}' is no person or address", suggest(entry, people)
        try:
            parse_address(entry)
        except BadAddress as e:
            return f"'{entry}' {e}", "write ops@example.org"
        return None


def _circle(start: str, receivers: Mapping[str, ReceiverModel]) -> list[str]:
    """The fallbacks from ``start`` back to it; empty where they end, or where the circle begins elsewhere."""
    seen, at = [start], receivers.get(start)
    while at is not None and at.fallback is not None:
        following = at.fallback.receiver
        if following == start:
            return [*seen, start]
        if following in seen:
            return []
        seen.append(following)
        at = receivers.get(following)
    return []


def read_files(
    files: Sequence[tuple[Document, OnCallFile]], context: Context, problems: list[Problem]
) -> OnCallRules | None:
    """All files as one value; None where something is wrong, which goes to ``problems``."""
    before = len(problems)
    found = _Merge(files, context, problems).rules()
    return found if len(problems) == before else None


def check_files(files: Sequence[tuple[Document, OnCallFile]], rules: OnCallRules, now: datetime) -> list[Problem]:
    """Inline tests of schedules and routes that fail; as warnings gaps and overlaps of schedules."""
    found: list[Problem] = []
    for document, file in files:
        for i, model in enumerate(file.schedules):
            placed = Placed(model=model, document=document, path=("schedules", i))
            schedule = rules.schedules[model.name]
            entries = schedule.feed if schedule.feed else None
            found += read_schedules.check_schedule(placed, schedule, now, entries=entries)
        for i, test in enumerate(file.tests):

            def reached(taken: Taken, at: datetime = test.at) -> tuple[str, ...]:
                return rules.reached(taken, at)

            if fault := read.run_route_test(test, rules.root, rules.always, reached):
                found.append(document.problem(("tests", i), fault))
    return found

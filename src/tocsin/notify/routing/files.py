"""rules/oncall/*.yaml: people, receivers, the route. What is not built yet is refused, never silently ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from jinja2 import TemplateSyntaxError
from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from tocsin.config.calendars.maintenance import Announced, MaintenanceModel
from tocsin.config.calendars.named import CalendarModel, Declared
from tocsin.config.yaml.document import Document, KeyPath, YamlModel, load_file, parse, suggest
from tocsin.config.yaml.durations import Duration
from tocsin.errors import ConfigurationError, Problem
from tocsin.notify.addresses import BadAddress, parse_address
from tocsin.notify.sandbox import words

OWNER = "owner"
"""The receiver that exists without being declared: the run's owner."""


def _not_yet(value: Any) -> Any:
    raise ValueError("is not supported yet")


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


NotYet = Annotated[Any, AfterValidator(_not_yet)]
"""A key of the language that a later version brings."""
Words = Annotated[tuple[str, ...], BeforeValidator(_list)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s@,;{}]+$")]


class PersonModel(YamlModel):
    """Somebody who can be notified."""

    name: Name = Field(description="How receivers and rules call her.", examples=["anna"])
    email: str = Field(description="Her address.", examples=["anna@example.org"])
    timezone: str | None = Field(
        default=None, description="Zone of the times in her mails.", examples=["Europe/Budapest"]
    )
    page: NotYet = Field(default=None, description="Where to page her.")

    @field_validator("email")
    @classmethod
    def _email(cls, value: str) -> str:
        try:
            return parse_address(value)
        except BadAddress as e:
            raise ValueError(f"'{value}' {e}; write anna@example.org") from e

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        try:
            _ = value and ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ValueError(f"'{value}' is not a time zone; {suggest(value or '', available_timezones())}") from e
        return value


class FirstOf(YamlModel):
    """The first of these that gives an address which may be mailed."""

    first_of: Annotated[Words, Field(min_length=1)] = Field(
        description="Addresses, people, or templates over the alert's fields.", examples=[["{{ OwnerEmail }}"]]
    )


class FallbackModel(YamlModel):
    """Who is notified instead, where a receiver comes to nobody or an address is refused."""

    receiver: str = Field(description="A receiver, a person or an address.", examples=["ml-leads"])
    digest: NotYet = Field(default=None, description="Gather and send so often.")
    at: NotYet = Field(default=None, description="When the digest goes out.")


class ReceiverModel(YamlModel):
    """A name under which somebody is notified."""

    name: Name = Field(description="How routes and rules call it.", examples=["ml-leads"])
    email: FirstOf | Words | None = Field(
        default=None,
        description="Addresses, people or templates, all of them; or `first_of`.",
        examples=[["ml-leads@example.org"]],
    )
    fallback: FallbackModel | None = Field(default=None, description="Who is notified where that comes to nobody.")
    webhook: NotYet = Field(default=None, description="Post to a URL.")
    schedule: NotYet = Field(default=None, description="Whoever is on call.")
    how: NotYet = Field(default=None, description="Ways to notify who is on call.")


class RouteModel(YamlModel):
    """Who is notified of what."""

    receiver: str | None = Field(default=None, description="Notified of every alert.", examples=["ml-leads"])
    always: Words = Field(default=(), description="Notified in any case.", examples=[["owner"]])
    group_wait: Duration | None = Field(default=None, description="How long a group's first mail waits: 0s.")
    group_by: NotYet = Field(default=None, description="Fields that make a group.")
    group_interval: NotYet = Field(default=None, description="Least time between two mails of a group.")
    repeat_interval: NotYet = Field(default=None, description="When a condition is notified again.")
    routes: NotYet = Field(default=None, description="The tree.")

    @field_validator("group_wait")
    @classmethod
    def _at_once(cls, value: Duration | None) -> Duration | None:
        if value:
            raise ValueError("is not supported yet beyond 0s")
        return value


class OnCallFile(YamlModel):
    """A file under rules/oncall/."""

    people: tuple[PersonModel, ...] = Field(default=(), description="Who can be notified.")
    receivers: tuple[ReceiverModel, ...] = Field(default=(), description="Names under which people are notified.")
    route: RouteModel | None = Field(default=None, description="Who is notified of what; in one of the files.")
    inhibit: NotYet = Field(default=None, description="Alerts that make others needless.")
    calendars: dict[Name, CalendarModel] = Field(
        default_factory=dict,
        description="Days that do not count, by name.",
        examples=[{"hu-holidays": {"country": "HU"}}],
    )
    time_intervals: NotYet = Field(default=None, description="Times with a name.")
    maintenance: tuple[MaintenanceModel, ...] = Field(
        default=(), description="Times in which work is known to stand still."
    )
    schedules: NotYet = Field(default=None, description="Who is on call when.")
    escalations: NotYet = Field(default=None, description="Whom to notify next.")
    silences: NotYet = Field(default=None, description="Alerts not to notify.")
    tests: NotYet = Field(default=None, description="Who must be notified of what.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who can be notified."""

    name: str
    email: str
    zone: ZoneInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A name under which somebody is notified. ``emails`` are addresses, names of people, or templates (``{{`` in
    them).
    """

    name: str
    emails: tuple[str, ...]
    first_of: bool = False
    fallback: str = ""  # a receiver, a person or an address; '' for the default receiver


_BUILT_IN_OWNER = Receiver(name=OWNER, emails=("{{ Tags['tocsin.mail'] }}", "{{ OwnerEmail }}"), first_of=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCall:
    """What the files under rules/oncall/ say."""

    people: Mapping[str, Person] = field(default_factory=dict)
    receivers: Mapping[str, Receiver] = field(default_factory=dict)
    always: tuple[str, ...] = (OWNER,)
    receiver: str = ""
    calendars: Mapping[str, Declared] = field(default_factory=dict)
    maintenance: tuple[Announced, ...] = ()

    def receiver_called(self, name: str) -> Receiver | None:
        """The receiver, person or address ``name`` as a receiver; None for a word that nobody declared."""
        if (found := self.receivers.get(name)) is not None:
            return found
        if name in self.people:
            return Receiver(name=name, emails=(name,))
        if name == OWNER:
            return _BUILT_IN_OWNER
        if "@" in name:
            return Receiver(name=name, emails=(name,))
        return None

    def wrong(self, name: str) -> tuple[str, str] | None:
        """(what is wrong with ``name`` as a receiver, what would be right), or None. For ``notify.to`` of rules."""
        if "@" in name and name not in self.receivers:
            try:
                parse_address(name)
            except BadAddress as e:
                return f"'{name}' {e}", "write ops@example.org"
            return None
        if self.receiver_called(name) is None:
            return f"'{name}' is no receiver, person or address", suggest(name, self._names)
        return None

    def zone_of(self, address: str) -> ZoneInfo | None:
        """The time zone of the person with this address."""
        wanted = address.lower()
        return next((p.zone for p in self.people.values() if p.email.lower() == wanted), None)

    @property
    def _names(self) -> list[str]:
        return [*self.receivers, *self.people, OWNER]


def load_oncall(files: Iterable[Path], root: Path | None = None) -> OnCall:
    """Read all files into one. Problems name them relative to ``root``. Raises ContentError with every fault of
    every file.
    """
    problems: list[Problem] = []
    read: list[tuple[Document, OnCallFile]] = []
    for path in files:
        name = str(path.relative_to(root)) if root is not None and path.is_relative_to(root) else str(path)
        try:
            document = load_file(path, name)
            if document.data is not None:
                read.append((document, parse(OnCallFile, document)))
        except ConfigurationError as e:
            problems += e.problems
    oncall = _merge(read, problems)
    if not problems:
        for document, model in read:
            _check(document, model, oncall, problems)
    if problems:
        raise ConfigurationError(problems)
    return oncall


def _merge(read: list[tuple[Document, OnCallFile]], problems: list[Problem]) -> OnCall:
    people: dict[str, Person] = {}
    receivers: dict[str, Receiver] = {}
    places: dict[str, str] = {}
    routes: list[tuple[Document, RouteModel]] = []

    def once(document: Document, path: KeyPath, name: str) -> None:
        if name in places:
            problems.append(document.problem((*path, "name"), f"'{name}' is taken", f"it stands in {places[name]}"))
        places[name] = f"{document.file}:{document.line(path)}"

    calendars: dict[str, Declared] = {}
    maintenance: list[Announced] = []
    for document, model in read:
        for word, calendar in model.calendars.items():
            if word in calendars:
                first = calendars[word]
                at = f"{first.document.file}:{first.document.line(first.path)}"
                problems.append(document.problem(("calendars", word), f"'{word}' is taken", f"it stands in {at}"))
            calendars.setdefault(word, Declared(model=calendar, document=document, path=("calendars", word)))
        for i, time in enumerate(model.maintenance):
            maintenance.append(Announced(model=time, document=document, path=("maintenance", i)))
        for i, p in enumerate(model.people):
            once(document, ("people", i), p.name)
            people[p.name] = Person(name=p.name, email=p.email, zone=ZoneInfo(p.timezone) if p.timezone else None)
        for i, r in enumerate(model.receivers):
            once(document, ("receivers", i), r.name)
            if r.email is None:
                problems.append(
                    document.problem(("receivers", i), "has no way to notify anybody", "add email: [ops@example.org]")
                )
                continue
            first_of = isinstance(r.email, FirstOf)
            emails = r.email.first_of if isinstance(r.email, FirstOf) else r.email
            receivers[r.name] = Receiver(
                name=r.name, emails=emails, first_of=first_of, fallback=r.fallback.receiver if r.fallback else ""
            )
        if model.route is not None:
            if routes:
                problems.append(document.problem(("route",), "is given twice", f"it stands in {routes[0][0].file}"))
            routes.append((document, model.route))
    found = OnCall(people=people, receivers=receivers, calendars=calendars, maintenance=tuple(maintenance))
    if not routes:
        return found
    route = routes[0][1]
    return replace(found, always=route.always, receiver=route.receiver or "")


_LOOKUP = re.compile(r"[\w.-]+\.(csv|parquet)\(\w+\)")


def _check(document: Document, model: OnCallFile, oncall: OnCall, problems: list[Problem]) -> None:
    """Names that nobody declared, addresses that are none, templates that do not compile."""

    def name(path: KeyPath, value: str) -> None:
        if (wrong := oncall.wrong(value)) is not None:
            problems.append(document.problem(path, *wrong))

    for i, r in enumerate(model.receivers):
        emails, path = (
            (r.email.first_of, ("email", "first_of")) if isinstance(r.email, FirstOf) else (r.email or (), ("email",))
        )
        for j, entry in enumerate(emails):
            where: KeyPath = ("receivers", i, *path, j)
            if _LOOKUP.fullmatch(entry):
                problems.append(document.problem(where, f"'{entry}': an evaluation-up in a table is not supported yet"))
            elif "{{" in entry or "{%" in entry:
                try:
                    words().compile(entry)
                except TemplateSyntaxError as e:
                    problems.append(document.problem(where, f"is no template: {e.message}"))
            elif "@" not in entry and entry not in oncall.people:
                problems.append(
                    document.problem(where, f"'{entry}' is no person or address", suggest(entry, oncall.people))
                )
            elif (wrong := oncall.wrong(entry)) is not None:
                problems.append(document.problem(where, *wrong))
        if r.fallback is not None:
            name(("receivers", i, "fallback", "receiver"), r.fallback.receiver)
            problems += _circle(document, i, r.name, oncall)
    if model.route is not None:
        for j, value in enumerate(model.route.always):
            name(("route", "always", j), value)
        if model.route.receiver is not None:
            name(("route", "receiver"), model.route.receiver)


def _circle(document: Document, i: int, start: str, oncall: OnCall) -> list[Problem]:
    seen, at = [start], oncall.receivers.get(start)
    while at is not None and at.fallback:
        if at.fallback == start:
            text = " → ".join([*seen, start])
            return [document.problem(("receivers", i, "fallback"), f"goes in a circle: {text}")]
        if at.fallback in seen:
            return []  # notified where that circle begins
        seen.append(at.fallback)
        at = oncall.receivers.get(at.fallback)
    return []

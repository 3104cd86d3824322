"""What on-call files say of people, schedules and escalations."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tocsin.config.calendars.maintenance import Moment
from tocsin.config.yaml.document import YamlModel, suggest
from tocsin.config.yaml.durations import Duration
from tocsin.model.calendars.wallclock import parse_clock, parse_range, parse_weekday, parse_weekdays, zone_named
from tocsin.model.statuses import Severity
from tocsin.notify.addresses import BadAddress, parse_address
from tocsin.notify.channels.apprise import address_fault
from tocsin.notify.oncall.feed import PeopleBy


def listed(value: Any) -> Any:
    """One text as a list of it."""
    return [value] if isinstance(value, str) else value


def _zone(value: str) -> str:
    from zoneinfo import available_timezones

    try:
        zone_named(value)
    except ValueError as e:
        raise ValueError(f"{e}; {suggest(value, available_timezones())}") from e
    return value


def _address(value: str) -> str:
    try:
        return parse_address(value)
    except BadAddress as e:
        raise ValueError(f"'{value}' {e}; write anna@example.org") from e


def _wall(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"'{value}' is no time; write for example 2026-12-24T09:00") from None


def _date(value: Any) -> Any:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"'{value}' is no date; write for example 2026-01-05") from None


def _range(value: str) -> str:
    parse_range(value)
    return value


def _weekdays(value: str) -> str:
    parse_weekdays(value)
    return value


def _handoff(value: str) -> str:
    *day, clock = value.split() or [""]
    if len(day) > 1:
        raise ValueError(f"'{value}' is no time of a handoff; write mon 09:00, or 09:00")
    for word in day:
        parse_weekday(word)
    parse_clock(clock)
    return value


Words = Annotated[tuple[str, ...], BeforeValidator(listed)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s@,;{}]+$")]
Who = Annotated[str, Field(min_length=1, max_length=320)]
"""A person's name or an address."""
Zone = Annotated[str, AfterValidator(_zone)]
Address = Annotated[str, AfterValidator(_address)]
WallTime = Annotated[datetime, BeforeValidator(_wall)]
"""With a zone, or without one: then in the schedule's."""
Day = Annotated[date, BeforeValidator(_date)]
Ranges = Annotated[tuple[Annotated[str, AfterValidator(_range)], ...], BeforeValidator(listed), Field(min_length=1)]
Weekdays = Annotated[tuple[Annotated[str, AfterValidator(_weekdays)], ...], BeforeValidator(listed)]
Texts = Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)]
Match = dict[str, Texts]
By = Literal["email", "page"]
"""A way to a person."""
Bys = Annotated[tuple[By, ...], BeforeValidator(listed), Field(min_length=1)]


class QuietModel(YamlModel):
    """Hours in which messages wait."""

    hours: Ranges = Field(description="From and to, in the person's time zone.", examples=["22:00-07:00"])
    weekdays: Weekdays = Field(default=(), description="Only when they begin on these days.", examples=[["mon-fri"]])
    except_: Match = Field(
        default_factory=dict,
        alias="except",
        description="Alerts that do not wait.",
        examples=[{"severity": ">= critical"}],
    )


class PersonModel(YamlModel):
    """Somebody who can be notified."""

    name: Name = Field(description="How receivers, schedules and rules call the person.", examples=["anna"])
    email: Address = Field(description="Where mails go.", examples=["anna@example.org"])
    timezone: Zone | None = Field(
        default=None, description="Zone of the times in the person's messages.", examples=["Europe/Budapest"]
    )
    page: Words = Field(
        default=(), description="Where pages go: any address of apprise.", examples=["ntfy://ntfy.example.org/anna"]
    )
    quiet: QuietModel | None = Field(
        default=None, description="When messages wait until morning.", examples=[{"hours": "22:00-07:00"}]
    )
    how: dict[Literal["critical", "error", "warning", "informational", "verbose", "default"], Bys] = Field(
        default_factory=dict,
        description="Ways to the person, by severity.",
        examples=[{"critical": ["page", "email"], "default": ["email"]}],
    )

    def ways(self, severity: Severity) -> tuple[By, ...]:
        """Ways to the person for an alert of ``severity``."""
        said: dict[str, tuple[By, ...]] = {str(word): ways for word, ways in self.how.items()}
        return said.get(severity.word) or said.get("default") or ("email",)

    @model_validator(mode="after")
    def _paged(self) -> PersonModel:
        if any("page" in ways for ways in self.how.values()) and not self.page:
            raise ValueError("how: names page, but there is no page: address; write page: ntfy://…")
        for address in self.page:
            if fault := address_fault(address):
                raise ValueError(f"page: {fault}")
        return self


class RotationModel(YamlModel):
    """Members who take turns."""

    members: Annotated[tuple[Who, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="People or addresses, in turn.", examples=[["anna", "bela"]]
    )
    every: Duration = Field(
        default=timedelta(weeks=1), description="How long a turn lasts: days, or a part of a day.", examples=["1w"]
    )
    handoff: Annotated[str, AfterValidator(_handoff)] = Field(
        default="09:00", description="When a turn begins, on the clock of the zone.", examples=["mon 09:00"]
    )
    starting: Day | None = Field(
        default=None, description="The day on which the first member's first turn begins.", examples=["2026-01-05"]
    )


class LayerModel(YamlModel):
    """A rotation within hours. Where layers overlap, the later in the list wins."""

    name: Name = Field(description="What reasons, `check` and the calendar call it.", examples=["eu"])
    rotation: RotationModel = Field(
        description="Who takes turns.", examples=[{"starting": "2026-01-05", "members": ["anna", "bela"]}]
    )
    hours: Ranges = Field(
        default=("00:00-24:00",),
        description="From and to; past midnight they belong to the day on which they begin.",
        examples=["08:00-20:00"],
    )
    weekdays: Weekdays = Field(default=(), description="Only on these days.", examples=[["mon-fri"]])
    timezone: Zone | None = Field(
        default=None,
        description="Zone of hours and handoffs; the schedule's where absent.",
        examples=["Europe/Budapest"],
    )
    except_: Words = Field(
        default=(), alias="except", description="Calendars whose days it leaves out.", examples=["hu-holidays"]
    )


class OverrideModel(YamlModel):
    """Somebody takes over for a time."""

    from_: WallTime = Field(alias="from", description="When it begins.", examples=["2026-12-24T09:00"])
    to: WallTime = Field(description="When it ends.", examples=["2026-12-27T09:00"])
    who: Who = Field(description="Who takes over.", examples=["bela"])
    reason: str = Field(default="", description="Why; shown with who is on call.", examples=["swap"])
    instead_of: str = Field(default="", description="Takes only this person's shifts.", examples=["anna"])


class ScheduleTestModel(YamlModel):
    """Who must be on call at an instant."""

    at: Moment = Field(description="When, with its zone.", examples=["2026-12-24T10:00Z"])
    on_call: Words = Field(description="Exactly these, in any order.", examples=[["bela"]])


class ScheduleModel(YamlModel):
    """Who is on call when: layers, or one rotation, or a calendar feed."""

    name: Name = Field(description="How receivers call it.", examples=["primary"])
    timezone: Zone | None = Field(
        default=None,
        description="Zone of times without one; without it such a time is an error.",
        examples=["Europe/Budapest"],
    )
    layers: tuple[LayerModel, ...] = Field(
        default=(),
        description="Rotations; the later in the list wins.",
        examples=[[{"name": "eu", "hours": "08:00-20:00"}]],
    )
    rotation: RotationModel | None = Field(
        default=None, description="The simple form: one rotation around the clock.", examples=[{"members": ["anna"]}]
    )
    ical: str = Field(default="", description="URL of a calendar feed.", examples=["https://example.org/oncall.ics"])
    people_by: PeopleBy = Field(
        default=PeopleBy.SUMMARY, description="Where an event of the feed says whose it is.", examples=["summary"]
    )
    overlap: Literal["last", "all"] = Field(
        default="last",
        description="Who is on call where layers overlap: the last in the list, or all.",
        examples=["all"],
    )
    uncovered: str = Field(default="", description="Who takes what no layer covers.", examples=["cruz"])
    overrides: tuple[OverrideModel, ...] = Field(
        default=(), description="Who takes over for a time, applied in this order.", examples=[[{"who": "bela"}]]
    )
    tests: tuple[ScheduleTestModel, ...] = Field(
        default=(), description="Who must be on call when.", examples=[[{"on_call": ["bela"]}]]
    )


class StepModel(YamlModel):
    """One step of an escalation."""

    notify: Texts = Field(description="Receivers, people, addresses.", examples=["on-call"])
    after: Duration = Field(
        default=timedelta(0), description="How long after the escalation's start.", examples=["15m"]
    )
    repeat: int = Field(
        default=0, ge=0, le=100, description="How often it is sent again after the first time.", examples=[3]
    )
    every: Duration | None = Field(default=None, description="How long between two of these.", examples=["10m"])

    @model_validator(mode="after")
    def _both(self) -> StepModel:
        if bool(self.repeat) != bool(self.every):
            missing, given = ("every", "repeat") if self.repeat else ("repeat", "every")
            raise ValueError(f"{given}: stands without {missing}:; write repeat: 3, every: 10m")
        return self


class EscalationModel(YamlModel):
    """Who is notified next, while nobody acknowledges."""

    name: Name = Field(description="How routes call it.", examples=["page"])
    steps: tuple[StepModel, ...] = Field(
        description="In the order of their `after`.", examples=[[{"notify": "on-call"}]]
    )
    ack_timeout: Duration | Literal["none"] = Field(
        default=timedelta(hours=4),
        description="How long an acknowledgement of a condition holds; none: until it ends.",
        examples=["4h", "none"],
    )
    resume: Duration = Field(
        default=timedelta(0),
        description="An alert that fires again within this goes on where it was.",
        examples=["15m"],
    )

"""An export of PagerDuty as an on-call file, with what could not be kept and which hours differ.

Form: the answers of its REST API v2 (developer.pagerduty.com/api-reference): GET /schedules/{id} with since and until,
/escalation_policies, /users. The wall clock of a schedule's time zone counts, in PagerDuty as here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field, ValidationError

from tocsin.config.yaml.document import dotted, load, parse
from tocsin.config.yaml.durations import format_duration
from tocsin.errors import ConfigurationError, Problem
from tocsin.interchange.alertmanager.read import OnCallImported, file_text, free_name
from tocsin.interchange.alertmanager.receivers import receiver_name
from tocsin.interchange.azure.jsonc import load_jsonc
from tocsin.interchange.importing import read_text
from tocsin.interchange.pagers.compare import SPAN, Compared, compare, utc_text
from tocsin.interchange.report import Lost
from tocsin.model.calendars.wallclock import WEEKDAYS, clock_text, zone_named
from tocsin.notify.oncall.schedule import Entry, Schedule
from tocsin.notify.routing.oncall_file import Context, OnCallFile, read_files

_DAY = 86400
_SHORTEST = 1800  # seconds of a turn here
_MINUTES = 1440  # of a day
_Instant = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class _Ref(BaseModel):
    id: str
    summary: str | None = None


class _User(BaseModel):
    id: str
    name: str
    email: str
    time_zone: str | None = None


class _Member(BaseModel):
    user: _Ref


class _Restriction(BaseModel):
    type: Literal["daily_restriction", "weekly_restriction"]
    start_time_of_day: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d(:00)?$")
    duration_seconds: int = Field(gt=0, le=7 * _DAY, multiple_of=60)
    start_day_of_week: Annotated[int, BeforeValidator(lambda day: day or 1)] = Field(default=1, ge=1, le=7)


class _Entry(BaseModel):
    start: _Instant
    end: _Instant
    user: _Ref | None = None  # None: nobody


class _Rendered(BaseModel):
    rendered_schedule_entries: tuple[_Entry, ...] = ()


class _Layer(BaseModel):
    name: str | None = None
    start: _Instant
    end: _Instant | None = None
    rotation_virtual_start: _Instant
    rotation_turn_length_seconds: int = Field(gt=0)
    users: tuple[_Member, ...] = ()
    restrictions: Annotated[tuple[_Restriction, ...], BeforeValidator(lambda given: given or ())] = ()


class _Schedule(BaseModel):
    id: str
    name: str
    time_zone: Annotated[str, AfterValidator(lambda name: zone_named(name).key)]
    schedule_layers: tuple[_Layer, ...] = ()
    overrides_subschedule: _Rendered = _Rendered()
    final_schedule: _Rendered = _Rendered()


class _Rule(BaseModel):
    escalation_delay_in_minutes: int = Field(ge=0)
    targets: tuple[_Ref, ...] = ()


class _Policy(BaseModel):
    id: str
    name: str
    escalation_rules: tuple[_Rule, ...] = ()
    num_loops: int = Field(default=0, ge=0, le=100)


class _Answer(BaseModel):
    """One answer of the API, or several in one object."""

    users: tuple[_User, ...] = ()
    schedule: _Schedule | None = None
    schedules: tuple[_Schedule, ...] = ()
    escalation_policies: tuple[_Policy, ...] = ()
    teams: tuple[_Ref, ...] = ()


@dataclass(slots=True)
class _Reading:
    now: datetime
    names: dict[str, str] = field(default_factory=dict)  # id → name here, of people and receivers
    taken: set[str] = field(default_factory=set)  # of these
    escalations: set[str] = field(default_factory=set)  # names here
    people: list[dict[str, Any]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)  # id → where it is named

    def lose(self, key: str, why: str) -> None:
        self.lost.append(Lost(key=key, why=why))

    def who(self, ref: _Ref, where: str) -> str:
        """The name here. One that the export does not have is said with all others at the end."""
        if ref.id not in self.names:
            self.unknown.setdefault(ref.id, f"{ref.summary or ref.id}, in {where}")
        return self.names.get(ref.id, ref.id)


def import_pagerduty(files: Sequence[Path], now: datetime) -> tuple[OnCallImported, tuple[Compared, ...]]:
    """All files as one. Layers that ended before the exported days, or ``now`` where there are none, are left out.

    Raises ConfigurationError for what is no export, and where the export lacks what others name.
    """
    answers = [answer for path in files for answer in _answers(path)]
    users = {user.id: user for answer in answers for user in answer.users}
    schedules = {s.id: s for a in answers for s in (*a.schedules, *([a.schedule] if a.schedule else ()))}
    policies = {policy.id: policy for answer in answers for policy in answer.escalation_policies}
    if not schedules and not policies:
        hint = "it has schedule:, users: and escalation_policies: as the REST API answers them"
        raise ConfigurationError([Problem(file=str(files[0]), message="has no schedule of PagerDuty in it", hint=hint)])
    reading = _Reading(now)
    _people(reading, users.values())
    made = [each for schedule in schedules.values() if (each := _schedule(reading, schedule))]
    receivers = [{"name": each["name"], "schedule": each["name"]} for each in made]
    escalations = [each for policy in policies.values() if (each := _escalation(reading, policy))]
    if any(answer.teams for answer in answers):
        reading.lose("teams", "people and schedules have no team here")
    if reading.unknown:
        raise ConfigurationError([Problem(
            file=str(files[0]), message=f"names somebody whom it does not have: {where}",
            hint="add what GET /users, or GET /schedules/ID, answers",
        ) for where in reading.unknown.values()])  # fmt: skip
    whole = {"people": reading.people, "receivers": receivers, "schedules": made, "escalations": escalations}
    data = {key: value for key, value in whole.items() if value}
    found = OnCallImported(
        file=str(files[0]), data=data, kept=tuple(f"{len(value)} {key}" for key, value in data.items()),
        lost=tuple(reading.lost),
    )  # fmt: skip
    read_back(found.data)
    return found, tuple(reading.compared)


def _answers(path: Path) -> Iterable[_Answer]:
    data = load_jsonc(read_text(path), str(path))
    try:
        return [_Answer.model_validate(each) for each in (data if isinstance(data, list) else [data])]
    except ValidationError as e:
        raise ConfigurationError([
            Problem(file=str(path), message=f"{dotted(each['loc'])}: {each['msg']}", hint="export it from the REST API again")
            for each in e.errors()
        ]) from e  # fmt: skip


def read_back(data: Mapping[str, Any]) -> Mapping[str, Schedule]:
    """Schedules as tocsin reads them from the file that is written. Raises ConfigurationError where it is refused."""
    document = load(file_text(OnCallImported(file="", data=data), "PagerDuty"), "the on-call file made of the export")
    problems: list[Problem] = []
    rules = read_files([(document, parse(OnCallFile, document))], Context(), problems)
    if rules is None:
        raise ConfigurationError(problems)
    return rules.schedules


def _people(reading: _Reading, users: Iterable[_User]) -> None:
    for user in users:
        name = reading.names[user.id] = free_name(receiver_name(user.name), reading.taken)
        person = {"name": name, "email": user.email}
        if user.time_zone in available_timezones():
            person["timezone"] = user.time_zone
        elif user.time_zone:
            reading.lose(f"user {user.name}", f"'{user.time_zone}' is not a time zone")
        reading.people.append(person)
    if reading.people:
        reading.lose("users", "contact methods and notification rules are not in these answers; write page: and how:")


def _schedule(reading: _Reading, theirs: _Schedule) -> dict[str, Any] | None:
    key, zone = f"schedule {theirs.name}", zone_named(theirs.time_zone)
    entries = theirs.final_schedule.rendered_schedule_entries
    since = min((each.start for each in entries), default=reading.now)
    layers = [each for layer in theirs.schedule_layers if (each := _layer(reading, key, layer, zone, since))]
    if not layers:
        reading.lose(key, "has no layer with people in the export: GET /schedules/ID answers them; it is left out")
        return None
    name = reading.names[theirs.id] = free_name(receiver_name(theirs.name), reading.taken)
    overrides = [
        {"from": utc_text(each.start), "to": utc_text(each.end), "who": reading.who(each.user, key)}
        for each in theirs.overrides_subschedule.rendered_schedule_entries
        if each.user
    ]
    final = [
        Entry(start=each.start, end=each.end, who=reading.names.get(each.user.id, each.user.summary or each.user.id))
        for each in entries
        if each.user
    ]

    def ordered(parts: Iterable[Sequence[dict[str, Any]]]) -> dict[str, Any]:
        names: set[str] = set()
        flat = [{**each, "name": free_name(each["name"], names)} for part in parts for each in part]
        made = {"name": name, "timezone": theirs.time_zone, "layers": flat}
        return {**made, "overrides": overrides} if overrides else made

    # An answer lists the layer that wins first, a request last (PagerDuty/public-support-scripts, pull request 60), and
    # newer accounts may answer otherwise: the final schedule decides.
    made = ordered(reversed(layers))
    if not final or reading.unknown:
        reading.lose(key, "has no final schedule, so nothing was compared: ask with since= and until=, 90 days apart")
        if len(layers) > 1:
            reading.lose(key, "which layer wins is not known without a final schedule; the first is taken")
        return made
    options = [made, ordered(layers)] if len(layers) > 1 else [made]
    read = [read_back({"people": reading.people, "schedules": [each]})[name] for each in options]
    best, made = min(
        zip((compare(each, final) for each in read), options, strict=True), key=lambda each: each[0].differing
    )
    reading.compared.append(best)
    if best.end - best.start < SPAN:
        days = f"{utc_text(best.start)} to {utc_text(best.end)}"
        reading.lose(key, f"only {days} was compared, not 90 days: nobody is in the final schedule before or after")
    for difference in best.differences:
        reading.lose(key, f"differs {difference}")
    return made


def _layer(reading: _Reading, key: str, theirs: _Layer, zone: ZoneInfo, since: datetime) -> list[dict[str, Any]] | None:
    """One layer for each set of hours; None where nothing of it counts any more, or it has no form here."""
    name = receiver_name(theirs.name or "layer")
    key = f"{key}, layer {theirs.name or name}"
    if theirs.end is not None and theirs.end <= since:
        return None
    if not theirs.users:
        reading.lose(key, "has no users; it is left out")
        return None
    if theirs.end is not None:
        reading.lose(key, f"ends at {utc_text(theirs.end)}; a layer here has no end: take it out then")
    rotation = _rotation(reading, key, theirs, zone, since)
    if rotation is None:
        return None
    return [{"name": name, **window, "rotation": rotation} for window in _windows(theirs.restrictions)]


def _rotation(reading: _Reading, key: str, theirs: _Layer, zone: ZoneInfo, since: datetime) -> dict[str, Any] | None:
    turn = theirs.rotation_turn_length_seconds
    step = turn if turn % _DAY == 0 else math.gcd(turn, _DAY)  # 36 h are three turns of 12 h
    if step < _SHORTEST:
        reading.lose(key, f"turns of {format_duration(timedelta(seconds=turn))} have no form here; it is left out")
        return None
    members = [reading.who(each.user, key) for each in theirs.users for _ in range(turn // step)]
    begin, start = (at.astimezone(zone).replace(tzinfo=None) for at in (theirs.rotation_virtual_start, theirs.start))
    past = max((start - begin) // timedelta(seconds=step), 0)
    begin += past * timedelta(seconds=step)
    if theirs.start > since and begin != start:
        reading.lose(key, f"begins at {utc_text(theirs.start)}, inside a turn; here at {begin} {zone}")
    if begin.second:
        reading.lose(key, f"hands off at {begin:%H:%M:%S}; here at {begin:%H:%M}")
    past %= len(members)
    return {
        "every": format_duration(timedelta(seconds=step)), "handoff": f"{begin:%H:%M}", "starting": f"{begin:%Y-%m-%d}",
        "members": [*members[past:], *members[:past]],
    }  # fmt: skip


def _windows(restrictions: Sequence[_Restriction]) -> list[dict[str, Any]]:
    """``hours`` and ``weekdays`` of layers that together cover the same; cut at midnight."""
    if not restrictions:
        return [{}]
    days: list[set[str]] = [set() for _ in WEEKDAYS]
    for each in restrictions:
        hour, minute = map(int, each.start_time_of_day.split(":")[:2])
        start = hour * 60 + minute
        last = start + each.duration_seconds // 60
        for first in range(7) if each.type == "daily_restriction" else (each.start_day_of_week - 1,):
            for begin, end in pairwise([start, *range(_MINUTES, last, _MINUTES), last]):
                upto = end % _MINUTES or _MINUTES
                days[(first + begin // _MINUTES) % 7].add(f"{clock_text(begin % _MINUTES)}-{clock_text(upto)}")
    alike: dict[tuple[str, ...], list[str]] = {}
    for day, hours in zip(WEEKDAYS, days, strict=True):
        if hours:
            alike.setdefault(tuple(sorted(hours)), []).append(day)
    return [
        {"hours": list(hours)} if len(found) == len(WEEKDAYS) else {"hours": list(hours), "weekdays": found}
        for hours, found in alike.items()
    ]


def _escalation(reading: _Reading, theirs: _Policy) -> dict[str, Any] | None:
    """Its rules as steps, once more for each loop."""
    key = f"escalation policy {theirs.name}"
    for target in (target for rule in theirs.escalation_rules for target in rule.targets):
        if target.id not in reading.names:
            reading.lose(key, f"its target {target.summary or target.id} is not in the file; it is left out")
    steps, after = [], 0
    for rule in theirs.escalation_rules * (theirs.num_loops + 1):
        if notify := [reading.names[target.id] for target in rule.targets if target.id in reading.names]:
            steps.append({"after": format_duration(timedelta(minutes=after)), "notify": notify})
        after += rule.escalation_delay_in_minutes
    if not steps:
        reading.lose(key, "notifies nobody; it is left out")
        return None
    reading.lose(key, "its services are no rules of yours: name it in a route as escalation:")
    return {"name": free_name(receiver_name(theirs.name), reading.escalations), "steps": steps}

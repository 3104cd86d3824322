"""Who is on call, and who is notified of an alert and why: answered from the files alone, whether tocsin runs or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tocsin.app.project.content import Content
from tocsin.app.project.oncall import Around, read_oncall
from tocsin.app.project.rules import calendars_of, oncall_files_of, rules_of, shipped_of
from tocsin.clock import SystemClock
from tocsin.config.project.home import Home
from tocsin.errors import ConfigurationError, Problem, TocsinError
from tocsin.notify.oncall.feed import export
from tocsin.notify.oncall.report import Known, report
from tocsin.notify.oncall.schedule import NOBODY, Schedule
from tocsin.notify.oncall.shifts import Shift, person_shifts, shift_at, shifts, span_text
from tocsin.notify.routing.files import OnCallFiles
from tocsin.notify.routing.matchers import text_of
from tocsin.notify.routing.oncall_file import OnCallRules, check_files
from tocsin.notify.routing.tree import Route, RuleNames, Taken, group_values, route
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.rule import Rule
from tocsin.state.interface import State

UTC = ZoneInfo("UTC")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallView:
    """The on-call files of a project directory at an instant."""

    files: OnCallFiles
    rules: OnCallRules
    at: datetime  # UTC
    alerts: RuleSet | None  # None where no alert rules were read
    warnings: tuple[Problem, ...] = ()

    # -- who is on call ------------------------------------------------------------------------------------------------

    def now(self) -> list[Row]:
        """A row for each schedule: who is on call, why, until when, and who is next."""
        return [self._now(schedule) for schedule in self.rules.schedules.values()]

    def _now(self, schedule: Schedule) -> Row:
        shift = shift_at(schedule, self.at)
        following = shift_at(schedule, shift.end)
        return {
            "Schedule": schedule.name,
            "OnCall": list(shift.who),
            "Why": "; ".join(each.text for each in shift.on_call) or NOBODY,
            "Since": _iso(shift.start),
            "Until": _iso(shift.end),
            "Shift": span_text(shift.start, shift.end, schedule.zone or UTC),
            "Next": list(following.who),
        }

    def shifts(self, name: str, weeks: int) -> list[Row]:
        """Each person's shifts of a schedule in the next weeks. Raises TocsinError for an unknown schedule."""
        schedule = self._schedule(name)
        found = shifts(schedule, self.at, self.at + timedelta(weeks=weeks))
        gaps = [
            {"Who": "", "Why": NOBODY, "From": _iso(each.start), "To": _iso(each.end),
             "Shift": span_text(each.start, each.end, schedule.zone or UTC)}
            for each in found
            if not each.on_call
        ]  # fmt: skip
        rows = [
            {"Who": each.on_call[0].who, "Why": each.on_call[0].text, "From": _iso(each.start), "To": _iso(each.end),
             "Shift": span_text(each.start, each.end, schedule.zone or UTC)}
            for each in person_shifts(found)
        ]  # fmt: skip
        return sorted([*rows, *gaps], key=lambda row: (row["From"], row["Who"]))

    def calendar(self, name: str, weeks: int) -> list[Row]:
        """The days of the next weeks by the schedule's clock, the first one today, each with its parts. Raises
        TocsinError for an unknown schedule.
        """
        schedule = self._schedule(name)
        zone = schedule.zone or UTC
        first = self.at.astimezone(zone).date()
        bounds = [
            datetime.combine(first + timedelta(days=n), time(), zone).astimezone(UTC) for n in range(7 * weeks + 1)
        ]
        found = shifts(schedule, bounds[0], bounds[-1])
        return [
            {"Date": start.astimezone(zone).date().isoformat(), "Parts": _parts(found, start, end, zone)}
            for start, end in pairwise(bounds)
        ]

    def ical(self, name: str, weeks: int) -> bytes:
        """The same as an iCalendar file."""
        addresses = {who: person.email for who, person in self.rules.people.items()}
        until = self.at + timedelta(weeks=weeks)
        return export(self._schedule(name), self.at, until, self.at, addresses=addresses)

    def _schedule(self, name: str) -> Schedule:
        if (found := self.rules.schedules.get(name)) is None:
            known = ", ".join(self.rules.schedules)
            raise TocsinError(f"'{name}' is no schedule; {f'known are {known}' if known else 'there is none'}")
        return found

    def check(self) -> list[Problem]:
        """Inline tests that fail; as warnings gaps and overlaps."""
        return check_files(self.files.files, self.rules, self.at)

    @property
    def tests(self) -> int:
        """How many inline tests there are."""
        return sum(len(file.tests) + sum(len(s.tests) for s in file.schedules) for _, file in self.files.files)

    # -- who is notified -----------------------------------------------------------------------------------------------

    def route(self, alert: Mapping[str, str]) -> list[Row]:
        """Who is notified of an alert with these fields, and why; what it does not say of its rule is the rule's."""
        named, fields = self._of_rule(alert)
        taken = route(self.rules.root, self.rules.always, fields, named)
        return [self._taken(each, fields) for each in taken]

    def rules_route(self, rule: Rule, alert: Mapping[str, str]) -> list[Row]:
        """As ``route``, of an alert of ``rule``."""
        named = RuleNames(to=rule.info.notify_to, only=rule.info.notify_only)
        return [self._taken(each, alert) for each in route(self.rules.root, self.rules.always, alert, named)]

    def _of_rule(self, alert: Mapping[str, str]) -> tuple[RuleNames, dict[str, str]]:
        fields = {"severity": "warning", **alert}
        rule = self.alerts.rules.get(alert.get("rule", "")) if self.alerts is not None else None
        if rule is None:
            return RuleNames(), fields
        names = RuleNames(to=rule.info.notify_to, only=rule.info.notify_only)
        return names, {"severity": rule.severity.word, **alert}

    def _taken(self, taken: Taken, fields: Mapping[str, str]) -> Row:
        node = taken.route
        muted = node.mute.holds(self.at) if node is not None and node.mute is not None else ""
        return {
            "Notifies": taken.name,
            "Escalation": bool(taken.escalation),
            "Reaches": list(self.rules.reached(taken, self.at)),
            "Why": taken.text.partition(": ")[2],
            "Group": dict(group_values(node, fields)) if node is not None else {},
            "Muted": muted,
        }

    def tree(self) -> list[Row]:
        """The nodes of the tree, a parent before its children, each with its depth."""
        return list(_nodes(self.rules.root, 0))


def _nodes(node: Route, depth: int) -> Iterator[Row]:
    timing = node.timing
    yield {
        "Depth": depth,
        "Matches": text_of(node.matchers),
        "Receivers": list(node.receivers),
        "Escalation": node.escalation,
        "Continue": node.goes_on,
        "GroupBy": list(node.group_by),
        "GroupWait": timing.wait.total_seconds(),
        "GroupInterval": timing.interval.total_seconds(),
        "RepeatInterval": timing.repeat.total_seconds() if timing.repeat is not None else None,
        "Place": node.place,
    }
    for child in node.routes:
        yield from _nodes(child, depth + 1)


def _parts(found: list[Shift], start: datetime, end: datetime, zone: ZoneInfo) -> list[Row]:
    """What of ``found`` lies in a day; ``from`` and ``to`` by its clock, '' at the day's own bounds."""

    def clock(at: datetime, bound: datetime) -> str:
        return "" if at == bound else at.astimezone(zone).strftime("%H:%M")

    return [
        {
            "Who": list(each.who), "Gap": each.is_gap, "From": clock(max(each.start, start), start),
            "To": clock(min(each.end, end), end), "Why": "; ".join(one.text for one in each.on_call) or NOBODY,
        }
        for each in found
        if each.start < end and start < each.end
    ]  # fmt: skip


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def calendars(content: Content | None, now: datetime, weeks: int) -> list[Row]:
    """Each schedule of files in force: who is on call now, and the days of the next weeks."""
    if content is None:
        return []
    view = OnCallView(files=content.oncall_files, rules=content.oncall, at=now, alerts=None)
    zones = {name: (schedule.zone or UTC).key for name, schedule in content.oncall.schedules.items()}
    return [
        {**row, "Timezone": zones[row["Schedule"]], "Days": view.calendar(row["Schedule"], weeks)} for row in view.now()
    ]


def view_oncall(home: Home, at: datetime | None = None, *, with_rules: bool = False) -> OnCallView:
    """The on-call files of ``home`` at ``at`` (None: now). With ``with_rules`` also its alert rules; where those are
    broken, a warning says so. Raises ConfigurationError with every fault of the on-call files.
    """
    now = SystemClock().now()
    problems: list[Problem] = []
    files = oncall_files_of(home, shipped_of(home))
    calendars = calendars_of(files, home, problems)
    alerts = None
    if with_rules:
        try:
            alerts = rules_of(home)
        except ConfigurationError as e:
            first = e.problems[0]
            message = f"what rules say of receivers is left out: {first.message}"
            problems.append(Problem(file=first.file, line=first.line, message=message, warning=True))
    rules = read_oncall(files, Around(home=home, calendars=calendars, now=now, at=at), alerts, problems)
    if rules is None:
        raise ConfigurationError([p for p in problems if not p.warning])
    return OnCallView(files=files, rules=rules, at=at or now, alerts=alerts, warnings=tuple(problems))


_UTC = ZoneInfo("UTC")


def oncall_report(state: State, content: Content | None, now: datetime, weeks: int) -> dict[str, Any]:
    """Of the last ``weeks`` weeks. Without on-call files people are called by their addresses, and nights are UTC's."""
    rules = content.oncall if content is not None else OnCallRules()
    default = ZoneInfo(content.settings.timezone) if content is not None else _UTC

    def person(text: str) -> str:
        if text in rules.people:
            return text
        found = rules.person_at(text)
        return found.name if found is not None else ""

    def zone(who: str) -> ZoneInfo:
        known = rules.people.get(who)
        return ZoneInfo(known.timezone) if known is not None and known.timezone else default

    since = now - timedelta(weeks=weeks)
    scheduled = {name for name, receiver in rules.receivers.items() if receiver.schedule}

    def on_call(receiver: str, at: datetime) -> tuple[str, ...]:
        found = rules.receivers.get(receiver)
        return rules.on_call(found.schedule, at) if found is not None and found.schedule else ()

    known = Known(person=person, zone=zone, scheduled=scheduled, on_call=on_call)
    return report(state.oncall_history(since), known, since, now)

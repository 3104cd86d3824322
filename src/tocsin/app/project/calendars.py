"""What on-call files say of days and times, given to the rules and the schedules: rooms that do not know each other."""

from __future__ import annotations

from tocsin.clock import Clock, SystemClock
from tocsin.config.calendars.maintenance import read_maintenance
from tocsin.config.calendars.named import read_calendars, refresh
from tocsin.config.project.home import Home
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.notify.routing.files import OnCallFiles
from tocsin.rules.kinds.pausing import under
from tocsin.rules.kinds.ruleset import RuleSet


def calendars_of(oncall: OnCallFiles, home: Home, problems: list[Problem]) -> dict[str, Calendar]:
    """The calendars that ``oncall`` declares, read; faults and warnings go to ``problems``."""
    return read_calendars(oncall.calendars, home.path, home.calendar_cache, SystemClock().now(), problems)


def with_maintenance(rules: RuleSet, oncall: OnCallFiles, problems: list[Problem]) -> RuleSet:
    """``rules`` under the maintenances that ``oncall`` announces; faults go to ``problems``."""
    labels = {label for rule in rules.rules.values() for label in rule.labels}
    columns = {name for rule in rules.rules.values() for table in rule.reference.values() for name in table}
    return under(rules, read_maintenance(oncall.maintenance, labels | columns, problems))


def refresh_calendars(oncall: OnCallFiles, home: Home, clock: Clock) -> bool:
    """Fetch calendars again whose copies are older than a day; whether one says something else now."""
    return refresh(oncall.calendars, home.calendar_cache, clock.now())

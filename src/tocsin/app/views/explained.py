"""What `rules explain` says of a rule besides what it compiles to: when it expects something next, and whom it notifies."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from tocsin.app.views.oncall import view_oncall
from tocsin.config.project.home import Home
from tocsin.errors import ConfigurationError
from tocsin.notify.text import zone_name
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.spec.rule import Rule

SHOWN = 3
"""So many scheduled times, and so many rows of a table with schedules of their own, are shown."""


def expected(rule: Rule, now: datetime) -> list[str]:
    """The next times of a schedule with their deadlines, in its zone; [] of a rule without one."""
    lines = []
    for one in kind_of(rule).expects(rule, now, SHOWN):
        zone, name = ZoneInfo(one.zone), ", ".join(map(str, one.instance.values()))
        due = one.due.astimezone(zone)
        text = f"{one.at.astimezone(zone):%a %Y-%m-%d %H:%M}, deadline {due:%a %H:%M} ({zone_name(zone)})"
        lines.append(f"{name}: {text}" if name else text)
    return lines


def notified(home: Home, rule: Rule) -> list[str]:
    """Who would be notified of an alert of ``rule``, as far as it is known without one."""
    try:
        view = view_oncall(home)
    except ConfigurationError as e:
        return [f"not known: {e.problems[0]}"]
    labels = {name: text.source for name, text in rule.labels.items() if text.constant}
    lines = []
    for row in view.rules_route(rule, {"rule": rule.name, "severity": rule.severity.word, **labels}):
        reaches = ", ".join(row["Reaches"]) or "nobody, as things are"
        muted = f"; muted: {row['Muted']}" if row["Muted"] else ""
        escalation = " (escalation)" if row["Escalation"] else ""
        lines.append(f"{row['Notifies']}{escalation}: {reaches}; {row['Why']}{muted}")
    return lines

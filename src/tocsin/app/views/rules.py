"""The status of rules: a row a rule, and one rule whole. Reads both stores, changes nothing.

``rules explain`` adds what a rule expects next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tocsin.app.views.oncall import view_oncall
from tocsin.config.project.home import Home
from tocsin.errors import ConfigurationError
from tocsin.logstore.interface import LogStore
from tocsin.model.alert import Phase, Why
from tocsin.model.text.names import by_columns
from tocsin.notify.text import zone_name
from tocsin.rules.inspect.explain import explain
from tocsin.rules.inspect.listing import listing
from tocsin.rules.inspect.preview import last_rows
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.rule import Rule
from tocsin.state.interface import RuleRecord, State

Row = dict[str, Any]

MOST_INSTANCES = 100
_COUNTS = """
SELECT Rule, count(*) FILTER (fires) AS Fired, max("Time") FILTER (fires) AS LastFired,
    count(*) FILTER (fires AND NOT starts_with(Reason, $limited)) AS Notified, count(*) FILTER ("To" = 'resolved') AS Resolved
FROM (
    SELECT *, "To" IN ('fired', 'firing', 'closed') AND "From" IN ('', 'pending') AS fires FROM Alerts
    WHERE ($rule = '' OR Rule = $rule)
) GROUP BY Rule
"""
"""As ``Transition.begins``, which `tocsin_alerts_fired_total` counts; those beyond a limit are not notified one by one."""
_NEVER: Row = {
    "Firing": None, "Pending": None, "NextEvaluation": None, "SinceCommit": None, "BehindSince": None, "Error": "",
    "Description": "",
}  # fmt: skip
"""Of a rule that is off and faulty."""
_ORDER = {phase: i for i, phase in enumerate((Phase.FIRING, Phase.RECOVERING, Phase.PENDING))}


class RuleView:
    """Rules as the two stores know them."""

    def __init__(self, store: LogStore, state: State, deadlines: Callable[[], Mapping[str, datetime]] = dict) -> None:
        """``deadlines`` says when the next deadline of a run comes, by rule."""
        self._store, self._state, self._deadlines = store, state, deadlines

    def status(self, rules: RuleSet, errors: Mapping[str, str], only: str = "") -> list[Row]:
        """A row a rule (``only`` that one, where given), those that are off and faulty too; ``errors`` are texts by rule."""
        table = self._store.select(_COUNTS, {"rule": only, "limited": Why.RATE_LIMITED.value})
        counts = {r["Rule"]: r for r in table.to_pylist()}
        records, evaluations, phases = self._state.rules(), self._next_evaluations(), self._state.phases()
        rows = []
        for row in listing(rules):
            name = row["Rule"]
            if only not in ("", name):
                continue
            row |= {key: counts.get(name, {}).get(key, 0) for key in ("Fired", "Notified", "Resolved")}
            row["LastFired"] = counts.get(name, {}).get("LastFired")
            rule = rules.rules.get(name)
            if rule is None:
                rows.append({**row, **_NEVER})
                continue
            record = _record(rule, records)
            rows.append({
                **row,
                **_phases(rule, [phases.get(name, {}) for name in rule.evaluated]),
                "NextEvaluation": _next_evaluation(rule, evaluations),
                "SinceCommit": record.start_seq if record else None,
                "BehindSince": record.cursor.at if record and record.cursor else None,
                "Error": next((errors[name] for name in rule.evaluated if name in errors), ""),
                "Description": rule.info.description,
            })  # fmt: skip
        return rows

    def faulty(self, name: str, rules: RuleSet) -> Row | None:
        """A rule that is off and faulty, with the keys of ``whole``; None where there is no such rule."""
        found = rules.faulty.get(name)
        if found is None:
            return None
        return {
            **self.status(rules, {}, name)[0],
            "Faults": [str(replace(fault, warning=False)) for fault in found.faults],
            "Runbook": "", "Owner": "", "Explanation": {}, "Tests": [], "Instances": [],
            "LastRows": [], "LastRowsOf": "", "LastRowsError": "",
        }  # fmt: skip

    def whole(self, rule: Rule, rules: RuleSet, errors: Mapping[str, str], at: datetime) -> Row:
        """What ``rule`` is made of, how it fares, what fires now, and what it sees at ``at``."""
        evaluate = last_rows(rule, self._store, at)
        found = (state for name in rule.evaluated for state in self._state.conditions(name).values())
        states = sorted(found, key=lambda s: (_ORDER.get(s.phase, 9), s.since))
        return {
            **self.status(rules, errors, rule.name)[0],
            "Faults": [],
            "Runbook": rule.info.runbook,
            "Owner": rule.info.owner,
            "Explanation": by_columns(asdict(explain(rule))),
            "Tests": [test.name for test in rule.tests],
            "Instances": [
                {"Instance": dict(s.instance), "Phase": s.phase.value, "Since": s.since, "Value": s.value}
                for s in states[:MOST_INSTANCES]
            ],
            "LastRows": list(evaluate.rows),
            "LastRowsOf": evaluate.of,
            "LastRowsError": evaluate.error,
        }

    def _next_evaluations(self) -> dict[str, datetime]:
        """When something is due next: by rule, and by the key of a tick that rules share."""
        found: dict[str, datetime] = {}
        for timer in self._state.timers():
            found.setdefault(timer.rule or timer.key, timer.due)
        for rule, due in self._deadlines().items():
            found[rule] = min(due, found.get(rule, due))
        return found


def _record(rule: Rule, records: Mapping[str, RuleRecord]) -> RuleRecord | None:
    """What is remembered of a rule; of one for each row of a table, of the row that is behind most, else the oldest."""
    found = [records[name] for name in rule.evaluated if name in records]
    behind = [record for record in found if record.cursor is not None]
    return min(behind or found, key=lambda r: r.cursor.commit_seq if r.cursor else r.start_seq, default=None)


def _phases(rule: Rule, counts: Sequence[Mapping[Phase, int]]) -> Row:
    """How many instances fire and pend; None for a rule that remembers none."""
    if not rule.enabled or not kind_of(rule).conditions:
        return {"Firing": None, "Pending": None}
    of: Counter[Phase] = Counter()
    for each in counts:
        of.update(each)
    return {"Firing": of[Phase.FIRING] + of[Phase.RECOVERING], "Pending": of[Phase.PENDING]}


def _next_evaluation(rule: Rule, evaluations: Mapping[str, datetime]) -> datetime | None:
    tick = evaluations.get(kind_of(rule).shared_timer(rule)) if rule.enabled else None
    return min((at for at in (evaluations.get(rule.name), tick) if at is not None), default=None)


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

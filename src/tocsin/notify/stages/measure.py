"""Metrics of on-call: what a pass did, and who is on call now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from tocsin.metrics.registry import Metrics
from tocsin.model.statuses import Kind, Severity
from tocsin.notify.oncall.shifts import next_gap
from tocsin.notify.routing.mute import Silence
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.stages.live import Live
from tocsin.notify.stages.run import Passed

_GAPS = timedelta(hours=1)
"""How long the next gaps are taken as known: finding them walks through a year of shifts."""


class OnCallMetrics:
    """Counts and gauges. Not safe from several threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._rules: OnCallRules | None = None
        self._gaps_at: datetime | None = None
        self._known: set[tuple[str, int]] = set()

    def passed(self, passed: Passed) -> None:
        """Count what a pass did, once it is durable."""
        for each in passed.taken:
            held = each.alert.acknowledged
            if each.by and not each.closed and held is not None:
                self._metrics.inc("tocsin_alerts_acknowledged_total")
                waited = (held.at - each.alert.fired_at).total_seconds()
                self._metrics.observe("tocsin_alert_acknowledge_duration_seconds", max(waited, 0.0))
        if passed.unrouted:
            self._metrics.inc("tocsin_alerts_unrouted_total", passed.unrouted)
        for step in passed.steps:
            for n in step.steps:
                self._metrics.inc("tocsin_escalation_steps_total", escalation=step.escalation, step=str(n + 1))

    def events(self, live: Live, *, loaded: bool = False) -> None:
        """Set how many event alerts are active, of the rules whose alerts notify closes; ``loaded``: ``live`` is another one."""
        for rule, severity in live.moved | (self._known if loaded else set()):
            number, word = live.events[rule, severity], Severity(severity).word
            self._metrics.set("tocsin_alerts_active", number, rule=rule, severity=word, kind=Kind.EVENT.value)
        self._known |= live.moved
        live.moved.clear()

    def now(self, rules: OnCallRules, silences: Iterable[Silence], at: datetime) -> None:
        """Set what holds at ``at``."""
        if rules is not self._rules:
            self._rules, self._gaps_at = rules, None
            for name, escalation in rules.escalations.items():
                steps = [str(n + 1) for n in range(len(escalation.steps))]
                self._metrics.present("tocsin_escalation_steps_total", escalation=[name], step=steps)
        self._metrics.set("tocsin_silences_active", sum(each.start <= at < each.end for each in silences))
        self._metrics.clear("tocsin_oncall_on_call")
        for name in rules.schedules:
            for who in rules.on_call(name, at):
                self._metrics.set("tocsin_oncall_on_call", 1, schedule=name, person=who)
        if self._gaps_at is None or at - self._gaps_at >= _GAPS:
            self._gaps_at = at
            self._metrics.clear("tocsin_oncall_next_gap_timestamp_seconds")
            for name, schedule in rules.schedules.items():
                gap = next_gap(schedule, at)
                if gap is not None and not gap.who:  # `uncovered` takes others
                    self._metrics.set(
                        "tocsin_oncall_next_gap_timestamp_seconds", max(gap.start, at).timestamp(), schedule=name
                    )

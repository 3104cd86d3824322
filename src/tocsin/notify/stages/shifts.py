"""Beside the alerts: whose shift begins or ends is notified of it, with the alerts that are open.

What was known of a schedule before is remembered with its state, so a handoff while tocsin was down is caught up once,
and a restart notifies nobody again. A schedule that is new is only noted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tocsin.model.active import ActiveAlert
from tocsin.notify.oncall.shifts import Shift, shift_at
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.stages.live import SHIFT, Live, OnShift


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One person goes on call, or off it."""

    schedule: str
    who: str
    begins: bool
    at: datetime  # when; UTC
    until: datetime  # when the shift that begins ends; UTC
    now: tuple[str, ...]  # who is on call from then
    open: tuple[ActiveAlert, ...]  # alerts that go to this schedule and have not ended, the severest first


def handovers(live: Live, names: Iterable[str], at: datetime) -> list[Handover]:
    """What has changed of the schedules ``names`` since the last time."""
    found: list[Handover] = []
    for name in dict.fromkeys(names):
        schedule = live.rules.schedules.get(name)
        if schedule is None:
            live.put_shift(name, None)
            continue
        shift = shift_at(schedule, at)
        live.wake(SHIFT, name, shift.end)
        before = live.shifts.get(name)
        if before is not None and set(before.who) == set(shift.who):
            continue
        live.put_shift(name, OnShift(who=shift.who, since=max(shift.start, before.since) if before else shift.start))
        if before is not None:
            found += _handovers(live, name, before, shift)
    return found


def _handovers(live: Live, name: str, before: OnShift, shift: Shift) -> list[Handover]:
    open_ = _open(live, name)
    ends = [(who, False) for who in before.who if who not in shift.who]
    begins = [(who, True) for who in shift.who if who not in before.who]
    return [
        Handover(schedule=name, who=who, begins=begun, at=shift.start, until=shift.end, now=shift.who, open=open_)
        for who, begun in (*ends, *begins)
    ]


def _open(live: Live, schedule: str) -> tuple[ActiveAlert, ...]:
    """Alerts that have not ended, and that go to who is on call by ``schedule``."""
    receivers, escalations = _ways(live.rules, schedule)
    found = [
        alert
        for alert in live.active()
        if any(route.receiver in receivers or route.escalation in escalations for route in alert.routes)
    ]
    return tuple(sorted(found, key=lambda a: (a.acknowledged is not None, a.severity, a.fired_at)))


def _ways(rules: OnCallRules, schedule: str) -> tuple[set[str], set[str]]:
    receivers = {name for name, receiver in rules.receivers.items() if receiver.schedule == schedule}
    escalations = {
        name
        for name, escalation in rules.escalations.items()
        if any(receivers & set(step.notify) for step in escalation.steps)
    }
    return receivers, escalations

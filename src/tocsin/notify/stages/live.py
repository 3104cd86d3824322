"""What notify remembers of active alerts, in memory as in the state: alerts, groups, escalations.

A pass changes the memory and notes what it touched; ``change`` is what a transaction then writes. Where the transaction
fails, the memory is loaded again: it is never ahead of the state.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tocsin.model.active import ActiveAlert
from tocsin.model.alert import Transition
from tocsin.notify.oncall import escalation as esc
from tocsin.notify.routing.critical import CriticalState
from tocsin.notify.routing.decide import Verdict
from tocsin.notify.routing.groups import GroupState, GroupTiming
from tocsin.notify.routing.inhibit import Inhibitor
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.state.interface import Kept, NotifyChange

GROUP, ESCALATION, CRITICAL, SHIFT, DAILY = "group", "escalation", "critical", "shift", "daily"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Alerts of one receiver that share messages; where a route does not group, one alert."""

    key: str
    receiver: str
    alone: bool
    timing: GroupTiming
    state: GroupState
    values: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()  # ids of alerts
    flushes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message of an escalation."""

    ordinal: int
    steps: tuple[int, ...]  # those that it was for; none of an end
    deliveries: tuple[str, ...] = ()  # ids: one a recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalating:
    """One escalation of one alert."""

    name: str
    alert: str
    rule: str
    instance: str
    because: str = ""
    state: esc.State | None = None  # None: held back by an inhibition or a maintenance
    silenced: bool = False  # ended by a silence: it may start again
    sent: tuple[Sent, ...] = ()  # the last messages

    @property
    def key(self) -> str:
        """Its name in the state."""
        return f"{self.name}/{self.alert}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Critical:
    """What an address got of critical alerts lately."""

    address: str
    receiver: str
    state: CriticalState


@dataclass(frozen=True, slots=True, kw_only=True)
class OnShift:
    """Who was on call by a schedule when it was last evaluated."""

    who: tuple[str, ...]
    since: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """When the daily list of alerts that nobody has taken went out, or began to be needed."""

    at: datetime  # UTC


DAY = timedelta(days=1)
"""Between two of them."""


class Live:
    """Everything of which something may be left to do."""

    def __init__(self, rules: OnCallRules, alerts: Iterable[ActiveAlert] = (), kept: Iterable[Kept] = ()) -> None:
        self.rules = rules
        self.alerts: dict[str, ActiveAlert] = {}
        self.by_key: dict[tuple[str, str, str], str] = {}
        self.of_run: dict[str, set[str]] = {}  # run, or JobKey → ids of active event alerts
        self.groups: dict[str, Group] = {}
        self.escalations: dict[str, Escalating] = {}
        self.critical: dict[str, Critical] = {}
        self.shifts: dict[str, OnShift] = {}
        self.daily: dict[str, Daily] = {}
        self.over: set[str] = set()  # ids of alerts that have ended, and of which something may be left to do
        self.events: Counter[tuple[str, int]] = (
            Counter()
        )  # active event alerts that notify closes, by rule and severity
        self.moved: set[tuple[str, int]] = set()  # those of ``events`` that have changed since somebody last asked
        self.exhausted: set[str] = set()  # ids of active alerts of which all steps are done
        self.inhibitor = Inhibitor(rules.inhibit)
        self.verdicts: dict[tuple[str, str], Verdict] = {}  # (alert, group) → why it is suppressed
        self.timers: list[tuple[datetime, str, str]] = []  # (due, kind, key); one that has moved is asked again
        self.actions_up_to = 0
        self._touched: dict[tuple[str, str], None] = {}
        self._changed: dict[str, None] = {}
        self._ended: list[tuple[str, datetime, str]] = []
        self._settled: dict[str, None] = {}
        self._transitions: list[Transition] = []
        for alert in alerts:
            if alert.registered:  # an end is taken up as one that came just now: it may have come while nobody ran
                self._know(replace(alert, ended_at=None, ended_why=""))
        for each in kept:
            self._load(each)

    def _load(self, kept: Kept) -> None:
        if kept.body is None:
            return
        if kept.kind == GROUP:
            group = msgspec.convert({**kept.body, "key": kept.key}, Group)
            members = tuple(id_ for id_ in group.members if id_ in self.alerts)
            self.groups[kept.key] = replace(group, members=members)
            self.wake(GROUP, kept.key, group.state.first_flush)
        elif kept.kind == ESCALATION:
            self.escalations[kept.key] = msgspec.convert(kept.body, Escalating)
        elif kept.kind == CRITICAL:
            self.critical[kept.key] = msgspec.convert(kept.body, Critical)
        elif kept.kind == SHIFT:
            self.shifts[kept.key] = msgspec.convert(kept.body, OnShift)
        elif kept.kind == DAILY:
            self.daily[kept.key] = msgspec.convert(kept.body, Daily)
            self.wake(DAILY, kept.key, self.daily[kept.key].at + DAY)

    def _know(self, alert: ActiveAlert) -> None:
        self.alerts[alert.id] = alert
        self._count(alert, 1)
        self.by_key[alert.key] = alert.id
        self._note_exhausted(alert)
        if alert.ended_at is None:
            self.inhibitor.add(alert.id, alert.fields)
            if not alert.condition and alert.event_us:
                for name in {alert.run_id, alert.job_key} - {""}:
                    self.of_run.setdefault(name, set()).add(alert.id)
            if alert.closes_at is not None:
                self.wake("alert", alert.id, alert.closes_at)
            if alert.acknowledged is not None:
                self.wake("alert", alert.id, alert.acknowledged.until)

    # -- alerts --------------------------------------------------------------------------------------------------------

    def put(self, alert: ActiveAlert) -> None:
        """Remember ``alert`` as it is now."""
        before = self.alerts.get(alert.id)
        if before is None:
            self._know(alert)
        else:
            self._count(before, -1)
            self._count(alert, 1)
            if alert.acknowledged is not None and alert.acknowledged != before.acknowledged:
                self.wake("alert", alert.id, alert.acknowledged.until)
        self.alerts[alert.id] = alert
        self._changed[alert.id] = None
        self._note_exhausted(alert)

    def _count(self, alert: ActiveAlert, by: int) -> None:
        """Those that rules end themselves, and conditions, are counted where rules are evaluated."""
        if alert.closes_at is not None and alert.ended_at is None:
            self.events[alert.rule, alert.severity] += by
            self.moved.add((alert.rule, alert.severity))

    def _note_exhausted(self, alert: ActiveAlert) -> None:
        if alert.exhausted and alert.ended_at is None:
            self.exhausted.add(alert.id)
        else:
            self.exhausted.discard(alert.id)

    def end(self, id: str, at: datetime, why: str, *, known: bool) -> ActiveAlert | None:
        """The alert ended; ``known`` to the state already. None where it is unknown or has ended before."""
        alert = self.alerts.get(id)
        if alert is None or alert.ended_at is not None:
            return None
        self._count(alert, -1)
        alert = replace(alert, ended_at=at, ended_why=why)
        self.alerts[id] = alert
        self.over.add(id)
        self.exhausted.discard(id)
        self.inhibitor.remove(id)
        for name in {alert.run_id, alert.job_key}:
            if (known_of := self.of_run.get(name)) is not None:
                known_of.discard(id)
                if not known_of:
                    del self.of_run[name]
        if not known:
            self._ended.append((id, at, why))
        return alert

    def settle(self, id: str) -> None:
        """Nothing is left to do about an alert that has ended."""
        alert = self.alerts.pop(id, None)
        self.over.discard(id)
        if alert is not None:
            self._count(alert, -1)
            self.by_key.pop(alert.key, None)
            self._settled[id] = None
            for route in alert.routes:
                self.verdicts.pop((id, route.group), None)

    def active(self) -> Iterator[ActiveAlert]:
        """Alerts that have not ended."""
        return (alert for alert in self.alerts.values() if alert.ended_at is None)

    def log(self, transition: Transition) -> None:
        """A row of history."""
        self._transitions.append(transition)

    # -- groups, escalations, critical ---------------------------------------------------------------------------------

    def put_group(self, group: Group) -> None:
        """Remember ``group``; forget one without members."""
        if group.members:
            self.groups[group.key] = group
        else:
            self.groups.pop(group.key, None)
        self._touched[(GROUP, group.key)] = None

    def put_escalation(self, each: Escalating) -> None:
        """Remember an escalation."""
        self.escalations[each.key] = each
        self._touched[(ESCALATION, each.key)] = None

    def forget_escalation(self, key: str) -> None:
        """It cannot be resumed any more."""
        self.escalations.pop(key, None)
        self._touched[(ESCALATION, key)] = None

    def escalations_of(self, alert: ActiveAlert) -> list[Escalating]:
        """Those of an alert."""
        keys = (f"{route.escalation}/{alert.id}" for route in alert.routes if route.escalation)
        return [self.escalations[key] for key in keys if key in self.escalations]

    def put_critical(self, each: Critical) -> None:
        """Remember what an address got."""
        self.critical[each.address.lower()] = each
        self._touched[(CRITICAL, each.address.lower())] = None

    def put_shift(self, schedule: str, known: OnShift | None) -> None:
        """Remember who is on call; None where there is no such schedule any more."""
        if known is None:
            self.shifts.pop(schedule, None)
        else:
            self.shifts[schedule] = known
        self._touched[(SHIFT, schedule)] = None

    def put_daily(self, at: datetime | None) -> None:
        """Remember when the daily list went out; None where there is nothing to list."""
        if at is None:
            self.daily.pop("", None)
        else:
            self.daily[""] = Daily(at=at)
        self._touched[(DAILY, "")] = None

    # -- time ----------------------------------------------------------------------------------------------------------

    def wake(self, kind: str, key: str, due: datetime | None) -> None:
        """Ask again at ``due``."""
        if due is not None:
            heapq.heappush(self.timers, (due, kind, key))

    def due(self, now: datetime) -> list[tuple[str, str]]:
        """(kind, key) of what is to be asked now."""
        found: dict[tuple[str, str], None] = {}
        while self.timers and self.timers[0][0] <= now:
            _, kind, key = heapq.heappop(self.timers)
            found[(kind, key)] = None
        return list(found)

    def next_due(self) -> datetime | None:
        """When something is to be asked next."""
        return self.timers[0][0] if self.timers else None

    # -- what is written -----------------------------------------------------------------------------------------------

    def change(self) -> NotifyChange:
        """All that was touched since the last time."""
        kept = tuple(Kept(kind=kind, key=key, body=self._body(kind, key)) for kind, key in self._touched)
        found = NotifyChange(
            alerts=tuple(self.alerts[id_] for id_ in self._changed if id_ in self.alerts),
            ended=tuple(self._ended), settled=tuple(self._settled), kept=kept, actions_up_to=self.actions_up_to,
            transitions=tuple(self._transitions),
        )  # fmt: skip
        self._touched, self._changed, self._settled = {}, {}, {}
        self._ended, self._transitions, self.actions_up_to = [], [], 0
        return found

    def _body(self, kind: str, key: str) -> Mapping[str, Any] | None:
        places: Mapping[str, Mapping[str, object]] = {
            GROUP: self.groups, ESCALATION: self.escalations, CRITICAL: self.critical, SHIFT: self.shifts,
            DAILY: self.daily,
        }  # fmt: skip
        found = places[kind].get(key)
        return None if found is None else msgspec.to_builtins(found)

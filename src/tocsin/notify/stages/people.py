"""What people do with alerts and wish for themselves (subscriptions, mutes), and what ends an alert besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from tocsin.model.active import Acknowledgement, Action, ActionKind, ActiveAlert, Ended, Preference, PreferenceKind
from tocsin.model.alert import Phase, Transition, Why
from tocsin.model.statuses import TERMINAL, Severity
from tocsin.notify.routing.matchers import BadMatcher, Matcher, matches, parse_matchers, text_of
from tocsin.notify.stages.live import Live


@lru_cache(maxsize=10_000)
def _matchers(text: str) -> tuple[Matcher, ...] | None:
    """None for what cannot be read any more: it matches nothing."""
    try:
        return parse_matchers(text)
    except BadMatcher:
        return None


def _matches(preference: Preference, alert: ActiveAlert) -> bool:
    wanted = _matchers(preference.matchers)
    return wanted is not None and matches(wanted, {**alert.columns, **alert.fields})


@dataclass(frozen=True, slots=True)
class Preferences:
    """Those that hold at an instant."""

    subscriptions: tuple[Preference, ...] = ()
    mutes: tuple[Preference, ...] = ()

    @classmethod
    def at(cls, stored: Iterable[Preference], at: datetime) -> Preferences:
        """Of all that is stored those that hold at ``at``."""
        found = [each for each in stored if each.holds(at)]
        return cls(
            tuple(each for each in found if each.kind is PreferenceKind.SUBSCRIBE),
            tuple(each for each in found if each.kind is PreferenceKind.MUTE),
        )

    def subscribers(self, alert: ActiveAlert) -> Sequence[tuple[str, str]]:
        """(address, why it is notified), each address once."""
        found: dict[str, str] = {}
        for each in self.subscriptions:
            if each.address not in found and _matches(each, alert):
                found[each.address] = f"you subscribed to {text_of(_matchers(each.matchers) or ())}"
        return list(found.items())

    def muted(self, address: str, alert: ActiveAlert) -> bool:
        """Whether the person at ``address`` does not want to be notified of ``alert``."""
        wanted = address.lower()
        return any(each.address == wanted and _matches(each, alert) for each in self.mutes)


NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An alert that somebody has acknowledged, let go (``by`` is ''), or closed."""

    alert: ActiveAlert
    by: str
    until: datetime | None = None
    closed: bool = False


def act(live: Live, actions: Iterable[tuple[int, Action]]) -> list[Taken]:
    """Take up what people did; returns whom escalations and repeats have to know of."""
    taken: list[Taken] = []
    for number, action in actions:
        live.actions_up_to = number
        alert = live.alerts.get(action.alert)
        if alert is None or alert.ended_at is not None:
            continue
        if action.kind in (ActionKind.ACKNOWLEDGE, ActionKind.SNOOZE):
            held = Acknowledgement(by=action.by, at=action.at, until=action.until)
            live.put(replace(alert, acknowledged=held))
            taken.append(Taken(alert=live.alerts[alert.id], by=action.by, until=action.until))
        elif action.kind is ActionKind.UNACKNOWLEDGE:
            live.put(replace(alert, acknowledged=None))
            taken.append(Taken(alert=live.alerts[alert.id], by=""))
        elif action.kind is ActionKind.ASSIGN:
            live.put(replace(alert, assigned_to=action.text))
        elif action.kind is ActionKind.CLOSE:
            done = live.end(alert.id, action.at, f"{Ended.CLOSED} by {action.by}", known=False)
            if done is not None:
                taken.append(Taken(alert=done, by=action.by, closed=True))
        live.log(_transition(alert, action))
    return taken


_AFTER: Mapping[ActionKind, Phase] = {
    ActionKind.ACKNOWLEDGE: Phase.ACKNOWLEDGED,
    ActionKind.SNOOZE: Phase.ACKNOWLEDGED,
    ActionKind.CLOSE: Phase.CLOSED,
}


def _transition(alert: ActiveAlert, action: Action) -> Transition:
    before = Phase.FIRING if alert.condition else Phase.FIRED
    said = f"{action.kind.value} by {action.by}" + (f": {action.text}" if action.text else "")
    return row(alert, before, _AFTER.get(action.kind, before), Why.BY_PERSON, action.at, said)


def row(alert: ActiveAlert, before: Phase, after: Phase, why: Why, at: datetime, detail: str = "") -> Transition:
    """A row of ``Alerts`` that notify writes."""
    import json

    return Transition(
        rule=alert.rule, instance=json.loads(alert.instance), occurrence=alert.occurrence, before=before, after=after,
        reason=why, severity=Severity(alert.severity), labels=alert.fields, run_id=alert.run_id, detail=detail,
        commit_seq=0, at=at,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """An event that may supersede event alerts: a run goes on, or an attempt of a piece of work."""

    run_id: str
    job_key: str
    attempt: int
    status: str
    time_us: int  # TimeGenerated, µs since the epoch


def supersede(live: Live, changes: Sequence[RunChange], at: datetime) -> list[ActiveAlert]:
    """End event alerts whose run reopened, or whose work has a newer attempt that runs or completed."""
    ended: dict[str, None] = {}
    for each in changes:
        names = {each.run_id, each.job_key} - {""}
        for id_ in sorted({id_ for name in names for id_ in live.of_run.get(name, ())}):
            if _supersedes(each, live.alerts[id_]):
                ended[id_] = None
    done = [live.end(id_, at, Ended.SUPERSEDED.value, known=False) for id_ in ended]
    found = [alert for alert in done if alert is not None]
    for alert in found:
        live.log(row(alert, Phase.FIRED, Phase.CLOSED, Why.SUPERSEDED, at))
    return found


def _supersedes(change: RunChange, alert: ActiveAlert) -> bool:
    if change.run_id == alert.run_id and alert.columns.get("Status", "") in TERMINAL:
        later = change.time_us > alert.event_us and change.attempt >= alert.attempt
        if change.status not in TERMINAL and later:
            return True  # it reopened
    same_work = (change.job_key or change.run_id) == (alert.job_key or alert.run_id)
    newer = change.attempt > alert.attempt or (change.run_id != alert.run_id and change.time_us > alert.event_us)
    return same_work and newer and change.status in ("Running", "Completed")


def expire(live: Live, ids: Iterable[str], at: datetime) -> list[ActiveAlert]:
    """Let alerts go whose snooze is over."""
    found: list[ActiveAlert] = []
    for id_ in ids:
        alert = live.alerts.get(id_)
        held = alert.acknowledged if alert is not None and alert.ended_at is None else None
        if alert is not None and held is not None and held.until is not None and held.until <= at:
            live.put(replace(alert, acknowledged=None))
            found.append(live.alerts[id_])
    return found


def close(live: Live, ids: Iterable[str], at: datetime) -> list[ActiveAlert]:
    """End event alerts whose time is over."""
    found: list[ActiveAlert] = []
    for id_ in ids:
        alert = live.alerts.get(id_)
        if alert is None or alert.ended_at is not None or alert.closes_at is None or alert.closes_at > at:
            continue
        if (done := live.end(id_, at, Ended.AUTO_CLOSED.value, known=False)) is not None:
            live.log(row(done, Phase.FIRED, Phase.CLOSED, Why.AUTO_CLOSED, at))
            found.append(done)
    return found

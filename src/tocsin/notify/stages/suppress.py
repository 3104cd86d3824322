"""Second stage: why the people of a route are not notified of an alert now, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tocsin.model.active import ActiveAlert, StoredSilence
from tocsin.notify.routing.decide import After, Alert, Recipient, Rules, Verdict, Why, decide
from tocsin.notify.routing.matchers import BadMatcher, parse_matchers
from tocsin.notify.routing.mute import Mute, Silence
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.tree import RuleNames, walk
from tocsin.notify.routing.tree import route as take
from tocsin.notify.stages.live import Live

_LEAVES = frozenset({After.DIGEST, After.DROP, After.REPORT})
"""What an event alert that is suppressed does not come back from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An event alert that leaves its group: it is listed in a digest, counted for a silence's author, or dropped."""

    alert: ActiveAlert
    receiver: str
    verdict: Verdict


def silences_of(stored: Iterable[StoredSilence]) -> tuple[Silence, ...]:
    """Silences that people set; one that cannot be read any more silences nothing."""
    found: list[Silence] = []
    for each in stored:
        try:
            matchers = parse_matchers(each.matchers)
            found.append(
                Silence(id=each.id, matchers=matchers, start=each.start, end=each.end, by=each.by, comment=each.comment)
            )
        except (BadMatcher, ValueError):
            continue
    return tuple(found)


class Suppression:
    """What holds for everybody, and when that changes next."""

    def __init__(self, rules: OnCallRules, silences: Sequence[Silence]) -> None:
        self._rules, self.silences = rules, tuple(silences)
        self._mutes: dict[tuple[str, str], Mute | None] = {}
        self._any_mutes = any(node.mute is not None for node in walk(rules.root))

    def verdict(self, live: Live, alert: ActiveAlert, receiver: str, at: datetime, *, escalation: bool) -> Verdict:
        """Whether people of ``receiver`` are notified of ``alert`` at ``at``."""
        recipient = Recipient(escalation=escalation, mute=None if escalation else self._mute(alert, receiver))
        about = Alert(
            id=alert.id, fields=alert.fields, columns=alert.columns, condition=alert.condition,
            critical=alert.severity == 0,
        )  # fmt: skip
        rules = Rules(inhibitor=live.inhibitor, maintenances=self._rules.maintenances, silences=self.silences)
        return decide(about, recipient, rules, at)

    def _mute(self, alert: ActiveAlert, receiver: str) -> Mute | None:
        """The mute of the route that took the alert to ``receiver``, as the files say it now."""
        if not self._any_mutes:
            return None
        key = (alert.id, receiver)
        if key not in self._mutes:
            if len(self._mutes) > 200_000:
                self._mutes.clear()
            taken = take(self._rules.root, self._rules.always, alert.fields, RuleNames())
            node = next((each.route for each in taken if each.receiver == receiver), None)
            self._mutes[key] = node.mute if node is not None else None
        return self._mutes[key]

    def next_change(self, at: datetime) -> datetime | None:
        """When a silence or a maintenance begins or ends next, or a time interval that mutes."""
        times = [t for each in self.silences for t in (each.start, each.end)]
        times += [t for each in self._rules.maintenances for t in (each.start, each.end) if t is not None]
        intervals = {each.name: each for each in self._rules.intervals.values()}
        times += [t for each in intervals.values() if (t := each.until(at)) is not None]
        return min((t for t in times if t > at), default=None)


def suppress(live: Live, suppression: Suppression, alerts: Iterable[ActiveAlert], at: datetime) -> list[Left]:
    """Evaluate ``alerts`` again; returns those that leave a group for good."""
    left: list[Left] = []
    for alert in list(alerts):
        reasons: list[str] = []
        for route in alert.routes:
            group = live.groups.get(route.group)
            if group is None or alert.id not in group.members:
                continue
            verdict = suppression.verdict(live, alert, route.receiver, at, escalation=False)
            if verdict.why is Why.SENT:
                live.verdicts.pop((alert.id, group.key), None)
                continue
            reasons.append(verdict.why.value)
            known = alert.id in group.state.notified
            if verdict.after in _LEAVES and not alert.condition:
                if not known:
                    left.append(Left(alert=alert, receiver=route.receiver, verdict=verdict))
                live.put_group(replace(group, members=tuple(m for m in group.members if m != alert.id)))
                continue
            live.verdicts[(alert.id, group.key)] = verdict
        said = reasons[0] if reasons else ""
        if said != alert.suppressed:
            live.put(replace(live.alerts[alert.id], suppressed=said))
    return left

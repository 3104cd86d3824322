"""First stage: an intent becomes an alert with its routes, which stay as they are until it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.model.active import ActiveAlert, RoutedTo, fired_alert
from tocsin.model.alert import Why as Fired
from tocsin.model.alert import instance_key
from tocsin.model.columns import RUNS, KqlType
from tocsin.model.intent import Intent, IntentHead, IntentKind, RuleInfo
from tocsin.notify.routing.groups import ALL_FIELDS, GroupTiming, group_key, opened
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.pipeline import DEFAULT, matched_by
from tocsin.notify.routing.tree import RuleNames, Taken, Why, group_values
from tocsin.notify.routing.tree import route as take
from tocsin.notify.stages.live import Escalating, Group, Live
from tocsin.notify.stages.people import NO_PREFERENCES, Preferences
from tocsin.notify.text import moment

_COLUMNS = tuple(c.name for c in RUNS if c.type is KqlType.STRING)
_LONGEST = 300  # characters of a column that maintenance may match

Reaches = Callable[[str, Intent, RuleInfo], bool]
"""Whether a receiver comes to anybody for an alert: the owner may be unknown, or not be allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registering:
    """What it needs to know."""

    rules: OnCallRules
    reaches: Reaches
    title: Callable[[Intent, RuleInfo], str]
    preferences: Preferences = NO_PREFERENCES
    now: datetime  # a clock that was set back is behind what commits were stamped with: nothing waits for it


def register(live: Live, intent: Intent, info: RuleInfo, with_: Registering) -> ActiveAlert | None:
    """Take an intent up. None where it is about no alert that is known: one that began before notify kept them."""
    key = (intent.rule, instance_key(intent.instance), intent.occurrence)
    known = live.alerts.get(live.by_key.get(key, ""))
    if known is not None:
        if intent.why is Fired.STILL_FIRING and known.condition and not info.repeats:
            live.put(replace(known, intent=intent.id))  # its groups repeat it, as their routes say, with what holds now
            return live.alerts[known.id]
        return _again(live, known, intent)
    if intent.kind is not IntentKind.FIRED:
        return None
    alert = _fired(intent, info, with_)
    taken = _taken(intent, info, alert.fields, with_)
    routes = (_route(live, alert, each, with_, repeats=not info.repeats) for each in taken)
    alert = replace(alert, routes=(*routes, *_subscribed(live, alert, with_, taken, repeats=not info.repeats)))
    live.put(alert)
    return alert


def _subscribed(
    live: Live, alert: ActiveAlert, with_: Registering, taken: Sequence[Taken], *, repeats: bool
) -> list[RoutedTo]:
    """Those who asked for themselves, but for addresses that a route or the rule names already."""
    named = {each.receiver.lower() for each in taken}
    found: list[RoutedTo] = []
    for address, because in with_.preferences.subscribers(alert):
        if address not in named:
            by_hand = Taken(receiver=address, why=Why.RULE)
            found.append(replace(_route(live, alert, by_hand, with_, repeats=repeats), because=because))
    return found


def _again(live: Live, alert: ActiveAlert, intent: Intent) -> ActiveAlert:
    """It repeats, gets worse, or resolves: messages say what the latest intent says."""
    severity = int(intent.severity)
    alert = replace(alert, intent=intent.id, severity=severity)
    live.put(alert)
    if intent.kind in (IntentKind.REPEATED, IntentKind.ESCALATED):
        for route in alert.routes:
            if (group := live.groups.get(route.group)) is not None:
                notified = {id_: at for id_, at in group.state.notified.items() if id_ != alert.id}
                live.put_group(replace(group, state=replace(group.state, notified=notified)))
    return alert


def _fired(intent: Intent, info: RuleInfo, with_: Registering) -> ActiveAlert:
    event = intent.event
    closes = None
    if not info.condition and info.auto_close:
        closes = intent.at + timedelta(seconds=info.auto_close)
    happened = moment(event.get("TimeGenerated"))
    attempt = event.get("Attempt")
    return replace(
        fired_alert(intent), registered=True, condition=info.condition, title=with_.title(intent, info),
        closes_at=closes, job_key=str(event.get("JobKey") or ""), attempt=attempt if isinstance(attempt, int) else 0,
        event_us=round(happened.timestamp() * 1_000_000) if happened is not None else 0,
        fields=matched_by(intent), columns=_columns(event),
    )  # fmt: skip


def _columns(event: Mapping[str, object]) -> dict[str, str]:
    return {name: str(event[name])[:_LONGEST] for name in _COLUMNS if event.get(name)}


def _taken(intent: Intent, info: RuleInfo, fields: Mapping[str, str], with_: Registering) -> tuple[Taken, ...]:
    """Who gets it: never nobody."""
    names = RuleNames(to=info.notify_to, only=info.notify_only)
    found = take(with_.rules.root, with_.rules.always, fields, names)
    if any(each.escalation or with_.reaches(each.receiver, intent, info) for each in found):
        return found
    return (*found, Taken(receiver=DEFAULT, why=Why.UNROUTED))


def _route(live: Live, alert: ActiveAlert, taken: Taken, with_: Registering, *, repeats: bool) -> RoutedTo:
    rules = with_.rules
    because = taken.text.partition(": ")[2] if taken.why is Why.MATCHED else ""
    if taken.escalation:
        live.put_escalation(
            Escalating(name=taken.escalation, alert=alert.id, rule=alert.rule, instance=alert.instance, because=because)
        )
        return RoutedTo(escalation=taken.escalation, because=because)
    node = taken.route
    grouped = node is not None and node.group_by and ALL_FIELDS not in node.group_by
    values = group_values(node, alert.fields) if node is not None and grouped else {}
    timing = (node or rules.root).timing if grouped else _alone(node.timing if node is not None else None, rules)
    if not repeats and not grouped:
        timing = replace(timing, repeat=None)  # the rule says when
    key = group_key(taken.receiver, values, "" if grouped else alert.id)
    known = live.groups.get(key)
    if known is None:
        known = Group(
            key=key, receiver=taken.receiver, alone=not grouped, timing=timing, values=values,
            state=opened(timing, min(alert.fired_at, with_.now)),
        )  # fmt: skip
    live.put_group(replace(known, timing=timing, members=(*known.members, alert.id)))
    return RoutedTo(receiver=taken.receiver, because=because, group=key)


def _alone(timing: GroupTiming | None, rules: OnCallRules) -> GroupTiming:
    """An alert that is its own group waits for nobody: what a rule names does not wait at all."""
    if timing is None:
        return replace(rules.root.timing, wait=timedelta(0), interval=timedelta(0))
    return replace(timing, interval=timedelta(0))


def before_a_second(intents: Sequence[IntentHead]) -> Sequence[IntentHead]:
    """The evaluations up to the first that says more of an alert that fires among them: each is a message. An end is
    not: one message says both.
    """
    fired: set[tuple[str, str, str]] = set()
    for intent in intents:
        if intent.kind is IntentKind.FIRED:
            fired.add(intent.alert)
        elif intent.alert in fired and intent.kind is not IntentKind.RESOLVED:
            first = next(n for n, each in enumerate(intents) if each.evaluation == intent.evaluation)
            return intents[:first] or intents
    return intents

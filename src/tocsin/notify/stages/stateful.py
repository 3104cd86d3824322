"""Beside addressing: receivers that hold a state of each alert, as pagers do, are notified of every end of it, also of
those that people are not mailed (no data, rule changed, superseded), and of an acknowledgement where they can take it.

They are whoever got the alert, by a route or by a step, and they get it apart from groups, suppression and mutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tocsin.model.active import ActiveAlert, Ended
from tocsin.model.alert import Why
from tocsin.model.delivery import Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.notify.channels.registry import CHANNELS, for_each
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.stages.people import Taken
from tocsin.notify.values import NotificationDraft, Recipient, episode_group
from tocsin.state.interface import State

Said = Mapping[str, tuple[Intent, RuleInfo]]
"""Alert → its latest intent and the presentation of its rule."""
_ORDINAL = 3_000_000
"""Of what is said of an alert without an intent: no evaluation counts so far."""


def any_stateful(rules: OnCallRules) -> bool:
    """Whether any receiver holds states: else nothing has to be looked up."""
    return any(for_each(key) for options in rules.channels.values() for key in options)


def ends(state: State, ended: Iterable[ActiveAlert], said: Said) -> list[NotificationDraft]:
    """One message to each that got an alert which has ended. Raises StoreError."""
    found: list[NotificationDraft] = []
    for alert in ended:
        if alert.id not in said:
            continue
        intent, info = said[alert.id]
        over = intent if intent.kind is IntentKind.RESOLVED else _over(alert, intent)
        for notified in _holders(state, intent):
            if over is not intent and not alert.condition and CHANNELS[notified.channel].mirror:
                continue  # a mirror ends an event alert by itself, when it has shown it long enough
            found.append(
                NotificationDraft(recipient=_recipient(notified), notified=((over, info),), flush=f"end/{alert.id}")
            )
    return found


def acknowledgements(state: State, taken: Iterable[Taken], said: Said) -> list[NotificationDraft]:
    """One message to each that got an alert which somebody has taken. Raises StoreError."""
    found: list[NotificationDraft] = []
    for each in taken:
        if not each.by or each.closed or each.alert.id not in said:
            continue
        intent, info = said[each.alert.id]
        held = each.alert.acknowledged
        when = held.at.isoformat() if held is not None else ""
        about = replace(_apart(intent), kind=IntentKind.ESCALATED)
        for notified in _holders(state, intent):
            if CHANNELS[notified.channel].acknowledges:
                found.append(
                    NotificationDraft(
                        recipient=_recipient(notified), notified=((about, info),), acknowledged=each.by,
                        says=f"acknowledged by {each.by}", flush=f"acknowledged/{each.alert.id}/{when}",
                    )
                )  # fmt: skip
    return found


def _holders(state: State, intent: Intent) -> list[Notified]:
    return [each for each in state.notified_group(episode_group(intent)) if for_each(each.channel)]


def _recipient(notified: Notified) -> Recipient:
    because = "is shown there"
    return Recipient(channel=notified.channel, address=notified.address, receiver=notified.receiver, because=because)


def _over(alert: ActiveAlert, intent: Intent) -> Intent:
    at = alert.ended_at or intent.at
    return replace(_apart(intent), kind=IntentKind.RESOLVED, why=_why(alert.ended_why), at=at)


def _apart(intent: Intent) -> Intent:
    """Under a number of its own, and never beyond a limit."""
    details = replace(intent.details, digest=None)
    return replace(intent, ordinal=_ORDINAL, details=details, origin=intent.origin or intent.id)


def _why(ended: str) -> Why:
    if ended.startswith(Ended.CLOSED):
        return Why.BY_PERSON
    try:
        return Why(ended)
    except ValueError:
        return Why.RECOVERED

"""After a restore: what fired before a moment, of which somebody was notified already, is recorded as expired."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tocsin.model.alert import Phase, Why, instance_key
from tocsin.model.intent import Intent, IntentKind
from tocsin.state.interface import Outcome

KEY = "notified_until"
"""Key of the state's small value."""
_KEPT = frozenset({IntentKind.ADMIN})


def fired_at(intent: Intent) -> datetime:
    """When it happened: the time of its event, or of the evaluation where no event is behind it."""
    return intent.event_time or intent.at


def expired(outcome: Outcome, until: datetime | None) -> Outcome:
    """``outcome`` without the notifications of what fired before ``until``; its event alerts are expired."""
    if until is None:
        return outcome
    cut = [intent for intent in outcome.intents if intent.kind not in _KEPT and fired_at(intent) < until]
    if not cut:
        return outcome
    dropped = {id(intent) for intent in cut}
    names = {(intent.rule, intent.occurrence) for intent in cut}
    alerts = {(intent.rule, instance_key(intent.instance), intent.occurrence) for intent in cut}
    return replace(
        outcome,
        intents=tuple(intent for intent in outcome.intents if id(intent) not in dropped),
        transitions=tuple(
            replace(t, after=Phase.EXPIRED, reason=Why.NOTIFIED_BEFORE)
            if t.after is Phase.FIRED and (t.rule, instance_key(t.instance), t.occurrence) in alerts
            else t
            for t in outcome.transitions
        ),
        occurrences=tuple(
            replace(o, phase=Phase.EXPIRED) if o.phase is Phase.FIRED and (o.rule, o.name) in names else o
            for o in outcome.occurrences
        ),
    )

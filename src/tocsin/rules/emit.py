"""The one place where rules write transitions and intents."""

from __future__ import annotations

from tocsin.alerts.changes import Change, intent_of, transition_of
from tocsin.model.alert import Why
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import RateLimit
from tocsin.rules import limits
from tocsin.rules.memory import Memory
from tocsin.rules.spec.rule import Rule


def emit(memory: Memory, rule: Rule, change: Change, *, beyond: RateLimit = False) -> RateLimit:
    """Record ``change`` of an alert of ``rule``, and notify it as far as the rule's limit lets it.

    ``beyond`` is what was kept of the alert when it fired. Returns what is to be kept of it.
    """
    intent = intent_of(rule.public_name, rule.info.version, change)
    if intent is not None:
        beyond = limits.notify(rule.name, rule.limit, intent, rule.info, memory, beyond=beyond)
    if change.transition:
        limited = beyond and change.kind is IntentKind.FIRED
        memory.transitions.append(transition_of(rule.public_name, change, Why.RATE_LIMITED if limited else None))
    return beyond

"""`limit: {per: ExperimentName, max: 3, window: 1d, then: digest}`: the first are notified singly, the others by one
mail at the end.

    notified singly   1   2   3
    beyond                    4   5   6                    one digest: 4, 5, 6
                  |-------------- window: 1d --------------|
                  opened                                    the next one opens another window

Only the count is kept here, with the rule's state. What is beyond is an intent like any other that says until when it
waits, so the outbox holds it, and neither a crash nor a reload loses it. Of a rule for each row of a table the rows
count together.

The end of an alert that is in a digest goes to those who got that, and is notified by a digest too: by the same one
while it waits, else at the end of the span in which it comes, counted on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.model.alert import Phase
from tocsin.model.details import Digest
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.remembered import ConditionState, RateLimit
from tocsin.model.statuses import Severity
from tocsin.rules.history import plain
from tocsin.rules.language.names import public_name
from tocsin.rules.memory import Memory
from tocsin.rules.spec.limit import Limit

_STATE = "{} limit"
"""What a rule's windows are kept as: no rule has such a name."""
_NOTIFIES = frozenset({IntentKind.FIRED, IntentKind.REPEATED, IntentKind.RESOLVED})


def kept_as(rule: str) -> str:
    """The name under which the windows of a rule, as it is written, are kept."""
    return _STATE.format(rule)


def notify(
    rule: str, limit: Limit | None, intent: Intent, info: RuleInfo, memory: Memory, *, beyond: RateLimit = False
) -> RateLimit:
    """Notify, as far as the limit of ``rule`` allows; returns what is to be kept of the alert.

    ``beyond`` is what was kept of the alert that a repeat or an end is about: nobody receives of a repeat of what was
    not notified singly, and of its end by a digest.
    """
    name = public_name(rule)
    if intent.kind is not IntentKind.FIRED and intent.kind in _NOTIFIES and beyond:
        if intent.kind is IntentKind.RESOLVED and isinstance(beyond, Digest):
            memory.notify(_in(intent, _of_end(beyond, intent.at)), info)
        return beyond
    if limit is None or intent.kind is not IntentKind.FIRED:
        memory.notify(intent, info)
        return False
    fields = {**intent.event, **intent.instance, **intent.fields, **intent.labels}
    per = {column: plain(fields.get(column)) for column in limit.per}
    began, notified = _window(name, per, limit, intent.at, memory)
    if notified < limit.most:
        memory.put_condition(_state(name, per, began, notified + 1))
        memory.notify(intent, info)
        return False
    if limit.digest:
        digest = Digest(
            until=began + limit.span, per=per, notified=limit.most, seconds=limit.span.total_seconds()
        )  # fmt: skip
        memory.notify(_in(intent, digest), info)
        return digest
    return True


def _in(intent: Intent, digest: Digest) -> Intent:
    return replace(intent, details=replace(intent.details, digest=digest))


def _of_end(digest: Digest, at: datetime) -> Digest:
    """Which digest notifies the end at ``at`` of an alert that is in ``digest``."""
    until, span = digest.until, timedelta(seconds=digest.seconds)
    return digest if at < until else replace(digest, until=until + ((at - until) // span + 1) * span)


def _window(name: str, per: Mapping[str, object], limit: Limit, at: datetime, memory: Memory) -> tuple[datetime, int]:
    """When the window of ``per`` opened, and how many were notified singly in it; windows that are over are
    forgotten.
    """
    states = memory.conditions(kept_as(name))
    for key, state in states.items():
        if state.since + limit.span <= at:
            memory.drop_condition(kept_as(name), key)
    mine = states.get(_state(name, per, at, 0).key)
    if mine is None or mine.since + limit.span <= at:
        return at, 0
    return mine.since, int(mine.value or 0)


def _state(name: str, per: Mapping[str, object], began: datetime, notified: int) -> ConditionState:
    return ConditionState(
        rule=kept_as(name), instance=per, phase=Phase.FIRED, since=began, severity=Severity.WARNING, value=float(notified)
    )  # fmt: skip

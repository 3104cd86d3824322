"""`limit: {per: ExperimentName, told: 3, in: 1d, then: digest}`: the first are told singly, the others by one mail at the end.

    told singly   1   2   3
    beyond                    4   5   6                    one digest: 4, 5, 6
                  |------------------ in: 1d --------------|
                  opened                                    the next one opens another window

Only the count is kept here, with the rule's state. What is beyond is an intent like any other that says until when it waits, so
the outbox holds it, and neither a crash nor a reload loses it. Of a rule for each row of a table the rows count together.

The end of an alert that is in a digest goes to those who got that, and is told by a digest too: by the same one while it waits, else
at the end of the span in which it comes, counted on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.alerts.conditions import ZERO
from tocsin.config.document import suggest
from tocsin.config.durations import format_duration
from tocsin.model.alert import ConditionState, Phase
from tocsin.model.intent import LIMIT, Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.rules.checks import Faults, Said
from tocsin.rules.history import plain
from tocsin.rules.memory import Memory
from tocsin.rules.names import told_as
from tocsin.rules.schema import RuleModel

_STATE = "{} limit"
"""What a rule's windows are kept as: no rule has such a name."""
_TELLS = frozenset({IntentKind.FIRED, IntentKind.REPEATED, IntentKind.RESOLVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``told`` alerts singly in ``span`` for each value of ``per``."""

    per: tuple[str, ...]
    told: int
    span: timedelta
    digest: bool  # False: what is beyond is dropped

    @property
    def words(self) -> str:
        """For people."""
        then = "one digest of the others" if self.digest else "the others are dropped"
        return f"{self.told} in {format_duration(self.span)} per {', '.join(self.per)}, then {then}"


def limit_of(model: RuleModel, said: Said, fields: Collection[str] | None, faults: Faults) -> Limit | None:
    """What the rule says; ``fields`` are those of its rows and labels (None: not known)."""
    limit = said(lambda m: m.limit, "limit")
    if limit is None:
        return None
    at = ("limit",) if "limit" in model.model_fields_set else ()
    if not limit.per:
        faults.add((*at, "per"), "names no field", "write for example per: ExperimentName")
    for name in limit.per if fields is not None else ():
        if name not in (fields or ()):
            faults.add((*at, "per"), f"'{name}' is no field of the rule's alerts", suggest(name, fields or ()))
    if limit.in_ <= ZERO:
        faults.add((*at, "in"), "must be longer than nothing", "write for example in: 1d")
    return Limit(per=limit.per, told=limit.told, span=limit.in_, digest=limit.then == "digest")


def kept_as(rule: str) -> str:
    """The name under which the windows of a rule, as it is written, are kept."""
    return _STATE.format(rule)


Beyond = Mapping[str, object] | bool
"""What is kept of an alert: False, it was told singly; True, nobody was told; else what its intent says of its digest."""


def tell(
    rule: str, limit: Limit | None, intent: Intent, info: RuleInfo, memory: Memory, *, beyond: Beyond = False
) -> Beyond:
    """Tell, as far as the limit of ``rule`` allows; returns what is to be kept of the alert.

    ``beyond`` is what was kept of the alert that a repeat or an end is about: nobody hears of a repeat of what was not told singly,
    and of its end by a digest.
    """
    name = told_as(rule)
    if intent.kind is not IntentKind.FIRED and intent.kind in _TELLS and beyond:
        if intent.kind is IntentKind.RESOLVED and isinstance(beyond, Mapping):
            memory.tell(replace(intent, data={**intent.data, LIMIT: _of_end(beyond, intent.at)}), info)
        return beyond
    if limit is None or intent.kind is not IntentKind.FIRED:
        memory.tell(intent, info)
        return False
    fields = {**intent.event, **intent.instance, **intent.keep, **intent.labels}
    per = {column: plain(fields.get(column)) for column in limit.per}
    opened, told = _window(name, per, limit, intent.at, memory)
    if told < limit.told:
        memory.put_condition(_state(name, per, opened, told + 1))
        memory.tell(intent, info)
        return False
    if limit.digest:
        until: Mapping[str, object] = {
            "until": plain(opened + limit.span),
            "per": per,
            "told": limit.told,
            "seconds": limit.span.total_seconds(),
        }
        memory.tell(replace(intent, data={**intent.data, LIMIT: until}), info)
        return until
    return True


def kept(said: object) -> Beyond:
    """What was kept of an alert, as it is found in its state."""
    return said if isinstance(said, Mapping) else bool(said)


def _of_end(digest: Mapping[str, object], at: datetime) -> Mapping[str, object]:
    """Which digest tells the end at ``at`` of an alert that is in ``digest``."""
    until = datetime.fromisoformat(str(digest["until"]))
    span = timedelta(seconds=float(str(digest["seconds"])))
    return digest if at < until else {**digest, "until": plain(until + ((at - until) // span + 1) * span)}


def _window(name: str, per: Mapping[str, object], limit: Limit, at: datetime, memory: Memory) -> tuple[datetime, int]:
    """When the window of ``per`` opened, and how many were told singly in it; windows that are over are forgotten."""
    states = memory.conditions(kept_as(name))
    for key, state in states.items():
        if state.since + limit.span <= at:
            memory.drop_condition(kept_as(name), key)
    mine = states.get(_state(name, per, at, 0).key)
    if mine is None or mine.since + limit.span <= at:
        return at, 0
    return mine.since, int(mine.value or 0)


def _state(name: str, per: Mapping[str, object], opened: datetime, told: int) -> ConditionState:
    return ConditionState(
        rule=kept_as(name), instance=per, phase=Phase.TOLD, since=opened, severity=Severity.WARNING, value=float(told)
    )  # fmt: skip

"""The life of a condition: what one evaluation at one instance of a window or absence rule changes. Pure; time is an
argument.

    (none) ── holds ──► pending ── long enough ──► firing ── holds no longer, clear ──► recovering ── quiet for ──►
resolved
       ▲                   │                        │  ▲                                    │        keep_firing_for
       └── holds no longer ┘                        │  └──────────── holds again ───────────┘
                                                    └── without keep_firing_for ─► resolved

There are three kinds of evaluations. A *tick* is whole: it counts for ``N of M``, may end things and evaluates missing
data. An *early* one (a commit brought rows) may begin and fire, nothing else. A *deadline* (the end of a ``for``) may
fire, or drop what does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tocsin.alerts.active import active_alert_of
from tocsin.alerts.changes import Change
from tocsin.model.alert import Phase, Why
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import NOTHING, ConditionState, Life, Remembered
from tocsin.model.statuses import Severity

ZERO = timedelta(0)
NO_DATA_CLOSES = timedelta(hours=24)
"""How long a firing instance of which nothing has reported stays, where no data means keep."""
REPEAT = timedelta(hours=4)
"""How often a firing instance is notified again, where neither rule nor route says."""
EVENTS = frozenset({Phase.NONE, Phase.FIRED, Phase.CLOSED})
"""Phases of what an event rule remembers as an instance: the children of a parent."""
LIVE = frozenset({Phase.PENDING, Phase.FIRING, Phase.RECOVERING})
"""Phases of an instance that is under way."""
_ENDS = {
    Phase.PENDING: Phase.NONE,
    Phase.FIRING: Phase.RESOLVED,
    Phase.RECOVERING: Phase.RESOLVED,
    Phase.FIRED: Phase.CLOSED,
}
"""What becomes of an instance whose rule is no more."""
_QUIET = frozenset({Why.MAINTENANCE, Why.NO_DATA, Why.RULE_CHANGED, Why.RULE_GONE, Why.AUTO_CLOSED})
"""Endings that are recorded, not notified."""


class NoData(StrEnum):
    """What it means for an instance that there is no data."""

    KEEP = "keep"  # a firing one stays, is not repeated, and is closed without a notification after NO_DATA_CLOSES
    OK = "ok"  # it holds no longer
    ALERT = "alert"  # it holds


class EvaluationKind(StrEnum):
    """What an evaluation may do; see above."""

    TICK = "tick"
    EARLY = "early"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a rule says of the life of its instances."""

    hold: timedelta = ZERO  # `for: 5m`
    n_of_m: tuple[int, int] | None = None  # `for: 2 of 3`; ticks
    keep_firing: timedelta = ZERO
    no_data: NoData = NoData.KEEP
    repeat: timedelta | None = REPEAT  # None: never notified again
    close_after: timedelta | None = None  # `auto_close: 1h`, counted from the first time it was notified
    send_resolved: bool = True  # False: `send_resolved: false`
    climbs: bool = False  # severity by thresholds: notified again when it gets worse than ever notified

    def __post_init__(self) -> None:
        if self.n_of_m is not None and (self.hold or not 1 <= self.n_of_m[0] <= self.n_of_m[1]):
            raise ValueError("`for` is a duration or N of M with 1 <= N <= M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation saw of one instance."""

    at: datetime  # T; UTC
    kind: EvaluationKind = EvaluationKind.TICK
    holds: bool
    clear: bool = True  # of one that does not hold: whether it may end (the rule's `resolve.when`, True without one)
    data: bool = True  # whether there was data about it
    severity: Severity = Severity.WARNING  # while it holds
    value: float | None = None
    why: Why = Why.THRESHOLD  # of its firing, e.g. DEADLINE of an absence rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """What is to be notified of an instance. With the instance and its occurrence, ``ordinal`` names it for ever."""

    kind: IntentKind  # FIRED, REPEATED or RESOLVED
    ordinal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an evaluation came to. ``state`` None: there is nothing (more) to remember."""

    state: ConditionState | None
    before: Phase
    after: Phase
    why: Why  # of the change, or of there being none
    occurrence: str  # one firing: from when on, ISO; '' before it fires
    severity: Severity  # of the instance
    notify: Notify | None = None
    wake: datetime | None = None  # evaluated again then at the latest: the end of its `for`, a repeat, an end by time

    @property
    def changed(self) -> bool:
        """Whether there is a transition to record: of phase, or a firing that got worse."""
        return self.before is not self.after or self.why is Why.WORSE

    def change(self, seen: Evaluation, instance: Mapping[str, object], commit_seq: int) -> Change:
        """What it changes of the alert of ``instance``, as it was ``seen`` as of commit ``commit_seq``."""
        return Change(
            instance=instance,
            occurrence=self.occurrence,
            before=self.before,
            after=self.after,
            why=self.why,
            kind=None if self.notify is None else self.notify.kind,
            ordinal=0 if self.notify is None else self.notify.ordinal,
            severity=self.severity,
            value=seen.value,
            at=seen.at,
            commit_seq=commit_seq,
        )


@dataclass(slots=True)
class _Life:
    """A state being changed."""

    phase: Phase
    since: datetime
    severity: Severity
    value: float | None
    data: Remembered = NOTHING

    @property
    def kept(self) -> Life:
        return self.data.life

    def keep(self, **changes: Any) -> None:
        self.data = replace(self.data, life=replace(self.data.life, **changes))


def evaluate(
    state: ConditionState | None, seen: Evaluation, terms: Terms, *, rule: str, instance: Mapping[str, object]
) -> Step:
    """What ``seen`` changes in ``state`` (None: nothing is remembered of the instance)."""
    life = _Life(phase=Phase.NONE, since=seen.at, severity=seen.severity, value=None) if state is None else _life(state)
    before, fired = Phase.NONE if life.phase is Phase.RESOLVED else life.phase, life.kept.fired
    why, notify = _decide(life, seen, terms)
    after = Phase.NONE if life.phase is Phase.RESOLVED and before is Phase.NONE else life.phase
    if life.phase is Phase.RESOLVED and life.kept.closed is None:
        life.phase = Phase.NONE
    if life.phase is Phase.NONE and seen.data and terms.no_data is NoData.ALERT:
        life.keep(known=True)  # the day it falls silent is what the rule waits for
    keeps = life.phase in LIVE or life.kept != Life()
    made = ConditionState(
        rule=rule,
        instance=dict(instance),
        phase=life.phase,
        since=life.since,
        severity=life.severity,
        value=life.value,
        data=life.data,
    )
    return Step(
        state=made if keeps else None,
        before=before,
        after=after,
        why=why,
        occurrence=_occurrence(life.kept.fired or fired),
        severity=life.severity,
        notify=notify,
        wake=_wake(life, terms) if keeps else None,
    )


def _decide(life: _Life, seen: Evaluation, terms: Terms) -> tuple[Why, Notify | None]:
    holds = seen.holds if seen.data else terms.no_data is NoData.ALERT and seen.kind is not EvaluationKind.EARLY
    if seen.kind is EvaluationKind.EARLY and (terms.n_of_m or not holds):
        return Why.NOTHING_NEW, None
    if seen.data:
        life.keep(silent=None)
        life.value = seen.value
    if life.kept.closed is not None:  # it was closed by time while it held: silent until it holds no longer
        if seen.kind is EvaluationKind.TICK and not holds:
            life.data = NOTHING
            life.phase = Phase.NONE
        return Why.NOTHING_NEW, None
    enough = _count(life, seen, terms, holds)
    if life.phase in (Phase.NONE, Phase.PENDING, Phase.RESOLVED):
        return _rising(life, seen, terms, holds, enough)
    return _standing(life, seen, terms, holds)


def _count(life: _Life, seen: Evaluation, terms: Terms, holds: bool) -> bool:
    """Whether it held on enough ticks, this one included. The ticks are remembered as a text of 0 and 1."""
    if terms.n_of_m is None:
        return True
    n, m = terms.n_of_m
    ticks = life.kept.ticks
    if seen.kind is EvaluationKind.TICK:
        ticks = (ticks + ("1" if holds else "0"))[-m:]
        life.keep(ticks=ticks if "1" in ticks else "")
    return ticks.count("1") >= n


def _rising(life: _Life, seen: Evaluation, terms: Terms, holds: bool, enough: bool) -> tuple[Why, Notify | None]:
    waits = terms.n_of_m is not None and life.kept.ticks != ""
    if not holds and not waits:
        fell = life.phase is Phase.PENDING
        life.phase = Phase.NONE
        return (Why.HELD_TOO_SHORT if fell else Why.NOTHING_NEW), None
    if life.phase is not Phase.PENDING:
        life.phase, life.since = Phase.PENDING, seen.at
        began = True
    else:
        began = False
    life.severity = seen.severity if holds else life.severity
    if holds and enough and seen.at - life.since >= terms.hold:
        return _fire(life, seen)
    return (Why.MUST_HOLD_LONGER if began else Why.NOTHING_NEW), None


def _fire(life: _Life, seen: Evaluation) -> tuple[Why, Notify | None]:
    life.phase, life.since = Phase.FIRING, seen.at
    life.keep(changed=None, fired=seen.at, last_notified_at=seen.at, notified=0, repeats=0, worst=int(seen.severity))
    why = seen.why if seen.data else Why.NO_DATA
    return why, Notify(kind=IntentKind.FIRED)


def _standing(life: _Life, seen: Evaluation, terms: Terms, holds: bool) -> tuple[Why, Notify | None]:
    """A firing or recovering instance."""
    whole = seen.kind is EvaluationKind.TICK
    closes = terms.close_after if whole and life.phase is Phase.FIRING else None
    if closes is not None and seen.at - (life.kept.fired or life.since) >= closes:
        return _end(life, seen, terms, Why.AUTO_CLOSED, holds)
    if holds:
        return _goes_on(life, seen, terms)
    if not whole:
        return Why.NOTHING_NEW, None
    if (changed := life.kept.changed) is not None:
        return _end(life, seen, terms, changed, False)
    if life.phase is Phase.RECOVERING:
        if seen.at - life.since >= terms.keep_firing:
            return _end(life, seen, terms, Why.RECOVERED, False)
        return Why.NOTHING_NEW, None
    if not seen.data:
        return _without_data(life, seen, terms)
    if not seen.clear:
        return _repeat(life, seen, terms, Why.NOT_RESOLVED_YET)
    if terms.keep_firing:
        life.phase, life.since = Phase.RECOVERING, seen.at
        return Why.HOLDS_NO_LONGER, None
    return _end(life, seen, terms, Why.RECOVERED, False)


def _without_data(life: _Life, seen: Evaluation, terms: Terms) -> tuple[Why, Notify | None]:
    silent = life.kept.silent or seen.at
    if terms.no_data is NoData.KEEP and seen.at - silent < NO_DATA_CLOSES:
        life.keep(silent=silent)
        return Why.NOTHING_NEW, None
    return _end(life, seen, terms, Why.NO_DATA, False)


def _goes_on(life: _Life, seen: Evaluation, terms: Terms) -> tuple[Why, Notify | None]:
    again = life.phase is Phase.RECOVERING
    if again:
        life.phase, life.since = Phase.FIRING, seen.at
    life.keep(changed=None)
    if seen.data:
        life.severity = seen.severity
    if terms.climbs and seen.data and int(seen.severity) < (life.kept.worst or 0):
        life.keep(worst=int(seen.severity), notified=life.kept.notified + 1, last_notified_at=seen.at)
        return Why.WORSE, Notify(kind=IntentKind.FIRED, ordinal=life.kept.notified)
    if again:
        return Why.HOLDS_AGAIN, None
    return _repeat(life, seen, terms, Why.NOTHING_NEW)


def _repeat(life: _Life, seen: Evaluation, terms: Terms, otherwise: Why) -> tuple[Why, Notify | None]:
    notified = life.kept.last_notified_at or life.since
    if seen.kind is EvaluationKind.EARLY or terms.repeat is None or seen.at - notified < terms.repeat:
        return otherwise, None
    life.keep(last_notified_at=seen.at, repeats=life.kept.repeats + 1)
    return Why.STILL_FIRING, Notify(kind=IntentKind.REPEATED, ordinal=life.kept.repeats)


def _end(life: _Life, seen: Evaluation, terms: Terms, why: Why, holds: bool) -> tuple[Why, Notify | None]:
    notify = Notify(kind=IntentKind.RESOLVED) if terms.send_resolved and why not in _QUIET else None
    life.phase, life.since = Phase.RESOLVED, seen.at
    life.data = NOTHING
    if holds:
        life.keep(closed=seen.at)
    return why, notify


def _occurrence(fired: datetime | None) -> str:
    return "" if fired is None else fired.isoformat().replace("+00:00", "Z")


def is_silent(state: ConditionState) -> bool:
    """Whether it fires on, while there is no data: any that comes is news."""
    return state.data.life.silent is not None


def wakes(state: ConditionState, terms: Terms, at: datetime) -> datetime | None:
    """When an evaluation may change ``state`` that sees what the one at ``at`` saw, which changed nothing; None for
    never.
    """
    return min((end for end in _ends(_life(state), terms) if end > at), default=None)


def _life(state: ConditionState) -> _Life:
    return _Life(phase=state.phase, since=state.since, severity=state.severity, value=state.value, data=state.data)


def _wake(life: _Life, terms: Terms) -> datetime | None:
    return min(_ends(life, terms), default=None)


def _ends(life: _Life, terms: Terms) -> list[datetime]:
    """When time alone changes something."""
    if life.phase is Phase.PENDING:
        return [life.since + terms.hold] if terms.n_of_m is None else []
    ends: list[datetime] = []
    if life.phase is Phase.RECOVERING:
        ends.append(life.since + terms.keep_firing)
    if life.phase is Phase.FIRING and terms.repeat is not None and (notified := life.kept.last_notified_at) is not None:
        ends.append(notified + terms.repeat)
    if life.phase is Phase.FIRING and (silent := life.kept.silent) is not None:
        ends.append(silent + NO_DATA_CLOSES)
    if life.phase is Phase.FIRING and terms.close_after is not None:
        ends.append((life.kept.fired or life.since) + terms.close_after)
    return ends


def matters(before: ConditionState | None, after: ConditionState | None) -> bool:
    """Whether the change must be remembered: of anything but the value, which the next evaluation sees again anyway."""
    if before is None or after is None:
        return before is not after
    return (before.phase, before.since, before.severity, before.data) != (
        after.phase,
        after.since,
        after.severity,
        after.data,
    )


def changed(state: ConditionState) -> ConditionState | None:
    """What a rule whose meaning changed remembers of an instance: None of a pending one; a firing one is closed without
    a notification by its next tick unless it still holds; what an event rule counts or has notified stays.
    """
    if state.phase in EVENTS and active_alert_of(state) is None:
        return state
    if state.phase not in (Phase.FIRING, Phase.RECOVERING, Phase.FIRED):
        return None
    return ended_by(state, Why.RULE_CHANGED)


def ended_by(state: ConditionState, why: Why | None) -> ConditionState:
    """``state``, which ends without a notification for ``why`` unless it still holds; None: it goes on."""
    return replace(state, data=replace(state.data, life=replace(state.data.life, changed=why)))


def gone(state: ConditionState, why: Why, *, at: datetime, commit_seq: int) -> Change | None:
    """The quiet end of an instance whose rule is no more, or means something else; None where nobody saw it begin."""
    active = active_alert_of(state)  # of an event rule: it has an occurrence and a run of its own
    if state.phase not in LIVE and active is None:
        return None
    return Change(
        instance=state.instance if active is None else active.instance,
        occurrence=_occurrence(state.data.life.fired) if active is None else active.occurrence,
        run_id="" if active is None else active.run_id,
        before=state.phase,
        after=_ENDS[state.phase],
        why=why,
        severity=state.severity,
        value=state.value,
        commit_seq=commit_seq,
        at=at,
    )

"""Escalations: who is notified next while nobody has acknowledged. A state machine without a clock, a store or a
channel.

                 due                  due                 acknowledge
    started ──► step 1 ──► waits ──► step 2 ──► waits ──────► acknowledged ──► (ack_timeout, severity rises) ──►
started again
                  │ reaches nobody,                  │ resolved, silenced, superseded, closed
                  └► or all deliveries failed:       └► ended ──► (fires again within `resume`) ──► goes on where it was
                     step 2 at once

Each function takes the state and the instant, and returns the next state, why, and at most one message to send. A
caller writes state and message in one transaction: a kill -9 before it runs the same transition again, one after it
finds it done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import zip_longest

Reach = Callable[[str, datetime], Sequence[str]]
"""(a receiver, an instant) → who is reached by it then; empty for nobody. A schedule is looked up here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: who, and how long after the start."""

    notify: tuple[str, ...]  # receivers, people, addresses
    after: timedelta = timedelta(0)  # from the escalation's start
    repeat: int = 0  # how often it is sent again after the first time
    every: timedelta = timedelta(0)  # between two of these

    def __post_init__(self) -> None:
        if not self.notify:
            raise ValueError("a step needs somebody to notify")
        if self.repeat and self.every <= timedelta(0):
            raise ValueError("a step that repeats needs the time between")


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Steps in the order of their ``after``."""

    name: str
    steps: tuple[Step, ...]
    ack_timeout: timedelta | None = timedelta(hours=4)  # of conditions; None: an acknowledgement holds
    resume: timedelta = timedelta(0)


class Phase(StrEnum):
    """Where an escalation is."""

    RUNNING = "running"
    EXHAUSTED = "all steps are done"  # stands on the console's first page, and in the daily list to admin_email
    ACKNOWLEDGED = "acknowledged"
    ENDED = "ended"


class Why(StrEnum):
    """Why a transition was made, or why not; messages, history and logs show the text."""

    STARTED = "started"
    RESUMED = "fires again, goes on where it was"
    ACK_TIMEOUT = "acknowledged, not resolved"
    SEVERITY_ROSE = "acknowledged, but it got worse"
    STEP_DUE = "nobody has acknowledged"
    REPEAT_DUE = "nobody has acknowledged, notified again"
    OVERDUE = "several steps were overdue, sent as one"
    REACHED_NOBODY = "a step reached nobody, the next follows at once"
    DELIVERIES_FAILED = "no message of a step arrived, the next follows at once"
    NOBODY_LEFT = "no step reached anybody"
    NOT_DUE = "the next step is not due"
    ALL_DONE = "all steps are done"
    ACKNOWLEDGED = "acknowledged"
    ALREADY_ACKNOWLEDGED = "already acknowledged"
    RESOLVED = "resolved"
    SILENCED = "silenced"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    ALREADY_ENDED = "already ended"
    NOT_ACKNOWLEDGED = "not acknowledged"
    NOT_SEVERER = "not severer than when it was acknowledged"


ENDS = (Why.RESOLVED, Why.SILENCED, Why.SUPERSEDED, Why.CLOSED)
"""What ends an escalation besides an acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """How far one step is."""

    due: datetime  # when it was, or is, first sent; UTC
    sent: int = 0  # how often it ran, repeats that were skipped included


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Who took it."""

    by: str
    at: datetime  # UTC
    severity: int  # of the alert then; 0 is the worst
    until: datetime | None  # when the escalation starts again; UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An escalation of one alert. All that a restart needs to know."""

    phase: Phase
    started_at: datetime  # from which `after` counts; UTC
    condition: bool  # of a condition an acknowledgement runs out, of an event alert it does not
    steps: tuple[StepState, ...]
    ordinal: int = 0  # of the last message
    reached: tuple[str, ...] = ()  # whom a step reached since it was last ended
    acknowledged: Acknowledgement | None = None
    ended_at: datetime | None = None  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to each of ``to``. ``steps`` are the numbers (from 0) of the steps that it is for; none of an end."""

    ordinal: int
    to: tuple[str, ...]
    why: Why
    steps: tuple[int, ...] = ()
    note: str = ""  # e.g. "acknowledged by anna 02:10, not resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What became of it."""

    state: State
    why: Why
    message: Message | None = None


def start(escalation: Escalation, at: datetime, *, condition: bool, before: State | None = None) -> Transition:
    """An alert fires at ``at``. ``before`` is how its last escalation ended, None for none: within `resume` it goes on.

    Who was reached before is notified that it fires again: a message that said "resolved" may not be the last word.
    """
    if before is not None and before.ended_at is not None and at - before.ended_at <= escalation.resume:
        away = at - before.ended_at
        before = fitted(escalation, before)
        steps = tuple(replace(step, due=step.due + away) for step in before.steps)
        phase = Phase.EXHAUSTED if _over(escalation, steps) else Phase.RUNNING
        began = before.started_at + away
        state = replace(before, phase=phase, started_at=began, steps=steps, ended_at=None, acknowledged=None)
        return _send(state, before.reached, Why.RESUMED)
    fresh = State(phase=Phase.RUNNING, started_at=at, condition=condition, steps=_fresh(escalation, at))
    return Transition(state=fresh, why=Why.STARTED)


def _fresh(escalation: Escalation, at: datetime) -> tuple[StepState, ...]:
    return tuple(StepState(due=at + step.after) for step in escalation.steps)


def _again(escalation: Escalation, state: State, at: datetime) -> State:
    """The escalation started again, at ``at``, after an acknowledgement that holds no longer."""
    return replace(state, phase=Phase.RUNNING, acknowledged=None, started_at=at, steps=_fresh(escalation, at))


def fitted(escalation: Escalation, state: State) -> State:
    """``state`` under an escalation whose steps were edited: a step that ran stays done, another has its new time."""
    fresh = _fresh(escalation, state.started_at)
    kept = zip_longest(fresh, state.steps[: len(fresh)])
    steps = tuple(old if old is not None and old.sent else new for new, old in kept)
    phase = state.phase
    if phase in (Phase.RUNNING, Phase.EXHAUSTED):
        phase = Phase.EXHAUSTED if _over(escalation, steps) else Phase.RUNNING
    return replace(state, steps=steps, phase=phase)


def _over(escalation: Escalation, steps: Sequence[StepState]) -> bool:
    return all(known.sent > step.repeat for known, step in zip(steps, escalation.steps, strict=True))


def next_due(escalation: Escalation, state: State) -> datetime | None:
    """When ``advance`` has something to do; None for never."""
    if state.phase is Phase.ACKNOWLEDGED:
        return state.acknowledged.until if state.acknowledged else None
    if state.phase is not Phase.RUNNING:
        return None
    return min((due for due in _next_times(escalation, state) if due is not None), default=None)


def _next_times(escalation: Escalation, state: State) -> list[datetime | None]:
    """When each step is sent next; None for one that is done."""
    return [
        known.due + known.sent * step.every if known.sent <= step.repeat else None
        for step, known in zip(escalation.steps, state.steps, strict=True)
    ]


def advance(escalation: Escalation, state: State, at: datetime, reach: Reach) -> Transition:
    """Run what is due at ``at``: who is on call is asked now; steps that are overdue are one message to their union."""
    if state.phase is Phase.ENDED:
        return Transition(state=state, why=Why.ALREADY_ENDED)
    if state.phase is Phase.EXHAUSTED:
        return Transition(state=state, why=Why.ALL_DONE)
    again, note, why_again = state, "", Why.NOT_DUE
    if state.phase is Phase.ACKNOWLEDGED:
        taken = state.acknowledged
        if taken is None or taken.until is None or at < taken.until:
            return Transition(state=state, why=Why.ACKNOWLEDGED)
        why_again, note = Why.ACK_TIMEOUT, f"acknowledged by {taken.by} {taken.at:%H:%M} UTC, not resolved"
        again = _again(escalation, state, taken.until)
    return _run(escalation, again, at, reach, why_again, note)


def _run(escalation: Escalation, state: State, at: datetime, reach: Reach, because: Why, note: str) -> Transition:
    """Send every step that is due, and the one after each that reaches nobody."""
    steps = list(state.steps)
    ran: list[int] = []
    first_time = False
    to: dict[str, None] = {}
    nobody = False
    for n, step in enumerate(escalation.steps):
        due = _next_times(escalation, replace(state, steps=tuple(steps)))[n]
        if due is None or due > at:
            continue
        found = [who for name in step.notify for who in reach(name, at)]
        to.update(dict.fromkeys(found))
        first_time = first_time or steps[n].sent == 0
        steps[n] = replace(steps[n], sent=_sent(step, steps[n], at))
        ran.append(n)
        if not found:
            nobody = True
            _at_once(steps, n + 1, at)
    over = _over(escalation, steps)
    after = replace(state, steps=tuple(steps), phase=Phase.EXHAUSTED if over else Phase.RUNNING)
    if not ran:
        return Transition(state=after, why=because)
    if not to:
        return Transition(state=after, why=Why.NOBODY_LEFT if over else Why.REACHED_NOBODY)
    why = because
    if because is Why.NOT_DUE:
        why = Why.STARTED if ran == [0] and first_time else Why.STEP_DUE if first_time else Why.REPEAT_DUE
        if nobody:
            why = Why.REACHED_NOBODY
        elif len(ran) > 1:
            why = Why.OVERDUE
    reached = tuple(dict.fromkeys([*after.reached, *to]))
    return _send(replace(after, reached=reached), tuple(to), why, tuple(ran), note)


def _sent(step: Step, known: StepState, at: datetime) -> int:
    """How often the step ran once all that is due at ``at`` is sent, as one."""
    if not step.repeat:
        return 1
    return min((at - known.due) // step.every, step.repeat) + 1


def _at_once(steps: list[StepState], n: int, at: datetime) -> None:
    if n < len(steps) and steps[n].sent == 0:
        steps[n] = replace(steps[n], due=min(steps[n].due, at))


def _send(state: State, to: Sequence[str], why: Why, steps: tuple[int, ...] = (), note: str = "") -> Transition:
    """The transition with its message; without one where there is nobody."""
    if not to:
        return Transition(state=state, why=why)
    state = replace(state, ordinal=state.ordinal + 1)
    message = Message(ordinal=state.ordinal, to=tuple(to), why=why, steps=steps, note=note)
    return Transition(state=state, why=why, message=message)


def deliveries_failed(
    escalation: Escalation, state: State, steps: Sequence[int], at: datetime, reach: Reach
) -> Transition:
    """Every delivery of the message for ``steps`` failed for good: the step after the last of them follows at once."""
    if state.phase is Phase.ACKNOWLEDGED:
        return Transition(state=state, why=Why.ACKNOWLEDGED)
    if state.phase is Phase.ENDED:
        return Transition(state=state, why=Why.ALREADY_ENDED)
    following = max(steps, default=-1) + 1
    if following >= len(escalation.steps):
        return Transition(state=state, why=Why.ALL_DONE)
    if state.steps[following].sent:
        return Transition(state=state, why=Why.NOT_DUE)
    moved = list(state.steps)
    _at_once(moved, following, at)
    return _run(escalation, replace(state, steps=tuple(moved)), at, reach, Why.DELIVERIES_FAILED, "")


def acknowledge(
    escalation: Escalation, state: State, by: str, at: datetime, severity: int, *, until: datetime | None = None
) -> Transition:
    """``by`` takes the alert. ``until`` is a snooze. The second gets ALREADY_ACKNOWLEDGED, and the state says who
    was first.
    """
    if state.phase is Phase.ACKNOWLEDGED:
        return Transition(state=state, why=Why.ALREADY_ACKNOWLEDGED)
    if state.phase is Phase.ENDED:
        return Transition(state=state, why=Why.ALREADY_ENDED)
    if until is None and state.condition and escalation.ack_timeout is not None:
        until = at + escalation.ack_timeout
    taken = Acknowledgement(by=by, at=at, severity=severity, until=until)
    return _ended(replace(state, phase=Phase.ACKNOWLEDGED, acknowledged=taken), Why.ACKNOWLEDGED, by)


def severity_rose(escalation: Escalation, state: State, at: datetime, severity: int) -> Transition:
    """The alert's severity is now ``severity``: an acknowledgement of a less severe one ends, and the escalation
    starts again.
    """
    if state.phase is not Phase.ACKNOWLEDGED or state.acknowledged is None:
        return Transition(state=state, why=Why.NOT_ACKNOWLEDGED)
    if severity >= state.acknowledged.severity:
        return Transition(state=state, why=Why.NOT_SEVERER)
    return Transition(state=_again(escalation, state, at), why=Why.SEVERITY_ROSE)


def end(state: State, why: Why, at: datetime) -> Transition:
    """The alert ended, by one of ``ENDS``: whom a step reached is notified once, unless an acknowledgement said so
    already.
    """
    if why not in ENDS:
        raise ValueError(f"'{why}' does not end an escalation")
    if state.phase is Phase.ENDED:
        return Transition(state=state, why=Why.ALREADY_ENDED)
    over = replace(state, phase=Phase.ENDED, ended_at=at)
    if state.phase is Phase.ACKNOWLEDGED:
        return Transition(state=over, why=why)
    return _ended(over, why, "")


def _ended(state: State, why: Why, by: str) -> Transition:
    note = f"{why} by {by}" if by else ""
    return _send(state, state.reached, why, note=note)

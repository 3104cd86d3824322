"""Groups: when a message about several alerts goes out, and why. Timers without a clock.

    fires ──group_wait──► flush ──group_interval──► flush ──group_interval──► …
                            │                         │ sends if an alert is newly firing, else if one newly resolved,
                            │                         │ else if `repeat_interval` has passed (conditions only)
                            └ a severer alert than any that the group was notified of: flush at once

A flush that would find nothing to send is not timed: ``next_flush`` names the first one of this grid that may.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tocsin.model.alert import fingerprint

ALL_FIELDS = "..."
"""`group_by: ['...']` is every field: each alert is its own group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTiming:
    """When a group is flushed."""

    wait: timedelta = timedelta(0)  # before the first message
    interval: timedelta = timedelta(minutes=5)  # between two flushes
    repeat: timedelta | None = timedelta(hours=4)  # of conditions that still fire; None: never
    backoff: float = 1.0  # each repeat waits so many times longer than the one before
    repeat_max: timedelta | None = None  # but no longer than this

    def repeat_after(self, repeats: int) -> timedelta | None:
        """How long after the last message the next repeat is due, ``repeats`` having been sent already; None for
        never.
        """
        if self.repeat is None:
            return None
        most = max(self.repeat_max, self.repeat) if self.repeat_max is not None else None
        longer = self.repeat
        for _ in range(repeats if self.backoff > 1 else 0):
            longer = min(longer * self.backoff, most or timedelta(days=365))
        return min(longer, most) if most is not None else longer


class Why(StrEnum):
    """Why a group was flushed with a message, or without; messages, history and logs show the text."""

    FIRST = "first alert of its group"
    NEW_ALERTS = "new alerts in its group"
    SEVERER = "severer than what its group was notified of"
    SUPPRESSION_ENDED = "still firing after it was suppressed"
    RESOLVED = "resolved"
    REPEAT = "still firing"
    NOT_DUE = "its group waits"
    NOTHING_NEW = "nothing new in its group"
    NOTHING_FIRES = "nothing of its group fires"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An alert of a group as it stands at a flush."""

    id: str  # of the alert's episode
    severity: int  # 0 is the worst
    ready_at: datetime  # when its first message may go: fired, or later where an inhibition holds it; UTC
    condition: bool  # an event alert is never repeated
    resolved: bool = False
    acknowledged: bool = False  # not repeated
    suppressed: bool = False  # by what decide.py says

    @property
    def held(self) -> bool:
        """Whether it is kept from being notified of, or of repeats."""
        return self.suppressed or self.acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """What a group remembers. All that a restart needs to know."""

    first_flush: datetime  # the origin of the grid; UTC
    flushed_at: datetime | None = None  # UTC
    last_notified_at: datetime | None = None  # UTC
    notified: Mapping[str, int] = field(default_factory=dict)  # firing alerts that it was notified of → severity then
    held: frozenset[str] = frozenset()  # firing alerts that were suppressed or acknowledged since they were notified of
    repeats: int = 0  # since something was new


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """What became of a flush. Nothing is sent where ``firing`` and ``resolved`` are empty."""

    state: GroupState
    why: Why
    firing: tuple[str, ...] = ()  # all that fire, the new ones first
    new: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()


def group_key(receiver: str, values: Mapping[str, str], alone: str = "") -> str:
    """The identity of a group: its receiver and what it is grouped by, never the route's place in the tree. ``alone``
    is an alert's id where alerts are not grouped.
    """
    return fingerprint("group", receiver, *(f"{len(name)}:{name}={values[name]}" for name in sorted(values)), alone)


def opened(timing: GroupTiming, at: datetime) -> GroupState:
    """A group whose first alert comes at ``at``."""
    return GroupState(first_flush=at + timing.wait)


def hold(state: GroupState, members: Iterable[Member]) -> GroupState:
    """Remember who is suppressed or acknowledged, and forget who has ended: to be called when one of these changes.
    When it is over and the alert still fires, its group is notified of it once more.
    """
    members = list(members)
    firing = {m.id for m in members if not m.resolved}
    kept = {m.id for m in members}
    again = {m.id for m in members if m.condition or m.id not in state.notified}  # of an event nobody is notified twice
    held = (state.held & firing) | {m.id for m in members if m.held and not m.resolved and m.id in again}
    notified = {id_: severity for id_, severity in state.notified.items() if id_ in kept}
    return replace(state, held=frozenset(held), notified=notified)


def next_flush(state: GroupState, timing: GroupTiming, members: Iterable[Member]) -> datetime | None:
    """When a flush may send something; None while nothing changes. A time that has passed means at once.

    Of a large group, with which nothing else happened, it is enough to ask for the new members, and take the earlier of
    this and what was known.
    """
    severest, next_ = _severest(state), _grid(state, timing, None)
    times = [due for each in members if (due := _due(state, timing, each, (severest, next_))) is not None]
    return min(times, default=None)


def _severest(state: GroupState) -> int:
    """The severity above which an alert does not wait: that of the severest alert that the group was notified of;
    before its first message none.
    """
    return min(state.notified.values(), default=-1)


def _due(state: GroupState, timing: GroupTiming, member: Member, common: tuple[int, datetime]) -> datetime | None:
    """``common`` is what all members have in common: the severest severity, and the next flush of the grid."""
    severest, next_ = common
    known = member.id in state.notified
    if member.suppressed:
        return None
    if member.resolved:
        return next_ if known else None
    if member.id in state.held and not member.held:
        return max(state.first_flush, member.ready_at)
    if member.severity < severest:
        return member.ready_at
    if not known:
        return next_ if member.ready_at <= next_ else _grid(state, timing, member.ready_at)
    if not member.condition or member.acknowledged or state.last_notified_at is None:
        return None
    wait = timing.repeat_after(state.repeats)
    return None if wait is None else _grid(state, timing, state.last_notified_at + wait)


def _grid(state: GroupState, timing: GroupTiming, at: datetime | None) -> datetime:
    """The first flush of the grid that is not done, and not before ``at``."""
    if state.flushed_at is None:
        # The first message of one that an inhibition held back does not wait for a grid besides.
        return max(state.first_flush, at) if at is not None else state.first_flush
    if not timing.interval:
        return max(state.flushed_at, at) if at is not None else state.flushed_at
    done = (state.flushed_at - state.first_flush) // timing.interval
    wanted = -((state.first_flush - at) // timing.interval) if at is not None else 0
    return state.first_flush + max(done + 1, wanted) * timing.interval


def flush(state: GroupState, timing: GroupTiming, members: Iterable[Member], at: datetime) -> Flush:
    """What a group sends at ``at``. Suppressed alerts are left out: their messages, resolved ones too, are not sent
    to people.
    """
    members = list(members)
    due = next_flush(state, timing, members)
    after = hold(state, members)
    if due is None or due > at:
        idle = Why.NOTHING_NEW if any(not m.resolved for m in members) else Why.NOTHING_FIRES
        return Flush(state=after, why=Why.NOT_DUE if due is not None else idle)
    severest = _severest(state)
    open_ = [m for m in members if not m.suppressed and not m.resolved and m.ready_at <= at]
    new = [m for m in open_ if m.id not in state.notified or _released(state, m) or m.severity < severest]
    gone = [m for m in members if m.resolved and m.id in state.notified and not m.suppressed]
    why = _why(state, new, gone)
    ended = {m.id for m in members if m.resolved}
    known = {id_: severity for id_, severity in after.notified.items() if id_ not in ended}
    names = dict.fromkeys(m.id for m in new)
    return Flush(
        state=replace(
            after,
            flushed_at=at,
            last_notified_at=at,
            notified=known | {m.id: m.severity for m in open_},
            held=after.held - {m.id for m in new if not m.held},
            repeats=state.repeats + 1 if why is Why.REPEAT else 0,
        ),
        why=why,
        firing=(*names, *(m.id for m in open_ if m.id not in names)),
        new=tuple(names),
        resolved=tuple(m.id for m in gone),
    )


def _released(state: GroupState, member: Member) -> bool:
    return member.id in state.held and not member.held


def _why(state: GroupState, new: list[Member], gone: list[Member]) -> Why:
    """Something is due: if it is neither a new alert nor one that resolved, it is the repeat."""
    if new and all(_released(state, m) for m in new):
        return Why.SUPPRESSION_ENDED
    if new and state.last_notified_at is None:
        return Why.FIRST
    if new:
        severest = _severest(state)
        return Why.SEVERER if any(m.severity < severest for m in new) else Why.NEW_ALERTS
    return Why.RESOLVED if gone else Why.REPEAT

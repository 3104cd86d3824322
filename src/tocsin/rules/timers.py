"""Timers that are due, in the order of their instants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.model.instants import Timer, TimerKind
from tocsin.model.watermarks import SourceProgress

BACKFILL = timedelta(hours=1)
"""Ticks of the last hour are made up for one by one, older ones by one that stands for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """A timer whose time has come: ``at`` is T. ``commit_seq`` is the last commit that it sees."""

    timer: Timer
    at: datetime
    commit_seq: int
    skipped: int = 0  # ticks that it stands for besides itself


def live_t(timer: Timer, now: datetime) -> datetime:
    """T of a timer that is released ``now``: its due time, or ``now`` for one that waits for watermarks, for a run's
    deadline and for a repeat or an end by time. After an outage what is due several times is notified once.
    """
    return now if _waits(timer) else min(now, timer.due)


def due_timers(
    timers: Iterable[Timer],
    now: datetime,
    source_progress: SourceProgress,
    commit_seq: int,
    t_of: Callable[[Timer, datetime], datetime] = live_t,
) -> list[Released]:
    """Timers to evaluate at ``now``, in the order of their instants: due, and reached up to it.

    ``t_of`` gives the T of each. The caller has fenced the log at ``now``, evaluates the commits up to ``commit_seq``
    before, and gives just that one.
    """
    released = [
        Released(timer=t, at=t_of(t, now), commit_seq=commit_seq, skipped=skipped)
        for t, skipped in (coalesced(t, now) for t in timers)
        if t.due <= now and source_progress.has_reached(t.due, t.consumers)
    ]
    return sorted(released, key=lambda r: (r.at, r.timer.due, r.timer.rule, r.timer.kind, r.timer.key))


def _waits(timer: Timer) -> bool:
    """Whether it sees all that is stored when it is released. What was stored by then may move a run's deadline."""
    return bool(timer.consumers) or timer.kind in (TimerKind.DEADLINE, TimerKind.CLOSE)


def every_of(timer: Timer) -> timedelta:
    """The ``every`` of a shared tick."""
    return timedelta(microseconds=int(timer.key))


def coalesced(timer: Timer, now: datetime) -> tuple[Timer, int]:
    """A shared tick that is long overdue, as the last one before the last hour, and how many that leaves out."""
    if timer.kind is not TimerKind.TICK or timer.rule or timer.due >= now - BACKFILL:
        return timer, 0
    every = every_of(timer)
    left_out = (now - BACKFILL - timer.due) // every
    return replace(timer, due=timer.due + left_out * every), left_out

"""When rules are evaluated: instants and timers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tocsin.model.remembered import About, Attempt, Parent, Retry, Scheduled


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Instant:
    """An evaluation instant. Order: by T; at equal T the commit first.

    ``timer`` False: the commit ``commit_seq`` at its IngestedAt. True: a timer at its due time or release, seeing
    commits up to ``commit_seq``.
    """

    at: datetime  # T; UTC, cut to µs
    timer: bool
    commit_seq: int


class TimerKind(StrEnum):
    """What a timer is for."""

    FINAL_AFTER = "final_after"  # no newer attempt came
    BACKFILL = "backfill"  # a backfill's summary
    TICK = "tick"  # a window's tick
    FOR = "for"  # the end of a `for`
    DEADLINE = "deadline"  # an absence rule's deadline
    CLOSE = "close"  # a quiet closing
    RETRY = "retry"  # of a rule whose evaluation failed


ABOUT: Mapping[TimerKind, type[About]] = {
    TimerKind.FINAL_AFTER: Attempt,
    TimerKind.DEADLINE: Scheduled,
    TimerKind.CLOSE: Parent,
    TimerKind.RETRY: Retry,
}
"""What timers of a kind may be about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """Something to evaluate later. (rule, kind, key) names it; setting it again replaces it.

    It is released when the clock has reached ``due`` and the watermark of each of ``consumers`` has. ``data`` is
    what it is about.
    """

    rule: str
    kind: TimerKind
    key: str
    due: datetime  # UTC
    consumers: frozenset[str] = frozenset()
    data: About | None = None

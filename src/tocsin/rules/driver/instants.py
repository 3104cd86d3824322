"""The order of instants, and which of them go in one step."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.logstore.interface import CommitInfo
from tocsin.model.instants import TimerKind
from tocsin.rules.timers import Released

Instants = Sequence[CommitInfo | Released]

SETS_MORE = frozenset({TimerKind.TICK, TimerKind.RETRY})
"""Timers that are evaluated as of their due time and set others, which may be due already."""


def until_tick(instants: Instants, shortest_for: timedelta | None) -> Instants:
    """Those of ``instants`` that go in one step, so that no later one overtakes a timer that they set.

    A tick sets the next one; a commit may begin what a ``for`` ends, ``shortest_for`` later at the soonest. A step
    after an outage or a slow query would else evaluate the ticks of an hour after all the commits of that hour.
    """
    last = None
    for n, instant in enumerate(instants):
        at = instant.at if isinstance(instant, Released) else instant.ingested_at
        if last is None and shortest_for is not None:
            last = at + shortest_for
        if last is not None and at > last:
            return instants[:n]
        if isinstance(instant, Released) and instant.timer.kind in SETS_MORE:
            last = at
    return instants


def in_order(commits: Sequence[CommitInfo], released: Sequence[Released], cursor: int, floor: datetime) -> Instants:
    """Merge commits and released timers by T, the commit first at equal T; each timer sees the commits before it.

    ``floor`` is the T of the last instant that was evaluated: a timer that comes late is evaluated at it.
    """
    out: list[CommitInfo | Released] = []
    seen, i = cursor, 0
    for timer in sorted(released, key=lambda r: max(r.at, floor)):
        at = max(timer.at, floor)
        while i < len(commits) and commits[i].ingested_at <= at:
            out.append(commits[i])
            seen, i = commits[i].seq, i + 1
        out.append(replace(timer, at=at, commit_seq=seen))
    out.extend(commits[i:])
    return out

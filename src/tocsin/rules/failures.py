"""Rules whose evaluation failed: each is noted, and one that must not miss what it could not evaluate lags."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.errors import QueryError
from tocsin.model.instants import Instant, Timer, TimerKind
from tocsin.model.remembered import Retry
from tocsin.rules.memory import Memory, RuleFailure
from tocsin.rules.queries import Failures
from tocsin.rules.timers import Released

FIRST_RETRY, LAST_RETRY = timedelta(seconds=30), timedelta(hours=1)
"""How long after a failure a rule is tried again: at first, doubled each time, at most."""


def note(failures: Failures, at: datetime, commit_seq: int, memory: Memory) -> None:
    """Note rules that failed, and events that rules went on without."""
    note_events(failures, at, commit_seq, memory)
    for name, error in failures.rules.items():
        memory.failures.append(RuleFailure(rule=name, error=str(error), at=at, commit_seq=commit_seq))


def note_events(failures: Failures, at: datetime, commit_seq: int, memory: Memory) -> None:
    """Note events that rules could not evaluate, and went on without."""
    for name, (error, events) in failures.events.items():
        memory.failures.append(
            RuleFailure(rule=name, error=str(error), at=at, commit_seq=commit_seq, events=tuple(events))
        )


def lag(
    rule: str, error: QueryError, cursor: Instant, at: datetime, commit_seq: int, memory: Memory, attempts: int = 0
) -> None:
    """A rule failed at ``at``: it keeps what it knows, stays at ``cursor`` and is tried again later."""
    memory.put_record(replace(memory.record(rule), cursor=cursor))
    memory.failures.append(RuleFailure(rule=rule, error=str(error), at=at, commit_seq=commit_seq))
    wait = min(FIRST_RETRY * 2 ** min(attempts, 16), LAST_RETRY)
    memory.put_timer(Timer(rule=rule, kind=TimerKind.RETRY, key="", due=at + wait, data=Retry(attempts=attempts + 1)))


def attempts_of(released: Released) -> int:
    """How often it has been tried."""
    about = released.timer.data
    return about.attempts if isinstance(about, Retry) else 0

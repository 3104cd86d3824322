"""What is too old to be notified one by one: counted by rule and consumer, and summed up when the backfill is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.alerts.changes import Change
from tocsin.model.alert import Phase, Why
from tocsin.model.details import Details, Expired
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.emit import emit
from tocsin.rules.history import plain
from tocsin.rules.memory import Memory
from tocsin.rules.spec.rule import Rule
from tocsin.rules.timers import Released
from tocsin.state.interface import Backfill

QUIET = timedelta(minutes=1)
"""A backfill of a consumer that has no end to reach is over after so long without an expired event."""


def count_expired(
    rule: Rule, consumer: str, time: datetime, at: datetime, memory: Memory, source_progress: SourceProgress
) -> None:
    """Something of ``time`` was expired: the backfill of its consumer goes on, or begins."""
    known = memory.backfill(rule.public_name, consumer)
    if known is None:
        backfill = Backfill(rule=rule.public_name, consumer=consumer, count=1, oldest=time, newest=time, began=at)
    else:
        backfill = replace(known, count=known.count + 1, oldest=min(known.oldest, time), newest=max(known.newest, time))
    memory.put_backfill(backfill)
    memory.put_timer(_end_of(backfill, at, source_progress))


def _end_of(backfill: Backfill, at: datetime, source_progress: SourceProgress) -> Timer:
    """When a backfill is over: its consumer has reached what was there at its first expired event, or is quiet."""
    reaches = source_progress.kinds.get(backfill.consumer) == "kafka"
    return Timer(
        rule=backfill.rule,
        kind=TimerKind.BACKFILL,
        key=backfill.consumer,
        due=backfill.began if reaches else at + QUIET,
        consumers=frozenset({backfill.consumer}) if reaches else frozenset(),
    )


def summary(rule: Rule, backfill: Backfill, at: datetime, commit_seq: int) -> Change:
    """The one notification about everything that was expired."""
    return Change(
        instance={"Consumer": backfill.consumer},
        occurrence=str(plain(backfill.began)),
        before=Phase.EXPIRED,
        after=Phase.EXPIRED,
        why=Why.BACKFILL_OVER,
        kind=IntentKind.SUMMARY,
        severity=rule.severity,
        details=Details(
            expired=Expired(
                count=backfill.count, oldest=backfill.oldest, newest=backfill.newest, consumer=backfill.consumer
            )
        ),
        commit_seq=commit_seq,
        at=at,
    )


def end_backfill(released: Released, rule: Rule | None, memory: Memory) -> None:
    """A backfill of ``rule``, where there still is one, is over: one summary."""
    timer = released.timer
    memory.drop_timer(timer.rule, timer.kind, timer.key)
    backfill = memory.backfill(timer.rule, timer.key)
    if backfill is None:
        return
    memory.drop_backfill(timer.rule, timer.key)
    if rule is not None and rule.enabled:
        emit(memory, rule, summary(rule, backfill, released.at, released.commit_seq))

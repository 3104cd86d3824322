"""When window rules are evaluated: at commits (early), at shared ticks, at ends of ``for``, and again after a failure.

A backtest gives a ``Frame``: its commits are those at which something may begin, and its next tick is the first that
may change something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.alerts.conditions import EvaluationKind
from tocsin.logstore.interface import CommitInfo
from tocsin.model import instants
from tocsin.model.alert import Phase
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.failures import lag
from tocsin.rules.kinds.base import Given
from tocsin.rules.kinds.window.evaluate import Instant, evaluate_windows, waiting_of
from tocsin.rules.kinds.window.replay import Frame
from tocsin.rules.kinds.window.rules import WindowRules
from tocsin.rules.kinds.window.spec import WindowRule
from tocsin.rules.kinds.window.ticks import after, tick
from tocsin.rules.memory import Memory
from tocsin.rules.queries import Failures
from tocsin.rules.timers import Released, every_of


def on_commits(rules: WindowRules, commits: Sequence[CommitInfo], since: int, given: Given) -> None:
    """Eager evaluations: each commit, at its T, by the rules that its rows can be about."""
    index, reader, frame = rules.early, given.reader, _frame(given)
    for commit in commits if index.rules else ():
        if commit.rows:
            names = frozenset(rules.by_name)
            if frame is None:
                rows_sql, params = reader.rows_of(since, commit.seq)
                touched = index.touched(reader.select(index.keys_sql(rows_sql), params))
                names = frozenset(index.rules[n].name for n in touched)
            when = Instant(at=commit.ingested_at, commit_seq=commit.seq, kind=EvaluationKind.EARLY)
            groups = list(dict.fromkeys(rules.group_of[name] for name in sorted(names)))
            _lag(evaluate_windows(groups, when, given, only=names), when, given.memory)
            _tick_after(rules, when, given)
        since = commit.seq


def on_timers(rules: WindowRules, released: Sequence[Released], given: Given) -> None:
    """Ticks, and the ends of ``for``, in their order; those of one instant at once."""
    memory, source_progress, frame = given.memory, given.source_progress, _frame(given)
    ends: dict[tuple[datetime, int], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in released:
        timer = each.timer
        seq = each.commit_seq if frame is None else frame.seq_at(each.at)
        if timer.kind is TimerKind.FOR:
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            rule = rules.by_name.get(timer.rule)
            if rule is not None and _scheduled_cases(rule, timer, memory):
                ends[(each.at, seq)][timer.rule].add(timer.key)
            continue
        when = Instant(
            at=each.at,
            commit_seq=seq,
            kind=EvaluationKind.TICK,
            waits_for=_behind(each.at, source_progress),
        )
        if timer.rule:  # a rule that waited for watermarks
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            if timer.rule in rules.group_of:
                _released(rules, replace(when, watermark=_reached_by(each, source_progress)), timer.rule, given)
            continue
        every = every_of(timer)
        groups = rules.groups.get(every)
        if groups is None:
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            continue
        _lag(evaluate_windows(groups, when, given), when, memory)
        memory.put_timer(tick(every, after(timer.due, every)))
        _tick_after(rules, when, given)
    for (at, seq), instances in ends.items():
        when = Instant(at=at, commit_seq=seq, kind=EvaluationKind.DEADLINE, waits_for=_behind(at, source_progress))
        wanted = {name: frozenset(keys) for name, keys in instances.items()}
        groups = list(dict.fromkeys(rules.group_of[name] for name in sorted(wanted)))
        _lag(evaluate_windows(groups, when, given, only=frozenset(wanted), instances=wanted), when, memory)
        _tick_after(rules, when, given)


def _frame(given: Given) -> Frame | None:
    frame: Frame | None = given.ahead
    return frame


def _tick_after(rules: WindowRules, when: Instant, given: Given) -> None:
    """In a backtest of a rule, the next tick that may change something."""
    frame, memory = _frame(given), given.memory
    if frame is None:
        return
    for rule in rules.rules:
        changed = when.kind is not EvaluationKind.TICK or any(memory.changed(rule.name).values())
        due = frame.next_tick(when.at, memory.conditions(rule.name).values(), changed)
        memory.put_timer(tick(rule.spec.every, due))


def _scheduled_cases(rule: WindowRule, timer: Timer, memory: Memory) -> bool:
    """Whether the end of a ``for`` is still one: an edit of meaning drops what is pending, and its end with it."""
    state = memory.condition(rule.name, timer.key)
    return state is not None and state.phase is Phase.PENDING and state.since + rule.spec.terms.hold == timer.due


def _released(rules: WindowRules, when: Instant, name: str, given: Given) -> None:
    """What waited is evaluated; the rule's other instances were, when its tick came."""
    held = {name: waiting_of(given.memory.conditions(name))}
    if held[name]:
        failures = evaluate_windows([rules.group_of[name]], when, given, only=frozenset({name}), instances=held)
        _lag(failures, when, given.memory)
        _tick_after(rules, when, given)


def again(rules: WindowRules, rule: WindowRule, each: Released, given: Given, attempts: int) -> None:
    """A rule that failed is evaluated again, as on a tick."""
    memory = given.memory
    memory.put_record(replace(memory.record(rule.name), cursor=None))
    waits_for = _behind(each.at, given.source_progress)
    when = Instant(at=each.at, commit_seq=each.commit_seq, kind=EvaluationKind.TICK, waits_for=waits_for)
    failures = evaluate_windows([rules.group_of[rule.name]], when, given, only=frozenset({rule.name}))
    _lag(failures, when, memory, attempts)


def _behind(at: datetime, source_progress: SourceProgress) -> frozenset[str]:
    return frozenset(name for name in source_progress.watermarks if not source_progress.has_reached(at, (name,)))


def _reached_by(released: Released, source_progress: SourceProgress) -> datetime | None:
    """Up to when all that a held timer waited for has reported; None where that is its release."""
    marks = (source_progress.watermarks.get(name) for name in released.timer.consumers)
    watermark = min((mark for mark in marks if mark is not None), default=released.at)
    return None if watermark >= released.at else max(watermark, released.timer.due)


def _lag(failures: Failures, when: Instant, memory: Memory, attempts: int = 0) -> None:
    """Rules that failed keep what they know, and are evaluated again later."""
    cursor = instants.Instant(at=when.at, timer=True, commit_seq=when.commit_seq)
    for name, error in failures.rules.items():
        lag(name, error, cursor, when.at, when.commit_seq, memory, attempts)

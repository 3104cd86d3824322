"""When window rules look: at commits (early), at shared ticks, at ends of ``for``, and again after a failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tocsin.alerts.conditions import EvaluationKind
from tocsin.errors import QueryError
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import Phase
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.history import commit_rows
from tocsin.rules.kinds.event.timers import Released
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.ahead import Foreseen
from tocsin.rules.kinds.window.evaluate import Instant, evaluate_windows, waiting_of
from tocsin.rules.kinds.window.seen import of
from tocsin.rules.kinds.window.ticks import after, every_of, tick
from tocsin.rules.memory import Memory
from tocsin.rules.queries import Failures
from tocsin.rules.spec.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A rule that could not look: nothing was decided of it."""

    rule: Rule
    error: QueryError
    at: datetime
    commit_seq: int


def on_commits(
    rules: RuleSet,
    commits: Sequence[CommitInfo],
    since: int,
    reader: LogReader,
    memory: Memory,
    ahead: Foreseen | None = None,
) -> list[Failed]:
    """Early looks: each commit, at its T, by the rules that its rows can be about."""
    failed: list[Failed] = []
    index = rules.early
    for commit in commits if index.rules else ():
        if commit.rows:
            rows_sql, params = commit_rows(since, commit.seq)
            touched = index.touched(reader.select(index.keys_sql(rows_sql), params))
            names = frozenset(index.rules[n].name for n in touched)
            when = Instant(at=commit.ingested_at, commit_seq=commit.seq, kind=EvaluationKind.EARLY)
            groups = list(dict.fromkeys(rules.group_of[name] for name in sorted(names)))
            failed += _failed(evaluate_windows(groups, when, reader, memory, only=names, ahead=ahead), rules, when)
        since = commit.seq
    return failed


def on_timers(
    rules: RuleSet,
    released: Sequence[Released],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    ahead: Foreseen | None = None,
) -> list[Failed]:
    """Ticks, and the ends of ``for``, in their order; those of one instant at once."""
    failed: list[Failed] = []
    ends: dict[tuple[datetime, int], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in released:
        timer = each.timer
        if timer.kind is TimerKind.FOR:
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            rule = rules.enabled.get(timer.rule)
            if rule is not None and rule.window is not None and _scheduled_cases(rule, timer, memory):
                ends[(each.at, each.commit_seq)][timer.rule].add(timer.key)
            continue
        when = Instant(
            at=each.at,
            commit_seq=each.commit_seq,
            kind=EvaluationKind.TICK,
            waits_for=_unheard(each.at, source_progress),
        )
        if timer.rule:  # a rule that waited for watermarks
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            if timer.rule in rules.group_of:
                failed += _released(
                    rules, replace(when, watermark=_heard_to(each, source_progress)), timer.rule, reader, memory
                )
            continue
        every = every_of(timer)
        groups = rules.window_groups.get(every)
        if groups is None:
            memory.drop_timer(timer.rule, timer.kind, timer.key)
            continue
        failed += _failed(evaluate_windows(groups, when, reader, memory, ahead=ahead), rules, when)
        memory.put_timer(tick(every, after(timer.due, every)))
    for (at, seq), instances in ends.items():
        when = Instant(at=at, commit_seq=seq, kind=EvaluationKind.DEADLINE, waits_for=_unheard(at, source_progress))
        wanted = {name: frozenset(keys) for name, keys in instances.items()}
        groups = list(dict.fromkeys(rules.group_of[name] for name in sorted(wanted)))
        failures = evaluate_windows(groups, when, reader, memory, only=frozenset(wanted), instances=wanted)
        failed += _failed(failures, rules, when)
    return failed


def _scheduled_cases(rule: Rule, timer: Timer, memory: Memory) -> bool:
    """Whether the end of a ``for`` is still one: an edit of meaning drops what is pending, and its end with it."""
    state = memory.condition(rule.name, timer.key)
    return state is not None and state.phase is Phase.PENDING and state.since + of(rule).terms.hold == timer.due


def _released(rules: RuleSet, when: Instant, name: str, reader: LogReader, memory: Memory) -> list[Failed]:
    """What waited is evaluated; the rule's other instances were, when its tick came."""
    held = {name: waiting_of(memory.conditions(name))}
    if not held[name]:
        return []
    group, only = rules.group_of[name], frozenset({name})
    return _failed(evaluate_windows([group], when, reader, memory, only=only, instances=held), rules, when)


def again(
    rules: RuleSet, rule: Rule, each: Released, reader: LogReader, memory: Memory, source_progress: SourceProgress
) -> list[Failed]:
    """A rule that failed looks again, as on a tick."""
    when = Instant(
        at=each.at, commit_seq=each.commit_seq, kind=EvaluationKind.TICK, waits_for=_unheard(each.at, source_progress)
    )
    only = frozenset({rule.name})
    return _failed(evaluate_windows([rules.group_of[rule.name]], when, reader, memory, only=only), rules, when)


def _unheard(at: datetime, source_progress: SourceProgress) -> frozenset[str]:
    return frozenset(name for name in source_progress.watermarks if not source_progress.has_reached(at, (name,)))


def _heard_to(released: Released, source_progress: SourceProgress) -> datetime | None:
    """Up to when all that a held timer waited for has reported; None where that is its release."""
    marks = (source_progress.watermarks.get(name) for name in released.timer.consumers)
    watermark = min((mark for mark in marks if mark is not None), default=released.at)
    return None if watermark >= released.at else max(watermark, released.timer.due)


def _failed(failures: Failures, rules: RuleSet, when: Instant) -> list[Failed]:
    return [
        Failed(rule=rules.rules[name], error=error, at=when.at, commit_seq=when.commit_seq)
        for name, error in failures.rules.items()
    ]

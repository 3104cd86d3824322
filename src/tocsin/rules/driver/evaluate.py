"""The one engine: rules over instants, for live operation, ``rules test`` and ``rules backtest``.

Pure: what it knows are its arguments; what it reads, it reads through the log's reader and the state's view; what it
decides is the Outcome that it returns, to be written in one transaction. An evaluation repeated after a crash decides
the same.

    commits:   c7   c8   c9         timers:   D (held until its watermark, sees c9)
    evaluate([c7, c8, c9, D])  ==  evaluate([c7]), evaluate([c8]), evaluate([c9]), evaluate([D])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import Phase, Why
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.backfills import end_backfill
from tocsin.rules.deadline_table import Deadline, Settled
from tocsin.rules.kinds.base import Given
from tocsin.rules.kinds.registry import kind_of, kinds
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.memory import Measured, Memory, RuleFailure, StateView
from tocsin.rules.timers import Released
from tocsin.state.interface import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation decided, and which rules failed in it."""

    outcome: Outcome
    failures: tuple[RuleFailure, ...] = ()
    measured: tuple[Measured, ...] = ()  # values of rules that export them, in order
    deadlines: tuple[Deadline, ...] = ()  # of runs, for a ``DeadlineTable``, once the outcome is written

    settles: tuple[Settled, ...] = ()  # runs, for the same

    @property
    def fired(self) -> Mapping[tuple[str, str], int]:
        """How many alerts fired, those beyond a limit too, by rule and severity's word."""
        return Counter((t.rule, t.severity.word) for t in self.outcome.transitions if t.begins)

    @property
    def limited(self) -> Mapping[str, int]:
        """How many alerts were beyond their rule's limit, by rule."""
        return Counter(t.rule for t in self.outcome.transitions if t.reason is Why.RATE_LIMITED)

    @property
    def expired(self) -> Mapping[str, int]:
        """How many occurrences were expired, by rule."""
        return Counter(t.rule for t in self.outcome.transitions if t.after is Phase.EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What an evaluation sees besides its instants."""

    reader: LogReader
    state: StateView
    source_progress: SourceProgress
    ahead: object = None  # what the rule's kind knows of some instants: then that is not read again
    shown: Collection[str] | None = None  # intents of event rules carry only these columns; None: all


def evaluate(
    rules: RuleSet,
    instants: Sequence[CommitInfo | Released],
    after: int,
    seen: View,
    settled: Callable[[str, bool], bool] | None = None,
) -> Evaluation:
    """Evaluate ``rules`` at ``instants``, given in the order of SEMANTICS.md (by T; at equal T the commit first).

    ``after`` is the CommitSeq up to which rules have been evaluated (``State.row_cursor``); the commits among
    ``instants`` are all those that follow it. Every rule must be known to the state (``lifecycle.reconcile``); unknown
    ones are left out. Of runs that are ``settled`` (``DeadlineTable.is_settled``) heartbeats are not computed. Raises
    StoreLost and StoreError of the reader; a rule whose own query fails only lags, and is in ``failures``.
    """
    memory = Memory(seen.state, seen.shown, settled)
    given = Given(reader=seen.reader, memory=memory, source_progress=seen.source_progress, ahead=seen.ahead)
    cursor, timer_t = after, None
    for timer_kind, group in groupby(instants, key=_kind):
        if timer_kind is None:
            commits = [c for c in group if isinstance(c, CommitInfo)]
            for kind in kinds():
                kind.on_commits(rules.of(kind), commits, cursor, given)
            cursor = commits[-1].seq
            continue
        released = [r for r in group if isinstance(r, Released)]
        _timers(rules, timer_kind, released, given)
        timer_t = released[-1].at
    return Evaluation(
        outcome=memory.outcome(row_cursor=cursor if cursor != after else None, timer_t=timer_t),
        failures=tuple(memory.failures),
        measured=tuple(memory.measured),
        deadlines=tuple(memory.deadlines),
        settles=tuple(memory.settles.values()),
    )


def schedule_deadlines(
    rules: RuleSet,
    names: Collection[str],
    at: datetime,
    commit_seq: int,
    seen: View,
    timers: Collection[Timer] = (),
) -> Evaluation:
    """Schedule what follows from the log for the rules called ``names`` (``Kind.standing``), as of commit
    ``commit_seq``: at a start, and after a reload for rules that are new or mean something else. ``timers`` are those
    that are set: a schedule goes on.
    """
    memory = Memory(seen.state)
    given = Given(reader=seen.reader, memory=memory, source_progress=seen.source_progress, ahead=seen.ahead)
    for kind in sorted(kinds(), key=lambda kind: kind.conditions, reverse=True):
        kind.schedule(rules.of(kind), names, timers, at, commit_seq, given)
    return Evaluation(
        outcome=memory.outcome(), failures=tuple(memory.failures), deadlines=tuple(memory.deadlines)
    )  # fmt: skip


def standing(rules: RuleSet) -> Mapping[str, str]:
    """Names for ``schedule_deadlines``, each with what it follows from: where that changes, it is scheduled again."""
    return {name: meaning for kind in kinds() for name, meaning in kind.standing(rules.of(kind)).items()}


def _kind(instant: CommitInfo | Released) -> TimerKind | None:
    return instant.timer.kind if isinstance(instant, Released) else None


def _timers(rules: RuleSet, timer_kind: TimerKind, released: Sequence[Released], given: Given) -> None:
    """Each kind evaluates the timers of its rules; those without a rule are shared, and come to all."""
    if timer_kind is TimerKind.BACKFILL:
        for each in released:
            end_backfill(each, rules.called(each.timer.rule), given.memory)
        return
    if timer_kind is TimerKind.RETRY:
        for each in released:
            _retry(each, rules, given)
        return
    by_kind: dict[str, list[Released]] = {kind.name: [] for kind in kinds()}
    for each in released:
        name = each.timer.rule
        base = rules.rules.get(name)
        rule = rules.enabled.get(name) or (base if base is not None and base.enabled else None)
        if rule is not None:  # as it is written, or of a row
            by_kind[rule.kind].append(each)
        elif name:
            given.memory.drop_timer(name, timer_kind, each.timer.key)
            if timer_kind is TimerKind.DEADLINE:
                given.memory.put_deadline(Deadline(name, each.timer.key, None))
        else:
            for line in by_kind.values():
                line.append(each)
    for kind in kinds():
        if by_kind[kind.name]:
            kind.on_timers(rules.of(kind), timer_kind, by_kind[kind.name], given)


def _retry(each: Released, rules: RuleSet, given: Given) -> None:
    """Try a rule that lags again, from its own cursor on."""
    timer = each.timer
    given.memory.drop_timer(timer.rule, timer.kind, timer.key)
    rule = rules.enabled.get(timer.rule)
    if rule is not None and not given.memory.follows(timer.rule):
        kind = kind_of(rule)
        kind.retry(rules.of(kind), rule, each, given)

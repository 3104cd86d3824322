"""The one engine: rules over instants, for live operation, ``rules test`` and ``rules backtest``.

Pure: what it knows are its arguments; what it reads, it reads through the log's reader and the state's view; what it
decides is the Outcome that it returns, to be written in one transaction. An evaluation repeated after a crash
decides the
same.

    commits:   c7   c8   c9         timers:   D (held until its watermark, sees c9)
    evaluate([c7, c8, c9, D])  ==  evaluate([c7]), evaluate([c8]), evaluate([c9]), evaluate([D])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from tocsin.errors import QueryError
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import Phase, Why
from tocsin.model.instants import Instant, Timer, TimerKind
from tocsin.model.intent import IntentKind
from tocsin.model.statuses import Kind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.deadline_table import Deadline, Settled
from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.deadline import commits as deadlines_reckon
from tocsin.rules.kinds.deadline import evaluate as deadlines_judge
from tocsin.rules.kinds.deadline.families import GeneratedRules
from tocsin.rules.kinds.event.commits import evaluate_commits
from tocsin.rules.kinds.event.parents.collapse import forget
from tocsin.rules.kinds.event.resolve import timers as recovery_timers
from tocsin.rules.kinds.event.timers import Released, end_backfill, evaluate_deadlines
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.schedule import evaluate as absence_judge
from tocsin.rules.kinds.window import instants as windows_instants
from tocsin.rules.kinds.window.ahead import Foreseen
from tocsin.rules.memory import Measured, Memory, RuleFailure, StateView
from tocsin.rules.queries import Failures
from tocsin.rules.spec.rule import Rule, public_name
from tocsin.state.interface import Outcome

FIRST_RETRY, LAST_RETRY = timedelta(seconds=30), timedelta(hours=1)
"""How long after a failure a rule is tried again: at first, doubled each time, at most."""
COMMITS_AT_ONCE = 1000
"""Commits that a rule which lags takes in one step."""


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
        return Counter((i.rule, i.severity.word) for i in self.outcome.intents if i.kind is IntentKind.FIRED)

    @property
    def limited(self) -> Mapping[str, int]:
        """How many alerts were beyond their rule's limit, by rule."""
        return Counter(t.rule for t in self.outcome.transitions if t.reason is Why.RATE_LIMITED)

    @property
    def expired(self) -> Mapping[str, int]:
        """How many occurrences were expired, by rule."""
        return Counter(t.rule for t in self.outcome.transitions if t.after is Phase.EXPIRED)


def evaluate(
    rules: RuleSet,
    instants: Sequence[CommitInfo | Released],
    after: int,
    reader: LogReader,
    state: StateView,
    source_progress: SourceProgress,
    ahead: Foreseen | None = None,
    shown: Collection[str] | None = None,
    settled: Callable[[str, bool], bool] | None = None,
) -> Evaluation:
    """Evaluate ``rules`` at ``instants``, given in the order of SEMANTICS.md (by T; at equal T the commit first).

    ``after`` is the CommitSeq up to which the event rules have been evaluated (``State.row_cursor``); the commits among
    ``instants`` are all those that follow it. Every rule must be known to the state (``lifecycle.reconcile``);
    unknown ones
    are left out. ``ahead`` may know what a window rule sees at some of them: then that is not read again. With
    ``shown`` intents of
    event rules carry only these columns of their event, and what their alerts are made of: nobody is mailed them. Of
    runs that are ``settled`` (``DeadlineTable.is_settled``) heartbeats are not computed. Raises StoreLost and
    StoreError of the reader; a rule whose own query fails only lags, and is in ``failures``.
    """
    memory = Memory(state, shown, settled)
    index = rules.index
    cursor, timer_t = after, None
    for kind, group in groupby(instants, key=_kind):
        if kind is None:
            commits = [c for c in group if isinstance(c, CommitInfo)]
            _commits(index, commits, cursor, reader, memory, source_progress)
            _lag(windows_instants.on_commits(rules, commits, cursor, reader, memory, ahead), memory)
            _absences(rules, commits, cursor, reader, memory, source_progress)
            cursor = commits[-1].seq
            continue
        released = [r for r in group if isinstance(r, Released)]
        _timers(rules, kind, released, reader, memory, source_progress, ahead)
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
    reader: LogReader,
    state: StateView,
    source_progress: SourceProgress,
    timers: Collection[Timer] = (),
) -> Evaluation:
    """Compute the deadlines of every run under way for the rules called ``names``, as of commit ``commit_seq``: at a
    start, and
    after a reload for rules that are new or mean something else. ``timers`` are those that are set: a schedule goes on.
    What is open of event rules is brought in line with them.
    """
    memory = Memory(state)
    wanted = {public_name(name) for name in names}
    chosen = [generated for generated in _following(rules, memory) if generated.name in wanted]
    awaiting = [rule for rule in rules.awaiting if rule.name in names and memory.follows(rule.name)]
    absence_judge.schedule_deadlines(awaiting, timers, memory, at, commit_seq)
    _fail(absence_judge.still_missing(awaiting, reader, memory, at, commit_seq), at, commit_seq, memory)
    _fail(
        deadlines_reckon.schedule_deadlines(chosen, reader, memory, source_progress, at, commit_seq),
        at,
        commit_seq,
        memory,
    )
    opening = [rule for rule in rules.opening if rule.name in names and memory.follows(rule.name)]
    _fail(recovery_timers.schedule_deadlines(opening, at, commit_seq, reader, memory), at, commit_seq, memory)
    return Evaluation(
        outcome=memory.outcome(), failures=tuple(memory.failures), deadlines=tuple(memory.deadlines)
    )  # fmt: skip


def _kind(instant: CommitInfo | Released) -> TimerKind | None:
    return instant.timer.kind if isinstance(instant, Released) else None


def _commits(
    index: RuleIndex,
    commits: Sequence[CommitInfo],
    after: int,
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> None:
    if not any(c.rows for c in commits) or not index.rules:
        return
    failures = evaluate_commits(index, commits, after, reader, memory, source_progress, memory.follows)
    first, last = commits[0], commits[-1]
    _note_events(failures, last.ingested_at, last.seq, memory)
    for name, error in failures.rules.items():
        record = memory.record(name)
        lagging = Instant(at=first.ingested_at, timer=False, commit_seq=after)
        memory.put_record(replace(record, cursor=lagging))
        _again(index.by_name[name], error, 0, last.ingested_at, last.seq, memory)


def _absences(
    rules: RuleSet,
    commits: Sequence[CommitInfo],
    after: int,
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> None:
    waiting = _following(rules, memory)
    awaiting = [rule for rule in rules.awaiting if memory.follows(rule.name)]
    if awaiting:
        failures = absence_judge.on_commits(awaiting, commits, after, reader, memory)
        _fail(failures, commits[-1].ingested_at, commits[-1].seq, memory)
    if waiting:
        failures = deadlines_reckon.on_commits(waiting, commits, after, reader, memory, source_progress)
        _fail(failures, commits[-1].ingested_at, commits[-1].seq, memory)


def _following(rules: RuleSet, memory: Memory) -> list[GeneratedRules]:
    """Absence rules for runs and are known; of those of a table's rows each is evaluated when it comes to it."""
    return [f for f in rules.generated_rules.values() if not f.alone or memory.follows(f.rules[0].name)]


def _fail(failures: Failures, at: datetime, commit_seq: int, memory: Memory) -> None:
    _note_events(failures, at, commit_seq, memory)
    for name, error in failures.rules.items():
        memory.failures.append(RuleFailure(rule=name, error=str(error), at=at, commit_seq=commit_seq))


def _lag(failed: Sequence[windows_instants.Failed], memory: Memory, tries: int = 0) -> None:
    """Window rules that failed keep what they know, and look again later."""
    for each in failed:
        lagging = Instant(at=each.at, timer=True, commit_seq=each.commit_seq)
        memory.put_record(replace(memory.record(each.rule.name), cursor=lagging))
        _again(each.rule, each.error, tries, each.at, each.commit_seq, memory)


def _timers(
    rules: RuleSet,
    kind: TimerKind,
    released: Sequence[Released],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    ahead: Foreseen | None,
) -> None:
    if kind is TimerKind.FINAL_AFTER:
        for group in _alike(released):
            failures = evaluate_deadlines(group, rules, reader, memory, source_progress)
            at, seq = group[-1].at, group[-1].commit_seq
            _note_events(failures, at, seq, memory)
            for name, error in failures.rules.items():
                memory.failures.append(RuleFailure(rule=name, error=str(error), at=at, commit_seq=seq))
        return
    if kind is TimerKind.DEADLINE:
        awaiting = {rule.name: rule for rule in rules.awaiting}
        scheduled = [r for r in released if "at_us" in r.timer.data]
        of_runs = [r for r in released if "at_us" not in r.timer.data]
        for failures in (
            absence_judge.on_deadlines(scheduled, awaiting, reader, memory, source_progress),
            deadlines_judge.on_deadlines(of_runs, rules.generated_rules, reader, memory, source_progress),
        ):
            _fail(failures, released[-1].at, released[-1].commit_seq, memory)
        return
    if kind in (TimerKind.TICK, TimerKind.FOR):
        _lag(windows_instants.on_timers(rules, released, reader, memory, source_progress, ahead), memory)
        return
    if kind is TimerKind.CLOSE:
        waiting = {r.timer.rule: rule for r in released if (rule := rules.enabled.get(r.timer.rule)) and rule.absence}
        deadlines_judge.on_wakes(
            [r for r in released if r.timer.rule in waiting], waiting, reader, memory, source_progress
        )
        open_, others = list[Released](), list[Released]()
        rows: dict[str, Rule] = {}
        for each in released:
            rule = rules.enabled.get(each.timer.rule)
            # one with "sweep" is of what a rule has counted of a parent, not of an alert
            if rule is not None and rule.kind is Kind.EVENT and "sweep" not in each.timer.data:
                rows[rule.name] = rule
                open_.append(each)
            elif each.timer.rule not in waiting:
                others.append(each)
        recovery_timers.on_wakes(open_, rows, reader, memory, source_progress)
        released = others
    for each in released:
        rule = rules.enabled.get(each.timer.rule)
        if kind is TimerKind.CLOSE and rule is not None and rule.scheduled is not None:
            absence_judge.on_wake(each, rule, memory, source_progress)
        elif kind is TimerKind.CLOSE and rule is not None and rule.kind is Kind.EVENT:
            forget(each.timer, memory)
        elif kind is TimerKind.BACKFILL:
            end_backfill(each, rules, memory)
        elif kind is TimerKind.RETRY:
            _retry(each, rules, reader, memory, source_progress)


def _alike(released: Sequence[Released]) -> Iterator[list[Released]]:
    """Groups that see the same commits."""
    for _, group in groupby(released, key=lambda r: r.commit_seq):
        yield list(group)


def _retry(each: Released, rules: RuleSet, reader: LogReader, memory: Memory, source_progress: SourceProgress) -> None:
    """Try a rule that lags again, from its own cursor on."""
    timer = each.timer
    memory.drop_timer(timer.rule, timer.kind, timer.key)
    rule = rules.enabled.get(timer.rule)
    if rule is None or memory.follows(timer.rule):
        return
    record = memory.record(rule.name)
    if rule.window is not None:
        memory.put_record(replace(record, cursor=None))
        failed = windows_instants.again(rules, rule, each, reader, memory, source_progress)
        _lag(failed, memory, int(str(timer.data.get("attempts", 0))))
        return
    assert record.cursor is not None
    after = record.cursor.commit_seq
    commits = [c for c in reader.commits(after, COMMITS_AT_ONCE) if c.seq <= each.commit_seq]
    if commits:
        failures = evaluate_commits(RuleIndex((rule,)), commits, after, reader, memory, source_progress)
        _note_events(failures, each.at, each.commit_seq, memory)
        if failures.rules:
            _again(
                rule,
                failures.rules[rule.name],
                int(str(timer.data.get("attempts", 0))),
                each.at,
                each.commit_seq,
                memory,
            )
            return
    if len(commits) < COMMITS_AT_ONCE:
        memory.put_record(replace(record, cursor=None))
        return
    last = commits[-1]
    lagging = Instant(at=last.ingested_at, timer=False, commit_seq=last.seq)
    memory.put_record(replace(record, cursor=lagging))
    memory.put_timer(Timer(rule=rule.name, kind=TimerKind.RETRY, key="", due=each.at))


def _note_events(failures: Failures, at: datetime, commit_seq: int, memory: Memory) -> None:
    for name, (error, events) in failures.events.items():
        memory.failures.append(
            RuleFailure(rule=name, error=str(error), at=at, commit_seq=commit_seq, events=tuple(events))
        )


def _again(rule: Rule, error: QueryError, tries: int, at: datetime, commit_seq: int, memory: Memory) -> None:
    memory.failures.append(RuleFailure(rule=rule.name, error=str(error), at=at, commit_seq=commit_seq))
    wait = min(FIRST_RETRY * 2 ** min(tries, 16), LAST_RETRY)
    memory.put_timer(Timer(rule=rule.name, kind=TimerKind.RETRY, key="", due=at + wait, data={"attempts": tries + 1}))

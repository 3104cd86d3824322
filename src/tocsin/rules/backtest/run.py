"""What a rule would have notified over stored history, by the engine that runs it live.

    history   |-- step --|-- step --|-- step --|       steps of so many rows; their commits are evaluated together
    timers          D1 D2      D3                      evaluated in order, after the commits of their step

Only commits that can matter to the rule are handed over: those with rows of runs of which it matches a row, or
remembers
something. The others would be read and left. A deadline of `final_after` is evaluated with all that its step has
brought; it still counts
only tries up to its own time.
"""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.clock import EPOCH, Clock
from tocsin.errors import QueryError, TocsinError
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.instants import Timer
from tocsin.model.watermarks import SourceProgress
from tocsin.rules import history
from tocsin.rules.backtest.result import SHOWN, Backtest, Most, Notified, Result
from tocsin.rules.backtest.view import AsIfLive, Recorder, over
from tocsin.rules.backtest.windows import FEW, Step, WindowReplay
from tocsin.rules.driver.driver import Read
from tocsin.rules.driver.evaluate import Evaluation, View, evaluate
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.driver.outages import OutageCalendar, Outages
from tocsin.rules.driver.replay import Replay
from tocsin.rules.history import micros, moment
from tocsin.rules.kinds.base import Part, Span
from tocsin.rules.kinds.event.matching import narrowed
from tocsin.rules.kinds.event.parents.collapse import KEPT
from tocsin.rules.kinds.event.spec import EventRule, EventSpec
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.spec import WindowSpec
from tocsin.rules.ranges import commit, count, head_before
from tocsin.rules.spec.rule import Rule, of_spec
from tocsin.rules.timers import Released
from tocsin.state.interface import Outcome, RuleRecord

__all__ = ["Backtest", "Most", "NotYet", "Notified", "backtest"]

STEP_ROWS = 125_000
"""Rows of one step: they, or what is notified of them with its whole row, are in memory meanwhile."""
TICKS = 50_000
"""Ticks of a window rule in one step, however little came: so many instants are in memory."""
BUCKETS = 20_000
"""Into so many parts the history is cut to find the steps."""
YOUNG = 50_000
"""So many new objects are there before Python looks for garbage among them."""
US = timedelta(microseconds=1)

Progress = Callable[[int, int], None]
"""Notified after each step: rows done, rows in all."""


class NotYet(TocsinError):
    """The rule is of a kind that cannot be backtested."""


def backtest(
    rule: Rule,
    reader: LogReader,
    since: datetime,
    until: datetime,
    *,
    clock: Clock,
    as_if_live: bool = False,
    progress: Progress | None = None,
    step_rows: int = STEP_ROWS,
    few: int = FEW,
    ticks: int = TICKS,
    outages: Outages | None = None,
) -> Backtest:
    """Evaluate ``rule``, as if it had come into force at ``since``, over what arrived in [since, until).

    With ``as_if_live`` event times stand for arrival times, for imported history. So ``few`` instants of a window
    rule are
    not read at once, nor more ticks than ``ticks``. ``outages`` is when consumers are known not to have been
    reached; as if live nobody ever was. Only reads. Raises
    NotYet for a rule that cannot be backtested, QueryError and StoreError of the reader.
    """
    if rule.each is not None:
        one = f", for example {rule.each.rules[0].name}" if rule.each.rules else ""
        raise NotYet(f"{rule.name} is one rule for each row of {rule.each.table}: name the row{one}")
    began = clock.monotonic()
    rule = replace(rule, enabled=True)
    log = AsIfLive(reader) if as_if_live else reader
    if not isinstance(rule.spec, (WindowSpec, EventSpec)):
        result, total = Result(), count(log, since, until)
        calendar = OutageCalendar({} if as_if_live or not outages else outages)
        with _seldom_collecting():
            for part in _driven(rule, log, Span(since=since, until=until, rows=step_rows), calendar, result):
                if progress:
                    progress(round(part.share * total), total)
        return result.result(rule, since, until, as_if_live, total, clock.monotonic() - began)
    start, steps = _steps(log, since, until, step_rows)
    total, done = sum(n for _, n in steps), 0
    result = Result()
    recorder = Recorder([RuleRecord(name=rule.name, meaning=rule.meaning, start_seq=start)])
    rules = RuleSet({rule.name: rule})
    recorder.take(reconcile(rules, recorder.rules(), start, now=since))
    longest = ticks * rule.spec.every if isinstance(rule.spec, WindowSpec) else None
    spans = _spans(log, start, steps, since, until, longest)
    played: Generator[Step]
    if isinstance(rule.spec, WindowSpec):
        played = WindowReplay(rules, log, recorder, since, result.take, few, result.note).play(spans)
    else:
        played = _rows(rules, log, recorder, result, spans)
    with _seldom_collecting(), closing(played):  # where it is left early, what reads ahead ends at once
        for step in played:
            done += step.rows
            if progress:
                progress(done, total)
            if result.broken:
                break
    return result.result(rule, since, until, as_if_live, total, clock.monotonic() - began)


def _driven(rule: Rule, log: LogReader, span: Span, outages: OutageCalendar, result: Result) -> Iterator[Part]:
    """Let the driver evaluate ``rule`` over ``span``; each part of it is yielded when it is done."""
    recorder = Recorder([])

    def take(outcome: Outcome, evaluation: Evaluation | None) -> None:
        recorder.take(outcome)
        if evaluation is not None:
            result.take(evaluation)

    replay = Replay(rule, log, recorder, head_before(log, span.since), outages, Read(shown=SHOWN), take)
    for part in replay.play(kind_of(rule).candidates(rule, log, span, recorder), lambda: not result.broken):
        if part.note:
            result.note(*part.note)
        yield part


def _event_rule(rules: RuleSet) -> EventRule:
    (rule,) = rules.rules.values()
    return of_spec(rule, EventSpec)


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Python's collector of garbage looks only through what is new: what a step reads is a million objects without a
    cycle, and to
    look through all of them again and again took a quarter of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Playing:
    """One step of the history."""

    rules: RuleSet
    log: LogReader
    recorder: Recorder
    source_progress: SourceProgress
    result: Result
    end: datetime  # timers due later belong to the next step
    touched: Collection[str] | None = None  # parents that may be forgotten and that it brings something of; None: any

    def rows(self, commits: Sequence[CommitInfo], after: int) -> None:
        """Event rules: all commits at once, then the timers; where a timer may decide about what comes later, those
        before the next
        such timer, and so on.
        """
        rule = _event_rule(self.rules)
        lasts, i = _lasts(rule), 0
        if commits:  # what came due since the step before this one ended
            self._timers(commits[0].ingested_at - US, after)
        while i < len(commits) and not self.result.broken:
            last = len(commits)
            if lasts is not None:
                quiet = self.recorder.quiet_until(commits[i].ingested_at, lasts, self._matters)
                last = max(i + 1, bisect_right(commits, quiet, key=lambda commit: commit.ingested_at))
            self._evaluate(commits[i:last], after)
            after, i = commits[last - 1].seq, last
            self._timers(commits[i].ingested_at - US if i < len(commits) else self.end, after)

    def _matters(self, timer: Timer) -> bool:
        """Whether what comes after it may be notified otherwise by what it does."""
        if "sweep" in timer.data:  # the parent is forgotten
            return self.touched is None or timer.data["sweep"] in self.touched
        return _ends_matter(_event_rule(self.rules))

    def _timers(self, until: datetime, seq: int) -> None:
        while not self.result.broken and (due := self.recorder.due(until)):
            self._evaluate([Released(timer=t, at=_released(t), commit_seq=seq) for t in due], seq)

    def _evaluate(self, instants: Sequence[CommitInfo | Released], after: int) -> None:
        view = View(reader=self.log, state=self.recorder, source_progress=self.source_progress, shown=SHOWN)
        self._take(evaluate(self.rules, instants, after, view))

    def _take(self, evaluation: Evaluation) -> None:
        self.recorder.take(evaluation.outcome)
        self.result.take(evaluation)


def _ends_matter(rule: EventRule) -> bool:
    """Whether what comes later depends on what became of open alerts meanwhile: not where they are only notified
    again, and closed.
    """
    return rule.spec.resolve_policy is not None and (
        rule.spec.resolve_policy.recovers or rule.spec.collapse is not None
    )


def _lasts(rule: EventRule) -> timedelta | None:
    """How soon after a commit the first timer comes that matters and that it sets; None where none does."""
    found = [KEPT] if rule.spec.collapse is not None else []
    if rule.spec.resolve_policy is not None and _ends_matter(rule):
        found += [rule.spec.resolve_policy.after, rule.spec.resolve_policy.repeat or rule.spec.resolve_policy.after]
    return min(found, default=None)


def _released(timer: Timer) -> datetime:
    """T: when it is due, or when what set it came, if that was later."""
    return max(timer.due, moment(int(str(timer.data.get("came_us", 0)))))


def _spans(
    log: LogReader,
    start: int,
    steps: Sequence[tuple[int, int]],
    since: datetime,
    until: datetime,
    longest: timedelta | None,
) -> Iterator[Step]:
    lo, begin = start, since
    for number, (hi, rows) in enumerate(steps, 1):
        end = until - US if number == len(steps) else _end(log, lo, hi)
        whole = Step(lo=lo, hi=hi, rows=rows, end=end, source_progress=_everybody(log, lo, hi, end))
        yield from [whole] if longest is None or end - begin <= longest else _parts(log, whole, begin, longest)
        lo, begin = hi, end


def _parts(log: LogReader, step: Step, begin: datetime, longest: timedelta) -> Iterator[Step]:
    """A step after ``begin`` in which so little came that it is long, in parts that are not."""
    rows_sql, bounds = history.commit_rows(step.lo, step.hi)
    table = log.select(
        "SELECT (epoch_us(IngestedAt) - $begin - 1) // $longest AS part, max(CommitSeq), count(*)"
        f" FROM ({rows_sql}) GROUP BY part ORDER BY part",
        {**bounds, "begin": micros(begin), "longest": longest // US},
    )
    came = {part: (hi, rows) for part, hi, rows in zip(*(c.to_pylist() for c in table.columns), strict=True)}
    lo = step.lo
    for part in range(-((begin - step.end) // longest)):
        hi, rows = came.get(part, (lo, 0))
        yield replace(step, lo=lo, hi=hi, rows=rows, end=min(begin + (part + 1) * longest, step.end))
        lo = hi


def _rows(rules: RuleSet, log: LogReader, recorder: Recorder, result: Result, steps: Iterable[Step]) -> Generator[Step]:
    """An event rule: the commits of each step at once, then the timers."""
    rule = _event_rule(rules)
    done: dict[str, str] = {}
    for step in steps:
        commits = _commits(log, rule, recorder, step.lo, step.hi, result)
        touched = _touched(log, rule, recorder, commits, step)
        _Playing(
            rules=rules,
            log=log,
            recorder=recorder,
            source_progress=step.source_progress,
            result=result,
            end=step.end,
            touched=touched,
        ).rows(commits, step.lo)
        done |= over(
            log,
            rule.spec.collapse.column if rule.spec.collapse else "RunId",
            recorder.runs - done.keys(),
            step.lo,
            step.hi,
        )
        unneeded = done.keys() - _asked(recorder, rule, done)
        recorder.forget(unneeded)
        for run in unneeded:
            del done[run]
        yield step


def _asked(recorder: Recorder, rule: EventRule, done: Mapping[str, str]) -> set[str]:
    """Runs among those that are ``done`` of which it is still asked what was notified: alerts of them are open, or
    their parents' parent groups
    are remembered. ``done`` gives the parent of each.
    """
    states = recorder.conditions(rule.name).values()
    open_ = {str(state.data.get("run")) for state in states}
    parents = {str(state.instance.get("RunId")) for state in states} if rule.spec.collapse is not None else set()
    return {run for run, parent in done.items() if run in open_ or parent in parents}


def _steps(log: LogReader, since: datetime, until: datetime, step_rows: int) -> tuple[int, list[tuple[int, int]]]:
    """The CommitSeq before the range, and the steps: (last CommitSeq, rows). 0, as of a rule that was always there,
    where nothing
    came before: then no run is asked whether it is older than the rule.
    """
    bounds = {"since": _utc(since), "until": _utc(until)}
    inside = "IngestedAt >= $since AND IngestedAt < $until"
    (found,) = log.select(
        f"SELECT min(CommitSeq) AS lo, max(CommitSeq) AS hi FROM RunStatusChanged WHERE {inside}", bounds
    ).to_pylist()
    if found["lo"] is None:
        return 0, []
    lo, hi = int(found["lo"]), int(found["hi"])
    width = max(1, (hi - lo + 1) // BUCKETS)
    table = log.select(
        "SELECT (CommitSeq - $lo) // $width AS bucket, count(*) AS n FROM RunStatusChanged"
        f" WHERE {inside} GROUP BY bucket ORDER BY bucket",
        {**bounds, "lo": lo, "width": width},
    )
    steps: list[tuple[int, int]] = []
    rows = 0
    for bucket, n in zip(*(c.to_pylist() for c in table.columns), strict=True):
        rows += n
        end = min(hi, lo + (bucket + 1) * width - 1)
        if rows >= step_rows or end >= hi:
            steps.append((end, rows))
            rows = 0
    older = log.select("SELECT 1 FROM RunStatusChanged WHERE CommitSeq < $lo LIMIT 1", {"lo": lo}).num_rows
    return lo - 1 if older else min(lo - 1, 0), steps


def _commits(
    log: LogReader, rule: EventRule, recorder: Recorder, after: int, hi: int, result: Result
) -> list[CommitInfo]:
    """The commits in (after, hi] that can matter to the rule; the last of the step in any case."""
    runs: set[str] | None = None
    broken: QueryError | None = None
    try:
        runs = _matching_runs(log, rule, after, hi)
    except QueryError as e:  # the engine finds the rows that cannot be evaluated
        broken = e
    ends = (
        rule.spec.resolve_policy.statuses if rule.spec.resolve_policy is not None else frozenset[str]()
    )  # of events that end alerts of any run
    listed, params = "", dict[str, object]()
    if runs is not None:
        listed = " AND (RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[])) OR list_contains(($ends::JSON)::VARCHAR[], Status))"
        params = {"runs": history.listed(runs | recorder.runs), "ends": history.listed(ends)}
    rows_sql, bounds = history.commit_rows(after, hi)
    table = log.select(
        f"SELECT CommitSeq, epoch_us(min(IngestedAt)), count(*) FROM ({rows_sql}{listed})"
        " GROUP BY CommitSeq ORDER BY CommitSeq",
        {**bounds, **params},
    )
    commits = [commit(seq, us, n) for seq, us, n in zip(*(c.to_pylist() for c in table.columns), strict=True)]
    if broken is not None:
        result.note(str(broken), len(commits))
    if not commits or commits[-1].seq < hi:
        commits.append(commit(hi, micros(_end(log, after, hi)), 1))
    return commits


def _end(log: LogReader, after: int, hi: int) -> datetime:
    """When the last commit in (after, hi] came."""
    rows_sql, bounds = history.commit_rows(after, hi)
    return moment(log.select(f"SELECT epoch_us(max(IngestedAt)) FROM ({rows_sql})", bounds).column(0)[0].as_py())


def _matching_runs(log: LogReader, rule: EventRule, after: int, hi: int) -> set[str]:
    """Runs of which the rule matches a row in (after, hi]. Raises QueryError where that cannot be notified at once."""
    rows_sql, bounds = history.commit_rows(after, hi)
    if rule.spec.below is not None:
        rows_sql, bounds, _ = narrowed(log, [rule], rows_sql, bounds)
    sql, constants = rule.spec.plan.bind(rows_sql, [(0, rule.spec.plan.constants)])
    table = log.select(f'SELECT DISTINCT "RunId" FROM ({sql})', {**bounds, **constants})
    runs = set(table.column(0).to_pylist())
    return runs if rule.spec.collapse is None else runs | _parents(log, rule.spec.collapse.column, runs, after, hi)


def _parents(log: LogReader, column: str, runs: Collection[str], after: int, hi: int) -> set[str]:
    """Whose children ``runs`` are by what (after, hi] brought of them."""
    rows_sql, bounds = history.commit_rows(after, hi)
    table = log.select(
        f"SELECT DISTINCT {column} FROM ({rows_sql}) WHERE RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[]))",
        {**bounds, "runs": history.listed(runs)},
    )
    return set(table.column(0).to_pylist()) - {""}


def _touched(
    log: LogReader, rule: EventRule, recorder: Recorder, commits: Sequence[CommitInfo], step: Step
) -> Collection[str] | None:
    """Parents of which something would be forgotten in the step, and of which it brings something; None where it is
    so long
    that what it begins may be forgotten in it.
    """
    if rule.spec.collapse is None:
        return ()
    if commits and step.end - commits[0].ingested_at >= KEPT:
        return None
    parents = recorder.forgets(step.end)
    if not parents:
        return ()
    rows_sql, bounds = history.commit_rows(step.lo, step.hi)
    among = "IN (SELECT unnest(($parents::JSON)::VARCHAR[]))"
    table = log.select(
        f"SELECT DISTINCT unnest([{rule.spec.collapse.column}, RunId]) AS parent FROM ({rows_sql})"
        f" WHERE {rule.spec.collapse.column} {among} OR RunId {among}",
        {**bounds, "parents": history.listed(sorted(parents))},
    )
    return parents & set(table.column(0).to_pylist())


def _everybody(log: LogReader, after: int, hi: int, until: datetime) -> SourceProgress:
    """Every consumer has reported up to the end of the step."""
    rows_sql, bounds = history.commit_rows(after, hi)
    names = log.select(f"SELECT DISTINCT Consumer FROM ({rows_sql})", bounds).column(0).to_pylist()
    return SourceProgress(watermarks=dict.fromkeys(names, until), kinds=dict.fromkeys(names, "http"))


def _utc(t: datetime) -> datetime:
    return moment(micros(t)).replace(tzinfo=None) if t > EPOCH else EPOCH.replace(tzinfo=None)

"""Backtests of absence rules for runs: the engine's own functions over many instants at once.

Runs do not depend on each other, so a thousand of them are under way together, each at its own instant. What they
wait for is of three
kinds; some hundred runs are taken on at a time, the earliest of the kind that most of them wait for:

    r1   c4 compute ── D evaluate ── c9 compute, ends            compute   r1@c4, r2@c5, r3@c5
    r2   c5 compute ──────────── D evaluate ── wake ── wake     evaluate    r1@D1, r2@D2
    r3   c5 compute ── c6 compute                             compute   r3@c6, r1@c9

Commits at which nothing can pass before the next one are left out (``backtest.candidates``), unless the run fires.

**Reached.** A timer is released at its due time, except inside a span in which a consumer is known not to have been
reached (tocsin was
down, its broker was away): there its watermark stood at the span's begin, and the timer is held until its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

from tocsin.logstore.interface import LogReader
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.backtest.candidates import Candidate, Found, visits
from tocsin.rules.backtest.limits import RateLimited
from tocsin.rules.backtest.view import Recorder
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.driver.outages import OutageCalendar, Outages
from tocsin.rules.history import micros, moment
from tocsin.rules.kinds.deadline import commits as deadlines_reckon
from tocsin.rules.kinds.deadline import evaluate as deadlines_judge
from tocsin.rules.kinds.deadline.due import When
from tocsin.rules.kinds.deadline.evaluate import Calm, Standing
from tocsin.rules.kinds.deadline.families import GeneratedRules, generated_rules_of
from tocsin.rules.kinds.deadline.histories import Known, Span
from tocsin.rules.kinds.deadline.runs import AsOf
from tocsin.rules.kinds.deadline.spec import DeadlineRule
from tocsin.rules.memory import Memory, RuleFailure
from tocsin.rules.queries import Failures
from tocsin.rules.timers import Released
from tocsin.state.interface import RuleRecord

UNDER_WAY = 2_000
"""So many runs are on their way before more are taken in."""
AT_ONCE = 500
"""Runs that are read together: those that began at about the same time, so little of the history is read for them."""
STEP = 1_000
"""Runs that go on together."""
NOTIFIED_AT_ONCE = 10_000
"""So often runs are notified of once more before it is counted: all that is notified is in memory meanwhile."""
_T = TypeVar("_T")
Take = Callable[[Evaluation], bool]
"""Takes what an evaluation decided; returns whether the rule works on."""


def play(
    rule: DeadlineRule,
    log: LogReader,
    since: datetime,
    until: datetime,
    outages: Outages,
    take: Take,
    part_done: Callable[[float], None],
) -> None:
    """Evaluate ``rule``, as if it had come into force at ``since``, over what arrived before ``until``.

    ``part_done`` is notified which share is done. Raises QueryError and StoreError of the reader.
    """
    waits = rule.spec
    assert waits is not None
    limited = RateLimited(rule, take) if rule.limit is not None else None
    rule, take = (rule, take) if limited is None else (replace(rule, limit=None), limited)
    walk = _Replay(rule, log, since, until, OutageCalendar(outages), take)
    with closing(_ahead(visits(log, waits, since, until))) as parts:
        for found in parts:
            runs = iter(found.runs.items())
            while some := dict(islice(runs, AT_ONCE)):
                walk.take_in(some, found.begin)
                if not walk.forward(UNDER_WAY):
                    return
            part_done(found.share)
    if not walk.forward(0):
        return
    if limited is not None:
        limited.finish()


def _ahead(parts: Generator[Found]) -> Generator[Found]:
    """``parts``, the next of which is looked for while one is gone through: it is the log's work, which needs no
    turn of Python's.
    """
    with closing(parts), ThreadPoolExecutor(1, thread_name_prefix="backtest") as reading:
        coming = reading.submit(next, parts, None)
        while (found := coming.result()) is not None:
            coming = reading.submit(next, parts, None)
            yield found


@dataclass(slots=True)
class _Run:
    """A run on its way."""

    visits: Sequence[Candidate]
    i: int  # of the commit as of which it is seen
    t: datetime  # T of what it did last
    due: datetime | None = None  # its deadline
    held_for: frozenset[str] = frozenset()
    wake: Timer | None = None
    fires: bool = False
    stands: Standing | None = None  # as of ``seq``, where that was asked for

    @property
    def seq(self) -> int:
        return self.visits[self.i].seq


@dataclass(slots=True)
class _Replay:
    """Some runs, taken through the history."""

    rule: DeadlineRule
    log: LogReader
    since: datetime
    until: datetime
    silences: OutageCalendar
    take: Take
    recorder: Recorder = field(init=False)
    generated: tuple[GeneratedRules, ...] = field(init=False)
    known: Known = field(init=False)
    runs: dict[str, _Run] = field(default_factory=dict)
    run_of: dict[str, str] = field(default_factory=dict)  # by instance key
    # what runs wait for, by run: how far they are, or the timer that comes next
    commits: dict[str, datetime] = field(default_factory=dict)
    deadlines: dict[str, Released] = field(default_factory=dict)
    wakes: dict[str, Released] = field(default_factory=dict)
    works: bool = True

    def __post_init__(self) -> None:
        self.generated = generated_rules_of([self.rule])
        self.recorder = Recorder([RuleRecord(name=self.rule.name, meaning=self.rule.meaning, start_seq=0)])
        self.known = Known(self.log)

    def take_in(self, found: Mapping[str, Sequence[Candidate]], begin: Span) -> None:
        """Runs that began in ``begin`` set out from where the range does."""
        since_us = micros(self.since)
        for run, line in found.items():
            before = max((i for i, candidate in enumerate(line) if candidate.at_us < since_us), default=-1)
            first = next((i for i in range(max(before, 0), len(line)) if line[i].evaluations), None)
            if first is not None:
                self.runs[run] = _Run(visits=line, i=first, t=max(self.since, moment(line[first].at_us)))
                self.commits[run] = self.runs[run].t
        self.known.read({run: found[run][-1].seq for run in found if run in self.runs}, begin)

    def forward(self, under_way: int) -> bool:
        """Take the runs on until no more than so many are not at the end of the range. Returns whether the rule
        works on.
        """
        while self.works and len(self.runs) > under_way:
            most = max(len(self.commits), len(self.deadlines), len(self.wakes))
            if self.wakes and (most == len(self.wakes) or self.known.full):
                done = self._wake(sorted(self.wakes.values(), key=_order)[:STEP])
            elif most == len(self.commits):
                done = self._compute(sorted(self.commits, key=self.commits.__getitem__)[:STEP])
            else:
                done = self._evaluate_rule(sorted(self.deadlines.values(), key=_order)[:STEP])
            for run in done:
                self._wait(run)
        return self.works

    def _wait(self, run: str) -> None:
        """A run waits for what comes next of it."""
        for waiting in (self.commits, self.deadlines, self.wakes):
            waiting.pop(run, None)
        what = self._next(run)
        if what is None:
            del self.runs[run]
            self.known.forget(run)
        elif isinstance(what, Candidate):
            self.commits[run] = self.runs[run].t
        elif what.timer.kind is TimerKind.DEADLINE:
            self.deadlines[run] = what
        else:
            self.wakes[run] = what

    def _next(self, name: str) -> Released | Candidate | None:
        """What comes next of a run: a timer, or a commit; None: nothing more."""
        run = self.runs[name]
        after = run.i + 1
        ends = moment(run.visits[after].at_us) if after < len(run.visits) else self.until
        wake = max(run.wake.due, run.t) if run.wake is not None else None
        due = max(run.due, run.t) if run.due is not None else None
        if due is not None and run.held_for:
            due = self.silences.hold(due, run.held_for)
        if wake is not None and run.wake is not None and run.wake.consumers:
            wake = self.silences.hold(wake, run.wake.consumers)
        at = min((t for t in (wake, due) if t is not None), default=ends)
        if at < ends:
            timer = run.wake if at == wake else _timer(self.rule, name, run)
            assert timer is not None
            run.t = at
            return Released(timer=timer, at=at, commit_seq=run.seq)
        seen = run.fires or run.wake is not None
        while after < len(run.visits) and not seen and not run.visits[after].evaluations:
            after += 1
        if after >= len(run.visits):
            return None
        run.i, run.t, run.stands = after, moment(run.visits[after].at_us), None
        return run.visits[after]

    def _compute(self, names: Sequence[str]) -> Sequence[str]:
        for known, some in self._as_known(names, str):
            whens = {name: When(self.runs[name].seq, self.runs[name].t) for name in some}
            memory, failures = Memory(self.recorder), Failures()
            last = max(when.at for when in whens.values())
            source_progress = self.silences.source_progress(last)
            moved = deadlines_reckon.Moved(whens=whens, known=known)
            deadlines_reckon.compute(self.generated, moved, self.log, memory, source_progress, failures)
            self._decided(memory, failures, last, max(when.seq for when in whens.values()))
        return names

    def _evaluate_rule(self, released: Sequence[Released]) -> Sequence[str]:
        generated_rules = {generated.name: generated for generated in self.generated}
        for source_progress, group in self.silences.alike(released):
            for known, some in self._as_known(group, lambda each: each.timer.key):
                memory = Memory(self.recorder)
                failures = deadlines_judge.on_deadlines(some, generated_rules, self.log, memory, source_progress, known)
                self._decided(memory, failures, some[-1].at, some[-1].commit_seq)
        return [each.timer.key for each in released]

    def _wake(self, released: Sequence[Released]) -> Sequence[str]:
        for source_progress, group in self.silences.alike(released):
            memory, rules = Memory(self.recorder), {self.rule.name: self.rule}
            until = {run: self._calm_until(run) for run in (self.run_of[each.timer.key] for each in group)}
            calm = Calm(until, max(1, NOTIFIED_AT_ONCE // len(group)))
            deadlines_judge.on_wakes(group, rules, self.log, memory, source_progress, self._stand, calm)
            self._decided(memory, Failures(), group[-1].at, group[-1].commit_seq)
        return [self.run_of[each.timer.key] for each in released]

    def _as_known(self, each: Iterable[_T], run_of: Callable[[_T], str]) -> Iterator[tuple[Known | None, list[_T]]]:
        """Those whose histories are known, and the others."""
        parts: dict[bool, list[_T]] = {}
        for one in each:
            parts.setdefault(run_of(one) in self.known, []).append(one)
        for known, some in parts.items():
            yield self.known if known else None, some

    def _calm_until(self, name: str) -> datetime:
        """Until when nothing comes of a run that wakes but that it wakes again: it is notified of once more each
        time.
        """
        run = self.runs[name]
        ends = moment(run.visits[run.i + 1].at_us) if run.i + 1 < len(run.visits) else self.until
        quiet = min(ends, self.silences.watermark_until(run.t))
        return quiet if run.due is None else min(quiet, run.due)

    def _stand(self, as_of: AsOf, log: LogReader) -> dict[str, Standing]:
        """Asked once as of each commit: a run that hangs for a year is notified of thousands of times."""
        for known, some in self._as_known((run for run in as_of if self.runs[run].stands is None), str):
            for run, asked in deadlines_judge.standing({run: as_of[run] for run in some}, log, known).items():
                self.runs[run].stands = asked
        return {run: stands for run in as_of if (stands := self.runs[run].stands) is not None}

    def _decided(self, memory: Memory, failures: Failures, at: datetime, seq: int) -> None:
        for name, error in failures.rules.items():
            memory.failures.append(RuleFailure(rule=name, error=str(error), at=at, commit_seq=seq))
        for name, (error, events) in failures.events.items():
            failure = RuleFailure(rule=name, error=str(error), at=at, commit_seq=seq, events=tuple(events))
            memory.failures.append(failure)
        outcome = memory.outcome()
        self.recorder.take(outcome)
        self.works = self.take(Evaluation(outcome=outcome, failures=tuple(memory.failures))) and self.works
        for each in memory.deadlines:
            run = self.runs[each.run]
            run.due = None if each.due_us is None else moment(each.due_us if each.or_us is None else each.or_us)
            run.held_for = each.consumers
        for state in outcome.conditions:
            self.run_of[state.key] = run_id = str(state.instance.get("RunId", ""))
            self.runs[run_id].fires = True
        for _, key in outcome.conditions_gone:
            self.runs[self.run_of[key]].fires = False
        for _, kind, key in outcome.timers_gone:
            if kind is TimerKind.CLOSE and key in self.run_of:
                self.runs[self.run_of[key]].wake = None
        for timer in (t for t in outcome.timers if t.kind is TimerKind.CLOSE):
            self.runs[self.run_of[timer.key]].wake = timer


def _order(released: Released) -> datetime:
    return released.at


def _timer(rule: DeadlineRule, name: str, run: _Run) -> Timer:
    assert run.due is not None
    return Timer(rule=rule.name, kind=TimerKind.DEADLINE, key=name, due=run.due, consumers=run.held_for)

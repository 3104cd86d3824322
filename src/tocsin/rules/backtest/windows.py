"""A window rule on its way through the history: its looks, in the order of their instants.

    ticks      |    |    |    |    |    |          all of them, and commits at which it evaluates early
    holds                 ███                      what is read at once says where something holds
    looks                 |    |    |    |         from there on, until nothing is remembered of it any more

An evaluation at which nothing holds and nothing is remembered changes nothing, so it is left out. Ends of a ``for``
come in between;
they are evaluated by themselves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from tocsin.alerts.conditions import is_silent, wakes
from tocsin.errors import QueryError
from tocsin.kql.plan.windowahead import AheadPlan, ahead_plan
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import ConditionState
from tocsin.model.watermarks import SourceProgress
from tocsin.rules import history
from tocsin.rules.backtest.view import Recorder
from tocsin.rules.driver.evaluate import Evaluation, View, evaluate
from tocsin.rules.history import micros, moment
from tocsin.rules.index import matching_sql
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.ahead import Ahead, Foreseen, Moments
from tocsin.rules.kinds.window.evaluate import stands_for_others
from tocsin.rules.kinds.window.seen import row_key
from tocsin.rules.kinds.window.spec import WindowRule, WindowSpec
from tocsin.rules.kinds.window.ticks import after, tick
from tocsin.rules.ranges import commit
from tocsin.rules.spec.rule import of_spec
from tocsin.rules.timers import Released
from tocsin.state.interface import Outcome

AT_ONCE = 64
"""Looks that are evaluated together."""
FEW = 64
"""So few instants are not read at once."""
WIDE = 50_000
"""Rows of a window from which on reading them costs more than asking: these windows are asked one by one."""
_DEPENDS = "it depends on more than the rows of its window (Runs, now(), another table, an order of its own)"
_WIDE = f"its window holds more than {WIDE:,} rows"
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instants:
    """Ticks and commits in the order of their instants; ``rows`` of a commit that can matter, 0 of a tick."""

    times: Sequence[int]  # T, µs since the epoch
    seqs: Sequence[int]
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.times)

    def part(self, begin: int, end: int) -> _Instants:
        return _Instants(times=self.times[begin:end], seqs=self.seqs[begin:end], rows=self.rows[begin:end])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of the history: the commits in (lo, hi], and what is due up to ``end``."""

    lo: int
    hi: int
    rows: int
    end: datetime  # UTC
    share: float  # of the history that is done with it
    source_progress: SourceProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What was read of a step."""

    instants: _Instants
    ahead: Ahead | None
    why: str = ""  # it was not; '' where they are few
    failed: bool = False  # and smaller parts of it may be


class WindowReplay:
    """Evaluates one window rule. ``take`` is given each evaluation, and says whether to go on."""

    def __init__(
        self,
        rules: RuleSet,
        log: LogReader,
        recorder: Recorder,
        since: datetime,
        take: Callable[[Evaluation], bool],
        few: int = FEW,
        apart: Callable[[str, int], None] = lambda _reason, _evaluations: None,
    ) -> None:
        """``few`` instants are not read at once; ``apart`` is notified why others were not, and how many."""
        (rule,) = rules.rules.values()
        self._rule = of_spec(rule, WindowSpec)
        self._apart = apart
        self._window = self._rule.spec
        self._rules, self._log, self._recorder, self._take, self._few = rules, log, recorder, take, few
        self._plan: AheadPlan | None = None
        if isinstance(self._window.over, timedelta):
            self._plan = ahead_plan(self._window.query)
        self._next = micros(after(since, self._window.every))  # the next tick, µs since the epoch
        self._goes_on = True

    def play(self, steps: Iterable[Step]) -> Generator[Step]:
        """Walk through ``steps``, one after the other; each is yielded when it is done. The next one is read
        meanwhile.
        """
        coming = iter(steps)
        with ThreadPoolExecutor(1, thread_name_prefix="backtest") as reading:
            now = next(coming, None)
            read: Future[_Read] | None = None
            while now is not None and self._goes_on:
                known = {row_key(state) for state in self._states}
                this = read.result() if read is not None else self._read(now, self._next, known)
                self._next = max(self._next, micros(after(now.end, self._window.every)))
                following = next(coming, None)
                read = None
                if following is not None and this.ahead is not None:  # what may be remembered by then is known
                    may_be = known | this.ahead.may_hold
                    read = reading.submit(self._read, following, self._next, may_be)
                self._walk(now, this)
                yield now
                now = following

    def _read(self, step: Step, first: int, known: Collection[str]) -> _Read:
        """Of a step's instants, ticks from ``first`` on, what rows say at them, where that can be read at once."""
        instants = _instants(self._log, self._rule, step.lo, step.hi, first, micros(step.end))
        try:
            ahead, why = self._ahead(instants, step.rows, known)
            return _Read(instants=instants, ahead=ahead, why=why)
        except QueryError as e:
            return _Read(instants=instants, ahead=None, why=str(e), failed=True)

    def _ahead(self, instants: _Instants, rows: int, known: Collection[str]) -> tuple[Ahead | None, str]:
        """What rows say at ``instants``; or why that is not read at once, '' where they are few. Raises QueryError."""
        if len(instants) <= max(1, self._few):
            return None, ""
        if self._plan is None or self._wide(instants, rows):
            return None, _DEPENDS if self._plan is None else _WIDE
        return Ahead(self._rule, self._plan, Moments(times=instants.times, seqs=instants.seqs), known, self._log), ""

    def _walk(self, step: Step, read: _Read) -> None:
        instants = read.instants
        if read.failed:
            self._halves(instants, step.lo, step.rows, step.source_progress, read.why)
        else:
            if read.why:
                self._apart(read.why, len(instants))
            self._evaluate_range(instants, step.lo, read.ahead, step.source_progress)
        self._deadlines(micros(step.end) + 1, instants.seqs[-1] if len(instants) else step.lo, step.source_progress)

    @property
    def _states(self) -> Iterable[ConditionState]:
        return self._recorder.conditions(self._rule.name).values()

    def _halves(self, instants: _Instants, lo: int, rows: int, source_progress: SourceProgress, why: str) -> None:
        """What cannot be read at once, and ``why``: too much, or a row that cannot be evaluated. The evaluations
        themselves find out which.
        """
        half = len(instants) // 2
        for part in (instants.part(0, half), instants.part(half, len(instants))):
            try:
                ahead, wide = self._ahead(part, rows // 2, {row_key(state) for state in self._states})
            except QueryError as e:
                self._halves(part, lo, rows // 2, source_progress, str(e))
            else:
                if ahead is None:
                    self._apart(wide or why, len(part))
                self._evaluate_range(part, lo, ahead, source_progress)
            lo = part.seqs[-1]

    def _evaluate_range(
        self, instants: _Instants, lo: int, ahead: Ahead | None, source_progress: SourceProgress
    ) -> None:
        if ahead is not None:
            ahead.unfold()
        if ahead is None or ahead.crowded or any(stands_for_others(state) for state in self._states):
            self._evaluate_always(instants, lo, ahead, source_progress)
        else:
            self._evaluate_where_needed(instants, lo, ahead, source_progress)

    def _wide(self, instants: _Instants, rows: int) -> bool:
        assert isinstance(self._window.over, timedelta)
        span = max(1, instants.times[-1] - instants.times[0])
        return rows * (self._window.over // _US) // span > WIDE

    def _evaluate_always(
        self, instants: _Instants, lo: int, ahead: Ahead | None, source_progress: SourceProgress
    ) -> None:
        at_once = 1 if self._window.terms.hold else AT_ONCE  # the end of a `for` may come before the next evaluation
        foreseen = None if ahead is None else Foreseen(ahead=ahead)
        for number in range(0, len(instants), at_once):
            seen = instants.seqs[number - 1] if number else lo
            self._deadlines(instants.times[number], seen, source_progress)
            if not self._goes_on:
                return
            self._evaluate(instants.part(number, number + at_once), seen, source_progress, foreseen)

    def _evaluate_where_needed(
        self, instants: _Instants, lo: int, ahead: Ahead, source_progress: SourceProgress
    ) -> None:
        """Leaves out the evaluations that would change nothing.

        A key is evaluated where it begins to hold, and then, as long as something is remembered of it, until a tick
        changes
        nothing; from there on where it says something new, or at a time that the rule waits for.
        """
        known = {row_key(state): state for state in self._states}
        needs = dict.fromkeys(known, 0)  # row key → its next evaluation
        number = 0
        while self._goes_on:
            begin, keys = ahead.begins(number)
            number = min([begin, *needs.values()])
            if number == len(instants):
                return
            seen = instants.seqs[number - 1] if number else lo
            if self._deadlines(instants.times[number], seen, source_progress):
                known = {row_key(state): state for state in self._states}
                needs = dict.fromkeys(known, number)
                continue
            wanted = {key for key, when in needs.items() if when <= number} | (keys if begin == number else set())
            evaluated = Foreseen(
                ahead=ahead, keys=wanted, names=frozenset(known[key].key for key in wanted if key in known)
            )
            outcome = self._evaluate(instants.part(number, number + 1), seen, source_progress, evaluated)
            gone = {name for _, name in outcome.conditions_gone}
            changed = {row_key(state): state for state in outcome.conditions}
            known.update(changed)
            for key in wanted:
                state = known.get(key)
                if state is None or state.key in gone:
                    known.pop(key, None)
                    needs.pop(key, None)
                elif key in changed or instants.rows[number]:
                    needs[key] = number + 1
                else:
                    needs[key] = min(ahead.news(key, number), self._wakes(state, number, instants))
            number += 1

    def _wakes(self, state: ConditionState, number: int, instants: _Instants) -> int:
        wake = wakes(state, self._window.terms, moment(instants.times[number]))
        when = len(instants) if wake is None else bisect_left(instants.times, micros(wake))
        return min(when, self._next_row(number, instants)) if is_silent(state) else when

    def _next_row(self, number: int, instants: _Instants) -> int:
        """The first instant after ``number``, at which the whole window is empty, that may see a row in it."""
        where, values = matching_sql(self._rule.prefilter)
        lateness = self._window.lateness // _US
        table = self._log.select(
            "SELECT min(greatest(epoch_us(TimeGenerated) + $lateness, epoch_us(IngestedAt))) FROM ("
            "SELECT * FROM RunStatusChanged WHERE CommitSeq > $seen AND CommitSeq <= $last UNION ALL"
            " SELECT * FROM RunStatusChanged WHERE CommitSeq <= $seen AND TimeGenerated > make_timestamp($hi::BIGINT)"
            f") WHERE {where}",
            {
                "lateness": lateness, "seen": instants.seqs[number], "last": instants.seqs[-1],
                "hi": instants.times[number] - lateness, **values,
            },
        )  # fmt: skip
        first = table.column(0)[0].as_py()
        return len(instants) if first is None else max(number + 1, bisect_left(instants.times, first))

    def _deadlines(self, before: int, seen: int, source_progress: SourceProgress) -> bool:
        """What is due by itself before T = ``before``; the commits up to ``seen`` were there at the last instant.

        Returns whether there was any.
        """
        any_due = False
        while self._goes_on and (due := self._recorder.next_due()) is not None and micros(due) < before:
            found = self._log.select(
                "SELECT max(CommitSeq) FROM RunStatusChanged WHERE CommitSeq > $seen AND IngestedAt <= $due",
                {"seen": seen, "due": due.replace(tzinfo=None)},
            )
            seen = found.column(0)[0].as_py() or seen
            self._done(
                [Released(timer=t, at=t.due, commit_seq=seen) for t in self._recorder.due(due)],
                seen,
                source_progress,
                None,
            )
            any_due = True
        return any_due

    def _evaluate(
        self, evaluations: _Instants, seen: int, source_progress: SourceProgress, ahead: Foreseen | None
    ) -> Outcome:
        instants: list[CommitInfo | Released] = []
        for us, seq, rows in zip(evaluations.times, evaluations.seqs, evaluations.rows, strict=True):
            at = moment(us)
            if rows:
                instants.append(commit(seq, us, rows))
            else:
                instants.append(Released(timer=tick(self._window.every, at), at=at, commit_seq=seq))
        first = evaluations.seqs[0] - 1 if evaluations.rows[0] else seen
        return self._done(instants, first, source_progress, ahead)

    def _done(
        self,
        instants: Sequence[CommitInfo | Released],
        seen: int,
        source_progress: SourceProgress,
        ahead: Foreseen | None,
    ) -> Outcome:
        view = View(reader=self._log, state=self._recorder, source_progress=source_progress, ahead=ahead)
        evaluation = evaluate(self._rules, instants, seen, view)
        self._recorder.take(evaluation.outcome)
        self._goes_on = self._take(evaluation)
        return evaluation.outcome


def _instants(log: LogReader, rule: WindowRule, lo: int, hi: int, first: int, end: int) -> _Instants:
    """Ticks from ``first`` to ``end`` (µs since the epoch) and the commits in (lo, hi] at which the rule evaluates
    early.
    """
    rows_sql, bounds = history.commit_rows(lo, hi)
    every = rule.spec.every // _US
    ticks = range(first, end + 1, every)
    seqs = [lo] * len(ticks)
    table = log.select(
        "SELECT greatest(0, ceil((epoch_us(IngestedAt) - $first) / $every)::BIGINT) AS nth, max(CommitSeq) AS seq"
        f" FROM ({rows_sql}) GROUP BY nth",
        {**bounds, "first": first, "every": every},
    )
    for nth, seq in zip(*(c.to_pylist() for c in table.columns), strict=True):
        if nth < len(seqs):
            seqs[nth] = seq
    seen = accumulate(seqs, max)
    evaluations = [(t, 1, seq, 0) for t, seq in zip(ticks, seen, strict=True)]
    if rule.spec.evaluates_early:
        where, values = matching_sql(rule.prefilter)
        table = log.select(
            f"SELECT epoch_us(min(IngestedAt)), 0, CommitSeq, count(*) FROM ({rows_sql}) WHERE {where} GROUP BY CommitSeq",
            {**bounds, **values},
        )
        evaluations += zip(*(c.to_pylist() for c in table.columns), strict=True)
        evaluations.sort()
    times, _, seqs_, rows = zip(*evaluations, strict=True) if evaluations else ((), (), (), ())
    return _Instants(times=times, seqs=seqs_, rows=rows)

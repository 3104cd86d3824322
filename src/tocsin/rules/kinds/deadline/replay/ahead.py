"""What a backtest has read of the runs that it goes over: their histories, and at which commits they are computed.

    commits of a run     c1        c2               c3
    may pass before the next one    yes: computed    no: the deadline is dropped, or what fires is computed

Between two commits that bring something of a run nothing of it changes but time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.rules.deadline_table import Deadline
from tocsin.rules.history import micros, moment
from tocsin.rules.kinds.base import Part, Span
from tocsin.rules.kinds.deadline.due import When
from tocsin.rules.kinds.deadline.evaluate import Standing, standing
from tocsin.rules.kinds.deadline.replay.candidates import Candidate, wanted
from tocsin.rules.kinds.deadline.replay.histories import Known
from tocsin.rules.kinds.deadline.replay.histories import Span as Begins
from tocsin.rules.kinds.deadline.replay.lengths import Lengths
from tocsin.rules.kinds.deadline.runs import AsOf
from tocsin.rules.kinds.deadline.spec import DeadlineRule
from tocsin.rules.memory import Memory
from tocsin.rules.ranges import commit
from tocsin.rules.spec.rule import public_name

EVALUATIONS = 5_000
"""Commits of runs in a part."""
AT_ONCE = 500
"""Runs that are read together: those that began at about the same time, so little of the history is read for them."""
_T = TypeVar("_T")


class Ahead:
    """Runs, and what waits of them. One thread."""

    def __init__(self, rule: DeadlineRule, log: LogReader, since: datetime) -> None:
        baseline = rule.spec.baseline
        lengths = Lengths(baseline, log, micros(since)) if baseline is not None else None
        self._rule, self._name = rule.name, public_name(rule.name)
        self.known = Known(log, lengths)
        self.begins: dict[str, When] = {}  # runs that are computed when the rule comes into force
        self.evaluated: dict[int, list[tuple[str, bool]]] = {}  # by commit: runs, and whether they are computed
        self._waiting: set[str] = set()  # runs that have a deadline
        self._firing: dict[str, str] = {}  # instance → its run
        self._stands: dict[str, Standing] = {}

    def moved(self, seq: int, memory: Memory) -> list[str]:
        """Runs to be computed as of a commit; deadlines that cannot pass before the next one are dropped."""
        firing, found = set(self._firing.values()), []
        for run, computed in self.evaluated.get(seq, ()):
            self._stands.pop(run, None)
            if computed or run in firing:
                found.append(run)
            elif run in self._waiting:
                memory.put_deadline(Deadline(self._name, run, None))
        return found

    def note(self, memory: Memory) -> None:
        """What an evaluation decided."""
        for each in memory.deadlines:
            (self._waiting.discard if each.due_us is None else self._waiting.add)(each.run)
        for key, state in memory.changed(self._rule).items():
            if state is None:
                self._firing.pop(key, None)
            else:
                self._firing[key] = str(state.instance.get("RunId", ""))

    def as_known(self, each: Iterable[tuple[str, _T]]) -> Iterator[tuple[Known | None, list[_T]]]:
        """What is said of runs, by whether their histories are known."""
        by_known = sorted(each, key=lambda one: one[0] in self.known)
        for known, some in groupby(by_known, key=lambda one: one[0] in self.known):
            yield self.known if known else None, [what for _, what in some]

    def stand(self, as_of: AsOf, log: LogReader) -> dict[str, Standing]:
        """As ``evaluate.standing``. Asked once as of each commit that touched a run: one that hangs for a year is
        notified of thousands of times.
        """
        for known, some in self.as_known((run, run) for run in as_of if run not in self._stands):
            self._stands |= standing({run: as_of[run] for run in some}, log, known)
        return {run: self._stands[run] for run in as_of}

    def forget(self, runs: Iterable[str]) -> set[str]:
        """Forget those of ``runs`` of which nothing waits; the others are returned."""
        live = self._waiting.union(self._firing.values())
        kept = set()
        for run in runs:
            if run in live:
                kept.add(run)
            else:
                self.known.forget(run)
                self._stands.pop(run, None)
        return kept


def candidates(rule: DeadlineRule, log: LogReader, span: Span) -> Iterator[Part]:
    """The commits at which something can be said of a run, in order, with the histories of these runs."""
    ahead = Ahead(rule, log, span.since)
    line: list[tuple[int, int, str, bool]] = []  # seq, µs, run, computed
    last: dict[str, int] = {}
    begins: dict[str, Begins] = {}
    for found in wanted(log, rule.spec, span.since, span.until):
        for run, its in found.runs.items():
            some = list(_from(its, micros(span.since)))
            if some:
                last[run], begins[run] = some[-1].seq, found.begin
                if some[0].at_us < micros(span.since):
                    ahead.begins[run] = When(some.pop(0).seq, span.since)
                line += [(each.seq, each.at_us, run, each.evaluations) for each in some]
    line.sort()
    over: set[str] = set()
    fresh = set(ahead.begins)
    parts = [line[n : n + EVALUATIONS] for n in range(0, len(line), EVALUATIONS)] or [[]]
    for number, part in enumerate(parts, 1):
        fresh |= {run for _, _, run, _ in part if run in last and run not in over}
        _read(ahead.known, {run: last[run] for run in fresh if run not in ahead.known}, begins)
        fresh.clear()
        ahead.evaluated, commits = _commits(part)
        end = commits[-1].ingested_at if number < len(parts) else span.until - _US
        yield Part(commits=commits, end=end, share=number / len(parts), ahead=ahead)
        over |= {run for seq, _, run, _ in part if last[run] == seq}
        over = ahead.forget(over)


def _from(its: Sequence[Candidate], since_us: int) -> Sequence[Candidate]:
    """What counts of a run from a time on: the first commit after which a deadline can pass, and all later ones."""
    before = max((i for i, each in enumerate(its) if each.at_us < since_us), default=-1)
    first = next((i for i in range(max(before, 0), len(its)) if its[i].evaluations), None)
    return [] if first is None else its[first:]


def _read(known: Known, upto: AsOf, begins: dict[str, Begins]) -> None:
    """Read the histories of runs, those together that began together."""
    by_begin: dict[Begins, list[str]] = defaultdict(list)
    for run in sorted(upto):
        by_begin[begins[run]].append(run)
    for begin, runs in by_begin.items():
        for n in range(0, len(runs), AT_ONCE):
            known.read({run: upto[run] for run in runs[n : n + AT_ONCE]}, begin)


def _commits(part: Sequence[tuple[int, int, str, bool]]) -> tuple[dict[int, list[tuple[str, bool]]], list[CommitInfo]]:
    """The commits of a part, and which runs each touches. Their times never go back."""
    evaluated: dict[int, list[tuple[str, bool]]] = {}
    commits: list[CommitInfo] = []
    at_us = 0
    for seq, its in groupby(part, key=lambda each: each[0]):
        runs = list(its)
        at_us = max(at_us, min(us for _, us, _, _ in runs))
        evaluated[seq] = [(run, computed) for _, _, run, computed in runs]
        commits.append(commit(seq, at_us, len(runs)))
    return evaluated, commits


_US = moment(1) - moment(0)

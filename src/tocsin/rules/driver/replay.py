"""Takes a driver through a history: the same instants as live, by another clock and from another source.

    part      c1   c2         c3        the commits that can matter, read ahead by the rule's kind
    timers            D1   D2           each at its due time, or when the last of its consumers was reached again
    clock     c1   c2 D1   D2 c3        it jumps from one to the next

Commits are evaluated together up to the next timer that decides about later ones. Timers that decide about none are
evaluated after them, each at its own T.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.clock import ManualClock
from tocsin.logstore.interface import CommitInfo, Head, LogReader
from tocsin.model.instants import Timer
from tocsin.model.remembered import Attempt
from tocsin.rules.driver.driver import Driver, Pace, Read, Stores, Write
from tocsin.rules.driver.instants import Instants, in_order
from tocsin.rules.driver.outages import OutageCalendar
from tocsin.rules.history import moment
from tocsin.rules.kinds.base import Part
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.memory import StateView
from tocsin.rules.spec.rule import Rule
from tocsin.rules.timers import Released

_US = timedelta(microseconds=1)


class History:
    """The commits of a history up to where its clock stands."""

    def __init__(self, clock: ManualClock, seq: int) -> None:
        """``seq`` is the last commit before it begins."""
        self._clock = clock
        self._before = Head(seq=seq, ingested_at=clock.now())
        self._commits: Sequence[CommitInfo] = ()

    def bring(self, commits: Sequence[CommitInfo]) -> None:
        """The next ones; those before have been evaluated."""
        if self._commits:
            last = self._commits[-1]
            self._before = Head(seq=last.seq, ingested_at=last.ingested_at)
        self._commits = commits

    def next_at(self, after: int) -> datetime | None:
        """When the commit after ``after`` came."""
        first = bisect_right(self._commits, after, key=_seq)
        return self._commits[first].ingested_at if first < len(self._commits) else None

    def head(self) -> Head:
        """As ``LogReader.head``, when the rule comes into force: what comes then is still to be evaluated."""
        return self._before

    def fence(self, at: datetime) -> Head:
        """As ``LogStore.fence``."""
        upto = bisect_right(self._commits, at, key=_at)
        last = self._commits[upto - 1] if upto else self._before
        return Head(seq=last.seq, ingested_at=last.ingested_at)

    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        """As ``LogReader.commits``; all of them, since they were read together."""
        first = bisect_right(self._commits, after, key=_seq)
        return self._commits[first : bisect_right(self._commits, self._clock.now(), key=_at)]


def _seq(commit: CommitInfo) -> int:
    return commit.seq


def _at(commit: CommitInfo) -> datetime:
    return commit.ingested_at


class Replay:
    """Evaluates one rule over a history. One thread."""

    def __init__(
        self,
        rule: Rule,
        reader: LogReader,
        view: StateView,
        begin: Head,
        outages: OutageCalendar,
        read: Read,
        write: Write,
    ) -> None:
        """The rule comes into force at ``begin``: the last commit before, and the time. ``write`` is given what each
        step decided.
        """
        self._kind, self._rule, self._outages = kind_of(rule), rule, outages
        self._clock = ManualClock(begin.ingested_at)
        self._log = History(self._clock, begin.seq)
        stores = Stores(log=self._log, view=view, timers=tuple, reader=reader)
        self._driver = Driver(
            stores,
            self._clock,
            lambda: outages.source_progress(self._clock.now()),
            write,
            cursor=begin.seq,
            floor=begin.ingested_at,
            pace=Pace(t_of=self._t_of, order=self._order),
        )
        self._driver.read = read

    def play(self, parts: Iterable[Part], goes_on: Callable[[], bool]) -> Iterator[Part]:
        """Go through ``parts``, while ``goes_on``; each is yielded when it is done."""
        for part in parts:
            self._log.bring(part.commits)
            self._driver.read.ahead = part.ahead
            if not self._driver.rules.rules:
                self._driver.reload(RuleSet({self._rule.public_name: self._rule}))
            while goes_on() and (at := self._next(part.end)) is not None:
                self._clock.set(at)
                while goes_on() and self._driver.step() is not None:
                    pass
            if not goes_on():
                return
            self._clock.set(max(part.end, self._clock.now()))
            yield part

    def _next(self, end: datetime) -> datetime | None:
        """Up to when the driver goes next; None: nothing more before ``end``."""
        first = self._log.next_at(self._driver.cursor)
        apart: timedelta | None = self._kind.apart(self._rule)
        timers = [(timer.due, self._decides(timer)) for timer in self._driver.timers.coming]
        soon = [due for due, decides in timers if decides]
        soon += filter(None, [self._driver.deadlines.next_due()])
        soon += filter(None, [self._outages.next_end(self._clock.now()) if self._driver.held else None])
        limit = min([end, *soon])
        quiet = min((due for due, decides in timers if not decides), default=None)
        if first is not None and first <= limit and not (quiet is not None and quiet < first):
            limit = limit if apart is None else min(limit, first + apart)
            return max(limit, first, self._clock.now())
        if first is not None and first <= limit:
            return max(first - _US, self._clock.now())
        any_due = limit in soon or (quiet is not None and quiet <= limit)
        return max(limit, self._clock.now()) if any_due else None

    def _decides(self, timer: Timer) -> bool:
        decides: bool = self._kind.decides(self._rule, timer, self._driver.read.ahead)
        return decides

    def _t_of(self, timer: Timer, now: datetime) -> datetime:
        """When it is due, or what set it came, or its consumers were reached again."""
        came = max(timer.due, moment(timer.data.came_us if isinstance(timer.data, Attempt) else 0))
        return min(now, self._outages.reached(came, timer.consumers))

    def _order(
        self, commits: Sequence[CommitInfo], released: Sequence[Released], cursor: int, floor: datetime
    ) -> Instants:
        decide = [each for each in released if self._decides(each.timer)]
        others = [each for each in released if not self._decides(each.timer)]
        last = commits[-1].seq if commits else cursor
        return [*in_order(commits, decide, cursor, floor), *(replace(each, commit_seq=last) for each in others)]

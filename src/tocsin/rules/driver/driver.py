"""The one driver: it alone knows which instant comes next, and what waits for a watermark.

    commits   c7(10.001)   c8(10.020)            c9(10.031)
    timers                        D(10.025)
    order     c7, c8, D, c9       each at its T; at equal T the commit first

Before a timer is evaluated the log store is fenced at its T, so that no later commit can be stamped before it. What a step
decided is written by the owner, in one transaction with the cursor; only then the driver goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from tocsin.clock import EPOCH, Clock
from tocsin.logstore.interface import CommitInfo, Head, LogReader
from tocsin.model.instants import Timer
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.deadline_table import DeadlineTable
from tocsin.rules.driver.evaluate import Evaluation, View, evaluate, schedule_deadlines, standing
from tocsin.rules.driver.instants import Instants, in_order, until_tick
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.driver.timer_table import TimerTable
from tocsin.rules.kinds.registry import kinds
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.memory import StateView
from tocsin.rules.timers import Released, due_timers, live_t
from tocsin.state.interface import Outcome

STEP_COMMITS = 1000
"""Commits of one step, at most."""
STEP_ROWS = 20_000
"""Rows of one step, at most (a single larger commit is still one step)."""

Write = Callable[[Outcome, Evaluation | None], None]
"""Makes an outcome durable. An error leaves the driver as it was: the step is done again."""


class Commits(Protocol):
    """Where commits come from: the log store, or a history."""

    def head(self) -> Head:
        """As ``LogReader.head``."""

    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        """As ``LogReader.commits``."""

    def fence(self, at: datetime) -> Head:
        """As ``LogStore.fence``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What a driver works on."""

    log: Commits
    view: StateView  # of the state, with what was written in it
    timers: Callable[[], Iterable[Timer]]  # those of the state
    reader: LogReader  # what rules read


Order = Callable[[Sequence[CommitInfo], Sequence[Released], int, datetime], Instants]
"""As ``instants.in_order``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How instants follow each other: live, unless said otherwise."""

    t_of: Callable[[Timer, datetime], datetime] = live_t  # T of a timer that is released now
    order: Order = in_order


@dataclass(slots=True, kw_only=True)
class Read:
    """What a replay has read already, and what it shows."""

    ahead: object = None  # of the kind that it is about
    shown: Collection[str] | None = None  # columns of events in intents; None: all


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """What a step evaluated."""

    instants: Instants
    evaluation: Evaluation

    @property
    def released(self) -> list[Released]:
        """The timers among its instants."""
        return [instant for instant in self.instants if isinstance(instant, Released)]


class Driver:
    """Evaluates the rules over the commits and timers that are there. One thread."""

    def __init__(
        self,
        stores: Stores,
        clock: Clock,
        source_progress: Callable[[], SourceProgress],
        write: Write,
        *,
        cursor: int = 0,
        floor: datetime = EPOCH,
        pace: Pace | None = None,
    ) -> None:
        """``cursor`` is the last commit that was evaluated, ``floor`` the T of the last instant."""
        self._stores, self._clock, self._source_progress, self._write = stores, clock, source_progress, write
        self._pace = pace or Pace()
        self.read = Read()
        self.rules = RuleSet({})
        self.timers = TimerTable(stores.timers())
        self.deadlines = DeadlineTable()  # of runs: they follow from the log, and are in memory only
        self.cursor, self.floor = cursor, floor
        self._shortest_wait: timedelta | None = None
        self._scheduled: dict[str, str] = {}  # what was scheduled → what it followed from
        self._scheduled_for: RuleSet | None = None
        if floor > EPOCH:
            stores.log.fence(floor)

    def reload(self, rules: RuleSet) -> None:
        """Have ``rules`` come into force. A reload is an instant: what it decides is written before anything is
        evaluated by the new rules.
        """
        view, head = self._stores.view, self._stores.log.head().seq
        new = self.cursor == 0 and not view.rules()
        outcome = reconcile(
            rules,
            view.rules(),
            head,
            now=max(self._clock.now(), self.floor),
            timers=self.timers,
            conditions=view.conditions,
        )
        self._done(replace(outcome, row_cursor=head) if new else outcome)
        if outcome.rules_gone or outcome.rules_renamed:
            self.timers = TimerTable(self._stores.timers())
        self.rules = rules
        waits = (kind.shortest_wait(rules.of(kind)) for kind in kinds())
        self._shortest_wait = min((wait for wait in waits if wait is not None), default=None)
        self.schedule()

    def schedule(self) -> None:
        """Set what follows from the log for rules that are new or mean something else; forget that of rules that are
        gone.
        """
        if self._scheduled_for is self.rules:
            return
        wanted = standing(self.rules)
        for name in [name for name, meaning in self._scheduled.items() if wanted.get(name) != meaning]:
            self.deadlines.forget(name)
            del self._scheduled[name]
        fresh = wanted.keys() - self._scheduled.keys()
        if fresh:
            self.deadlines.unsettle()
            at = max(self._clock.now(), self.floor)
            evaluation = schedule_deadlines(self.rules, fresh, at, self.cursor, self._seen(), list(self.timers))
            self._done(evaluation.outcome, evaluation)
            self._scheduled |= {name: wanted[name] for name in fresh}
        self._scheduled_for = self.rules

    def step(self) -> Stepped | None:
        """Evaluate what is there now; None where there is nothing. Raises what the log and ``write`` raise."""
        self.schedule()
        now, seen = self._clock.now(), self._seen()
        released = due_timers(
            [*self.timers.past(now), *self.deadlines.past(now)],
            now,
            seen.source_progress,
            self.cursor,
            self._pace.t_of,
        )
        fenced = self._stores.log.fence(max(max(r.at for r in released), self.floor)) if released else None
        commits = self._commits()
        if (
            fenced is not None and commits and commits[-1].seq < fenced.seq
        ):  # the others wait for the commits before them
            released = [r for r in released if r.at <= commits[-1].ingested_at]
        instants = until_tick(self._pace.order(commits, released, self.cursor, self.floor), self._shortest_wait)
        if not instants:
            return None
        evaluation = evaluate(self.rules, instants, self.cursor, seen, self.deadlines.is_settled)
        self._done(evaluation.outcome, evaluation)
        self.floor = max(
            [self.floor, *(each.at if isinstance(each, Released) else each.ingested_at for each in instants)]
        )
        return Stepped(instants=instants, evaluation=evaluation)

    @property
    def held(self) -> int:
        """How many timers are past due and wait for a watermark."""
        return self.timers.held + self.deadlines.held

    @property
    def last_waiting(self) -> datetime | None:
        """The latest due time among those."""
        return max(filter(None, (self.timers.last_waiting(), self.deadlines.last_waiting())), default=None)

    @property
    def next_due(self) -> datetime | None:
        """When the next timer that is not past yet is due."""
        return min(filter(None, (self.timers.next_due(), self.deadlines.next_due())), default=None)

    def _seen(self) -> View:
        return View(
            reader=self._stores.reader,
            state=self._stores.view,
            source_progress=self._source_progress(),
            ahead=self.read.ahead,
            shown=self.read.shown,
        )

    def _commits(self) -> Sequence[CommitInfo]:
        found = self._stores.log.commits(self.cursor, STEP_COMMITS)
        rows = 0
        for i, commit in enumerate(found):
            rows += commit.rows
            if i and rows > STEP_ROWS:
                return found[:i]
        return found

    def _done(self, outcome: Outcome, evaluation: Evaluation | None = None) -> None:
        self._write(outcome, evaluation)
        if outcome.row_cursor is not None:
            self.cursor = outcome.row_cursor
        self.timers.take(outcome)
        if evaluation is not None:
            self.deadlines.take(evaluation.deadlines, evaluation.settles)

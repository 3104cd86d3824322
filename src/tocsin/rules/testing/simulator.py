"""A small tocsin in memory, moved through time by hand: the production engine for inline tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType

from tocsin.clock import EPOCH, ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import MAX_CLOCK_SKEW, Batch, Commit, MappedEvent, MappedEvents, MetricPoint
from tocsin.model.instants import Timer
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.driver.driver import Driver, Stores
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.driver.timer_table import Key, key_of
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.steady import Steady
from tocsin.rules.language import test_tables as testtables
from tocsin.rules.spec.rule import Rule
from tocsin.state.evaluation import CachedView
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

CONSUMER = "test"
HEARTBEAT = "heartbeat"
"""An event that has it is a heartbeat."""
METRICS = "metrics"
"""An event that has it brings these values, by name, and no status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened at one instant."""

    at: datetime
    commit: Commit | None = None
    timers: tuple[Timer, ...] = ()
    evaluation: Evaluation


class Simulator:
    """Real stores in memory and a clock that stands until it is moved. Everybody is always reached."""

    def __init__(
        self,
        rules: RuleSet,
        start: datetime,
        tables: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
        state: SqliteState | None = None,
    ) -> None:
        """``state`` is one to be used again: what it remembers is forgotten first; it stays open."""
        self.clock = ManualClock(start)
        self._stack = ExitStack()
        self.log = DuckLogStore.open(None, clock=self.clock, max_clock_skew=MAX_CLOCK_SKEW)
        self._stack.callback(self.log.close)
        if state is None:
            self._state = SqliteState.open(None, clock=self.clock)
            self._stack.callback(self._state.close)
        else:
            self._state = state
            _forget(state)
        self.rules = rules = _with_rows(rules, tables or {})
        for rule in rules.rules.values():
            for name, columns in rule.reference.items():
                self.log.set_table(name, testtables.table((tables or {}).get(name, ()), columns))
        self.consumers: set[str] = {CONSUMER}
        # What thousands of ticks read is kept in memory, and in step with what is written.
        self._reader, self._view = Steady(self.log), CachedView(self._state)
        self._unwritten: dict[Key, Timer] = {}
        stores = Stores(log=self.log, view=self._view, timers=self._state.timers, reader=self._reader)
        self._driver = Driver(stores, self.clock, self._source_progress, self._write)
        self._driver.reload(rules)

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def state(self) -> SqliteState:
        """The state as it is now."""
        if self._unwritten:
            self._keep(Outcome())
        return self._state

    def advance(self, to: datetime) -> list[Step]:
        """Move the clock to ``to``, evaluating what falls due on the way and then."""
        steps: list[Step] = []
        while (due := self._driver.next_due) is not None and due <= to:
            self.clock.set(max(due, self.clock.now()))
            steps += self._steps()
        self.clock.set(max(to, self.clock.now()))
        return steps

    def arrive(self, events: Sequence[Mapping[str, object]]) -> list[Step]:
        """Commit ``events`` (columns by name, EventId among them) now, and evaluate them and what is due then."""
        commit = self.log.append([self._batch(events)])
        self._reader.turned()
        first, *more = self._steps() or [Step(at=self.clock.now(), evaluation=Evaluation(outcome=Outcome()))]
        return [replace(first, commit=commit), *more, *self.advance(self.clock.now())]

    def _steps(self) -> list[Step]:
        """All that is there now."""
        steps: list[Step] = []
        while (done := self._driver.step()) is not None:
            timers = tuple(each.timer for each in done.released)
            steps.append(Step(at=self.clock.now(), timers=timers, evaluation=done.evaluation))
        return steps

    def _batch(self, events: Sequence[Mapping[str, object]]) -> Batch:
        groups: dict[tuple[str, bool], list[MappedEvent]] = {}
        for event in events:
            columns = {name: value for name, value in event.items() if name not in _APART and value is not None}
            time = event.get("TimeGenerated")
            unknown = "WillRetry" in event and event["WillRetry"] is None
            consumer = str(event.get("Consumer", CONSUMER))
            groups.setdefault((consumer, unknown), []).append(
                MappedEvent(
                    source=str(event.get("Source", CONSUMER)),
                    event_id=str(event["EventId"]),
                    time=time if isinstance(time, datetime) else None,
                    columns=columns,
                    raw=b"{}",
                    heartbeat=bool(event.get(HEARTBEAT)),
                    metrics=_points(event.get(METRICS)),
                )
            )
        self.consumers |= {consumer for consumer, _ in groups}
        received = (self.clock.now() - EPOCH).total_seconds() * 1_000_000
        return Batch(
            mapped=tuple(
                MappedEvents(consumer=consumer, events=found, received_us=round(received), retries_unknown=unknown)
                for (consumer, unknown), found in groups.items()
            )
        )

    def _source_progress(self) -> SourceProgress:
        now = self.clock.now()
        return SourceProgress(
            watermarks=dict.fromkeys(self.consumers, now), kinds=dict.fromkeys(self.consumers, "http")
        )

    def _write(self, outcome: Outcome, _: Evaluation | None) -> None:
        if replace(outcome, timers=(), timer_t=None) == Outcome():  # a tick that changed nothing: when the next one is
            self._unwritten |= {key_of(timer): timer for timer in outcome.timers}
        else:
            self._keep(outcome)
        self._view.written(outcome)

    def _keep(self, outcome: Outcome) -> None:
        new = {key_of(timer) for timer in outcome.timers} | {
            (r, str(kind), key) for r, kind, key in outcome.timers_gone
        }
        late = [
            timer for key, timer in self._unwritten.items() if key not in new and self._driver.timers.get(key) == timer
        ]
        self._unwritten = {}
        self._state.commit(replace(outcome, timers=(*late, *outcome.timers)), self.clock.now())


def _forget(state: SqliteState) -> None:
    """Nothing of an earlier story may count. What it notified stays in the outbox, which nobody reads here."""
    timers = tuple((t.rule, str(t.kind), t.key) for t in state.timers())
    state.commit(Outcome(row_cursor=0, rules_gone=tuple(state.rules()), timers_gone=timers), EPOCH)


def _with_rows(rules: RuleSet, tables: Mapping[str, Sequence[Mapping[str, object]]]) -> RuleSet:
    """Rules for each row of a table, over the rows that the test gives. Raises ValueError where these are wrong."""

    def rows(rule: Rule, table: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = testtables.table(tables.get(table, ()), rule.reference[table]).to_pylist()
        return found

    return RuleSet({name: kind_of(rule).with_rows(rule, rows) for name, rule in rules.rules.items()})


_APART = frozenset({HEARTBEAT, METRICS, "Source", "EventId", "TimeGenerated", "Consumer", "TimeGiven"})


def _points(metrics: object) -> tuple[MetricPoint, ...]:
    if not isinstance(metrics, Mapping):
        return ()
    return tuple(
        MetricPoint(name=str(name), value=value if isinstance(value, str) else float(value))
        for name, value in metrics.items()
    )

"""Rules from text, and a small tocsin in memory that says what they notify."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest

from tocsin.clock import EPOCH, ManualClock
from tocsin.config.yaml.durations import parse_duration
from tocsin.kql.schema import Schema, schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.compile.load import load_rules
from tocsin.rules.deadline_table import DeadlineTable
from tocsin.rules.driver.evaluate import Evaluation, View, evaluate, schedule_deadlines, standing
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.timers import due_timers
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
Load = Callable[[str], RuleSet]

LIMITS = {"experiment": "string", "longest": "long", "team": "string"}
LIMITS_ROWS: list[dict[str, Any]] = [
    {"experiment": "churn", "longest": 6, "team": "ranking"},
    {"experiment": "fraud", "longest": 2, "team": "risk"},
]
Loaded = Callable[..., RuleSet]

FAILED = """
rules:
  - name: failed
    when: {status: Failed}
"""


@pytest.fixture(scope="session")
def schema() -> Schema:
    return schema_with({"owners": {"ExperimentName": "string", "team": "string"}, "limits": LIMITS})


@pytest.fixture
def load(tmp_path: Path, schema: Schema) -> Load:
    """Rules from the text of one file."""

    def loaded(text: str) -> RuleSet:
        path = tmp_path / "rules.yaml"
        path.write_text(dedent(text))
        return load_rules([path], schema, names={path: "rules.yaml"})

    return loaded


@pytest.fixture
def table(tmp_path: Path) -> Loaded:
    """Rules over a table ``limits``."""

    def loaded(
        text: str, rows: Sequence[Mapping[str, Any]] = LIMITS_ROWS, columns: Mapping[str, str] = LIMITS
    ) -> RuleSet:
        path = tmp_path / "rules.yaml"
        path.write_text(dedent(text))
        limits = pa.Table.from_pylist([dict(row) for row in rows]) if rows else pa.table({})
        return load_rules(
            [path], schema_with({"limits": dict(columns)}), names={path: "rules.yaml"}, tables={"limits": limits}
        )

    return loaded


@dataclass
class Engine:
    """Log and state, evaluated only when a test says so. Times are ``5m`` after noon."""

    clock: ManualClock
    log: DuckLogStore
    state: SqliteState
    rules: RuleSet
    kinds: dict[str, str] = field(default_factory=lambda: {"test": "http"})
    first_starts: dict[str, datetime] = field(default_factory=dict)
    watermarks: dict[str, datetime | None] | None = None  # None: everybody has reported up to now
    evaluations: list[Evaluation] = field(default_factory=list)
    number: int = 0
    outages: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)
    deadlines: DeadlineTable = field(default_factory=DeadlineTable)

    def use(self, rules: RuleSet) -> None:
        """A reload."""
        self.rules = rules
        outcome = reconcile(
            rules,
            self.state.rules(),
            self.log.head().seq,
            now=self.clock.now(),
            timers=self.state.timers(),
            conditions=self.state.conditions,
        )
        self.state.commit(outcome, self.clock.now())
        self.restart()

    def restart(self) -> None:
        """As after a start: what is kept in memory is recreated."""
        self.deadlines = DeadlineTable()
        names = standing(self.rules).keys()
        if not names:
            return
        now, cursor = self.clock.now(), self.state.row_cursor()
        self._done(schedule_deadlines(self.rules, names, now, cursor, self.seen(), self.state.timers()))

    def seen(self) -> View:
        return View(reader=self.log, state=self.state, source_progress=self.source_progress())

    def source_progress(self) -> SourceProgress:
        marks = self.watermarks if self.watermarks is not None else dict.fromkeys(self.kinds, self.clock.now())
        return SourceProgress(watermarks=marks, first_starts=self.first_starts, kinds=self.kinds, outages=self.outages)

    def at(self, text: str) -> "Engine":
        """Move the clock; nothing is evaluated on the way."""
        self.clock.set(NOON + parse_duration(text))
        return self

    def store(self, *events: Mapping[str, object]) -> None:
        """Commit events without evaluating them."""
        mapped = []
        for event in events:
            self.number += 1
            columns = {"RunId": "r1", "Status": "Failed", "WillRetry": False, **event}
            time = columns.pop("TimeGenerated", self.clock.now())
            if isinstance(time, str):
                time = NOON + (-1 if time.startswith("-") else 1) * parse_duration(time.removeprefix("-"))
            assert time is None or isinstance(time, datetime)
            mapped.append(
                MappedEvent(
                    source=str(columns.pop("Source", "trainer")),
                    event_id=str(columns.pop("EventId", f"e{self.number}")),
                    time=time,
                    columns={k: v for k, v in columns.items() if k not in ("Consumer", "heartbeat") and v is not None},
                    heartbeat=bool(columns.get("heartbeat")),
                    raw=b'{"secret": 1}',
                )
            )
        received = round((self.clock.now() - EPOCH).total_seconds() * 1_000_000)
        by_consumer: dict[str, list[MappedEvent]] = {}
        for made, event in zip(mapped, events, strict=True):
            by_consumer.setdefault(str(event.get("Consumer", "test")), []).append(made)
        for name in by_consumer:
            self.kinds.setdefault(name, "http")
        self.log.append([
            Batch(mapped=tuple(
                MappedEvents(consumer=name, events=found, received_us=received, retries_unknown=True)
                for name, found in by_consumer.items()
            ))
        ])  # fmt: skip

    def evaluate(self, at_once: int = 1000) -> None:
        """Evaluate the commits that wait, so many at once."""
        while commits := self.log.commits(after := self.state.row_cursor(), at_once):
            settled = self.deadlines.is_settled
            self._done(evaluate(self.rules, commits, after, self.seen(), settled=settled))

    def tick(self) -> None:
        """Evaluate what waits and then the timers that are due now."""
        self.evaluate()
        now = self.clock.now()
        head = self.log.fence(now)
        released = due_timers([*self.state.timers(), *self.deadlines.past(now)], now, self.source_progress(), head.seq)
        self._done(evaluate(self.rules, released, self.state.row_cursor(), self.seen()))

    def held(self) -> int:
        now, progress = self.clock.now(), self.source_progress()
        return sum(t.due <= now and not progress.has_reached(t.due, t.consumers) for t in self.state.timers())

    def _done(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)
        self.state.commit(evaluation.outcome, self.clock.now())
        self.deadlines.take(evaluation.deadlines, evaluation.settles)

    def come(self, *events: Mapping[str, object]) -> int:
        """Store, evaluate, and say how much has been notified in all."""
        self.store(*events)
        self.evaluate()
        return len(self.notified())

    def intents(self, kind: IntentKind) -> list[Intent]:
        return [i for e in self.evaluations for i in e.outcome.intents if i.kind is kind]

    def notified(self) -> list[Intent]:
        return self.intents(IntentKind.FIRED)

    def resolved(self) -> list[Intent]:
        return self.intents(IntentKind.RESOLVED)

    def summaries(self) -> list[Intent]:
        return self.intents(IntentKind.SUMMARY)


@pytest.fixture
def clock() -> ManualClock:
    """An hour after the noon at which histories begin."""
    return ManualClock(NOON + timedelta(hours=1))


@pytest.fixture
def log(clock: ManualClock) -> Iterator[DuckLogStore]:
    """One store for all examples of a property."""
    store = DuckLogStore.open(None, clock=clock)
    yield store
    store.close()


@pytest.fixture
def engine(load: Load) -> Iterator[Callable[..., Engine]]:
    """Makes an engine with rules from text."""
    with ExitStack() as stack:

        def made(text: str = FAILED) -> Engine:
            clock = ManualClock(NOON)
            log = DuckLogStore.open(None, clock=clock)
            stack.callback(log.close)
            state = SqliteState.open(None, clock=clock)
            stack.callback(state.close)
            new = Engine(clock=clock, log=log, state=state, rules=RuleSet())
            new.use(load(text))
            return new

        yield made


@pytest.fixture
def using(engine: Callable[..., Engine], table: Loaded) -> Callable[..., Engine]:
    """An engine with rules over a table ``limits``."""

    def made(text: str, rows: Sequence[Mapping[str, Any]] = LIMITS_ROWS) -> Engine:
        e = engine("rules: []")
        e.use(table(text, rows))
        return e

    return made


@pytest.fixture(scope="session")
def rows_schema(schema: Schema) -> Iterator[tuple[DuckLogStore, Schema]]:
    """A store that holds one event, and the schema."""
    clock = ManualClock(NOON)
    store = DuckLogStore.open(None, clock=clock)
    event = MappedEvent(source="a", event_id="e", time=NOON, columns={"RunId": "r", "Status": "Failed"}, raw=b"{}")
    store.append([Batch(mapped=(MappedEvents(consumer="test", events=[event], received_us=0),))])
    yield store, schema
    store.close()

"""One story notified three ways: live by the evaluator, as an inline test, and by a backtest of what the live one
stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tocsin.app.engine.evaluator import Consumers, Evaluator
from tocsin.clock import EPOCH, ManualClock
from tocsin.config.yaml.document import load
from tocsin.errors import ConfigurationError, Problem
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.alert import Phase
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.backtest.run import backtest
from tocsin.rules.compile.load import load_documents
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.rule import Rule
from tocsin.rules.testing.run import run_tests
from tocsin.rules.testing.simulator import CONSUMER, HEARTBEAT
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

START = datetime(2026, 1, 5, 12, tzinfo=EPOCH.tzinfo)
SECOND, US = timedelta(seconds=1), timedelta(microseconds=1)
TABLES: dict[str, list[dict[str, Any]]] = {
    "limits": [{"experiment": "churn", "minutes": 25, "times": 2}, {"experiment": "rank", "minutes": 50, "times": 3}],
    "nightlies": [
        {"experiment": "churn", "cron": "0 * * * *", "grace": "10m"},
        {"experiment": "rank", "cron": "30 */2 * * *", "grace": "45m"},
    ],
}
COLUMNS = {
    "limits": {"experiment": "string", "minutes": "long", "times": "long"},
    "nightlies": {"experiment": "string", "cron": "string", "grace": "string"},
}
CALENDARS = {"company": Calendar(dates=frozenset({(START + timedelta(days=1)).date()}))}
CONSUMERS = (CONSUMER, "b")

Said = tuple[datetime, str, str, str, str]
"""T, kind, instance, run, value."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What comes at once, in columns by name; times in seconds from the start."""

    at: int
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Moment:
    """What is expected at a time: how often something was notified up to it, how many ends, and what fires."""

    at: int
    notified: int
    resolved: int
    firing: Sequence[Mapping[str, object]]


class Crash(Exception):
    """The process ends before a state transaction is written."""


def rules_of(bodies: Mapping[str, str], defaults: str = "", tests: Sequence[Mapping[str, object]] = ()) -> RuleSet:
    """Rules by their bodies, in flow or block style, with ``tests`` for each of them."""
    lines = [f"defaults: {defaults}"] if defaults else []
    lines.append("rules:")
    for name, body in bodies.items():
        lines.append(f"  - name: {name}")
        lines += [f"    {line}" for line in body.strip().splitlines()]
        lines += [f"    tests: {json.dumps(tests)}"] if tests else []
    problems: list[Problem] = []
    tables = {name: pa.Table.from_pylist(rows) for name, rows in TABLES.items()}
    document = load("\n".join(lines) + "\n", "rules.yaml")
    found = load_documents([document], schema_with(COLUMNS), problems, tables, CALENDARS, timezone="UTC")
    if problems:
        raise ConfigurationError(problems)
    return found


@dataclass
class Live:
    """The evaluator over real stores, looked after at each time at which something is due; it may end, crash and be
    changed.
    """

    bodies: Mapping[str, str]
    path: Path
    defaults: str = ""
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    intents: list[Intent] = field(default_factory=list)
    moments: dict[str, list[Moment]] = field(default_factory=dict)
    generation: int = 0  # how often the rules got other names
    words: int = 0  # how often they got other words
    crashes: int = -1  # so many transactions are still written; -1: all
    state: SqliteState | None = None
    _read: tuple[int, int] = (-1, -1)
    _in_force: RuleSet = field(default_factory=lambda: RuleSet({}))

    def __post_init__(self) -> None:
        self.path.unlink(missing_ok=True)
        self.log = DuckLogStore.open(None, clock=self.clock)
        for name, rows in TABLES.items():
            self.log.set_table(name, pa.Table.from_pylist(rows))
        self.begin()

    def close(self) -> None:
        if self.state is not None:
            self.state.close()
        self.log.close()

    # -- what happens to it --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A start, be it after an end or a crash."""
        self.crashes = -1
        if self.state is not None:
            self.state.close()
        self.state = SqliteState.open(self.path, clock=self.clock)
        write = self.state.commit

        def commit(outcome: Outcome, now: datetime) -> None:
            if self.crashes == 0:
                raise Crash
            self.crashes -= 1
            write(outcome, now)
            self.intents += outcome.intents

        setattr(self.state, "commit", commit)  # noqa: B010 - it writes as ever, but for a crash
        self.evaluator = Evaluator(
            self.log, self.state, Metrics(), self.clock, Consumers(source_progress=self._source_progress), lambda: None
        )  # fmt: skip
        self.evaluator._reload(self._rules())

    def renamed(self) -> None:
        """Each rule gets another name, and says which it had."""
        self.generation += 1
        self.evaluator._reload(self._rules())

    def reworded(self) -> None:
        """A cosmetic edit."""
        self.words += 1
        self.evaluator._reload(self._rules())

    def advance(self, to: datetime) -> None:
        """Whatever is due up to ``to`` is evaluated when it is due."""
        while (due := self.evaluator._evaluate_ahead()) is not None and due <= to:
            self.clock.set(max(due, self.clock.now()))
            self.evaluate()
        self.clock.set(max(to, self.clock.now()))

    def store(self, events: Sequence[Mapping[str, Any]]) -> None:
        """A commit that is not evaluated yet."""
        self.log.append([_batch(events, self.clock.now())])

    def evaluate(self) -> None:
        while True:
            try:
                while self.evaluator.step():
                    pass
                return
            except Crash:
                self.begin()

    def expect(self, at: int) -> None:
        """What is so now is what an inline test will have to find."""
        assert self.state is not None
        for name in self.bodies:
            said = [i for i in self.intents if _plain(i.rule) == name and not i.limited]
            rule = self._rules().rules[self._named(name)]
            own = [each.name for each in rule.each.rules] if rule.each is not None else [rule.name]
            states = [s for one in own for s in self.state.conditions(one).values()]
            self.moments.setdefault(name, []).append(
                Moment(
                    at=at,
                    notified=sum(i.kind in (IntentKind.FIRED, IntentKind.REPEATED) for i in said),
                    resolved=sum(i.kind is IntentKind.RESOLVED for i in said),
                    firing=[
                        {k: v for k, v in s.instance.items() if k != "Occurrence"}
                        for s in states
                        if s.phase in (Phase.FIRING, Phase.RECOVERING)
                    ],
                )
            )

    def notified(self, name: str) -> list[Said]:
        return sorted(
            _said(i.at, str(i.kind), i.instance, i.run_id, i.value)
            for i in self.intents
            if _plain(i.rule) == name and not i.limited and i.kind is not IntentKind.SUMMARY
        )

    def _source_progress(self) -> SourceProgress:
        return SourceProgress(
            watermarks=dict.fromkeys(CONSUMERS, self.clock.now()), kinds=dict.fromkeys(CONSUMERS, "http")
        )

    def _named(self, name: str, generation: int | None = None) -> str:
        generation = self.generation if generation is None else generation
        return f"{name}.{generation}" if generation else name

    def _rules(self) -> RuleSet:
        """The rules as they are written now."""
        wanted = (self.generation, self.words)
        if self._read != wanted:
            written = {}
            for name, body in self.bodies.items():
                more = [body.strip()]
                if self.generation:
                    more.append(f"renamed_from: {self._named(name, self.generation - 1)}")
                if self.words:
                    more.append(f"description: said in other words, {self.words}")
                written[self._named(name)] = "\n".join(more)
            self._read, self._in_force = wanted, rules_of(written, self.defaults)
        return self._in_force


def as_inline_test(live: Live, name: str, timeline: Sequence[Arrival]) -> list[str]:
    """What `rules test` finds wrong with a test that expects what the live one notified."""
    test = {
        "name": "as it was live",
        "start": START.isoformat(),
        "tables": {table: TABLES[table] for table in TABLES if f"table: {table}" in live.bodies[name]},
        "events": [
            {
                "at": f"{arrival.at}s",
                **{name: _written(name, value) for name, value in event.items() if name in _said_of(event)},
            }
            for arrival in timeline
            for event in arrival.events
        ],
        "expect": [
            {"at": f"{m.at}s", "notifications": m.notified, "resolved": m.resolved, "firing": list(m.firing)}
            for m in live.moments[name]
        ],
    }
    rules = rules_of({name: live.bodies[name]}, live.defaults, [test])
    return [str(result) for result in run_tests(rules) if not result.passed]


def as_backtest(live: Live, name: str, until: datetime, step_rows: int) -> list[Said]:
    """What a backtest notifies of what the live one stored; each row of a table has its own."""
    rule = rules_of({name: live.bodies[name]}, live.defaults).rules[name]
    each: Sequence[Rule] = rule.each.rules if rule.each is not None else [rule]
    found: list[Said] = []
    for one in each:
        result = backtest(one, live.log, Span(since=START, until=until, rows=step_rows), clock=live.clock)
        assert result.errors == ()
        found += [_said(t.at, t.kind, t.instance, t.run_id, t.value) for t in result.notified]
    return sorted(found)


def _said(at: datetime, kind: str, instance: Mapping[str, object], run: str, value: float | None) -> Said:
    names = {k: v for k, v in instance.items() if v is not None}
    return (at, kind, json.dumps(names, sort_keys=True, default=str), run, "" if value is None else f"{value:.6g}")


def _plain(name: str) -> str:
    return name.split(".")[0]


def _said_of(event: Mapping[str, Any]) -> frozenset[str]:
    """Columns that an inline test sets."""
    return frozenset(event) - ({"EventId"} if event.get(HEARTBEAT) else set())


def _written(column: str, value: object) -> object:
    """A column as an inline test says it."""
    if column in ("TimeGenerated", "StartTime"):
        assert isinstance(value, int)
        return f"{value}s" if value >= 0 else f"-{-value}s"
    return value


def _batch(events: Sequence[Mapping[str, Any]], now: datetime) -> Batch:
    groups: dict[tuple[str, bool], list[MappedEvent]] = {}
    for event in events:
        columns = {k: v for k, v in event.items() if k not in _APART and v is not None}
        if "StartTime" in columns:
            columns["StartTime"] = START + columns["StartTime"] * SECOND
        beats = bool(event.get(HEARTBEAT))
        unknown = "WillRetry" in event and event["WillRetry"] is None
        groups.setdefault((str(event.get("Consumer", CONSUMER)), unknown), []).append(
            MappedEvent(
                source=str(event.get("Source", CONSUMER)),
                event_id=str(event["EventId"]),
                time=START + event["TimeGenerated"] * SECOND if "TimeGenerated" in event else now,
                columns=columns,
                raw=b"{}",
                heartbeat=beats,
            )
        )
    received = (now - EPOCH) // US
    return Batch(
        mapped=tuple(
            MappedEvents(consumer=name, events=found, received_us=received, retries_unknown=unknown)
            for (name, unknown), found in groups.items()
        )
    )


_APART = frozenset({HEARTBEAT, "Source", "EventId", "TimeGenerated", "Consumer"})

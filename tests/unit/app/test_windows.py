"""The evaluator with window rules: ticks come by themselves, the gauge keeps up, an outage is made up for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tocsin.app.engine.evaluator import Consumers, Evaluator
from tocsin.clock import ManualClock
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.intent import IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
RULES = """
rules:
  - name: many
    over: 10m
    every: 1m
    lateness: 1s
    query: RunStatusChanged | summarize n = countif(Status == 'Failed') by ExperimentName | where n >= 2
    by: [ExperimentName]
    value: n
    severity: error
"""


class Station:
    """Stores in memory and an evaluator whose steps are taken by hand; everybody has reported up to now."""

    def __init__(self, rules: RuleSet) -> None:
        self.behind = timedelta(0)  # how far watermarks are behind the clock
        self.clock = ManualClock(NOON)
        self.log = DuckLogStore.open(None, clock=self.clock)
        self.state = SqliteState.open(None, clock=self.clock)
        self.rules = rules
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.metrics = Metrics()
        self.evaluator = Evaluator(
            self.log, self.state, self.metrics, self.clock,
            Consumers(source_progress=lambda: SourceProgress(watermarks={"c": self.clock.now() - self.behind}, kinds={"c": "kafka"})),
            lambda: None,
        )  # fmt: skip
        self.evaluator._reload(self.rules)

    def steps(self, after: timedelta) -> int:
        """Let time pass at once, then evaluate all there is."""
        self.clock.set(self.clock.now() + after)
        n = 0
        while self.evaluator.step():
            n += 1
        return n

    def arrive(self, *statuses: str, late: timedelta = timedelta(0)) -> None:
        events = [
            MappedEvent(
                source="s", event_id=f"{self.clock.now()}-{n}", time=self.clock.now() - late, raw=b"{}",
                columns={"RunId": f"r{n}", "Status": status, "ExperimentName": "churn"},
            )
            for n, status in enumerate(statuses)
        ]  # fmt: skip
        self.log.append([Batch(mapped=(MappedEvents(consumer="c", events=events, received_us=0),))])

    def notified(self) -> list[IntentKind]:
        return [i.kind for i in self.state.intents()]

    def firing(self) -> float | None:
        return self.metrics.registry.get_sample_value(
            "tocsin_alerts_active", {"rule": "many", "severity": "error", "kind": "window"}
        )


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    made = Station(load_rules([path], schema_with()))
    yield made
    made.log.close()
    made.state.close()


def test_ticks_come_by_themselves_and_the_gauge_keeps_up(station: Station) -> None:
    station.arrive("Failed", "Failed")
    station.steps(timedelta(seconds=90))
    assert ([IntentKind.FIRED], 1.0) == (station.notified(), station.firing())
    station.start()
    assert 1.0 == station.firing()
    station.clock.set(NOON + timedelta(minutes=9))
    station.arrive("Completed")
    station.steps(timedelta(minutes=5))
    assert ([IntentKind.FIRED, IntentKind.RESOLVED], 0.0) == (station.notified(), station.firing())


def test_after_an_outage_the_last_hour_is_evaluated_tick_by_tick(station: Station) -> None:
    """Three hours away: the two older ones by one tick, counted."""
    station.steps(timedelta(minutes=1))
    steps = station.steps(timedelta(hours=3))
    assert 60 < steps <= 62
    skipped = station.metrics.registry.get_sample_value("tocsin_evaluate_coalesced_ticks_total")
    assert 119 == skipped
    assert NOON + timedelta(hours=3, minutes=2) == min(t.due for t in station.state.timers())


def test_a_rule_that_goes_takes_its_gauge_along(station: Station) -> None:
    station.arrive("Failed", "Failed")
    station.steps(timedelta(seconds=90))
    station.evaluator._reload(RuleSet())
    assert 0.0 == station.firing()
    assert all(rule.kind == "window" for rule in station.rules.rules.values())
    station.steps(timedelta(minutes=2))
    assert [IntentKind.FIRED] == station.notified()


def test_a_watermark_that_is_never_quite_now_lets_alerts_end(station: Station) -> None:
    """As Kafka's: it is the time at which the end of the topic was last asked for."""
    station.behind = timedelta(seconds=1)
    station.arrive("Failed", "Failed")
    station.steps(timedelta(seconds=90))
    station.clock.set(NOON + timedelta(minutes=9))
    station.arrive("Completed")
    station.steps(timedelta(minutes=2))
    assert [IntentKind.FIRED] == station.notified()
    station.steps(timedelta(seconds=2))
    assert [IntentKind.FIRED, IntentKind.RESOLVED] == station.notified()


def test_what_waited_does_not_end_by_what_is_missing_since_it_reported(station: Station) -> None:
    """A source that catches up has brought what it said up to 19:00, not yet the failures of since: at 27:00 it
    looks well.
    """
    station.arrive("Failed", "Failed")
    station.steps(timedelta(seconds=90))
    for _ in range(25):  # an outage, of which it knows as it passes
        station.steps(timedelta(minutes=1))
        station.behind += timedelta(minutes=1)
    station.arrive("Completed")
    station.steps(timedelta(minutes=1))
    station.arrive("Failed", "Failed", late=timedelta(minutes=11))
    station.behind = timedelta(minutes=8, seconds=30)
    station.steps(timedelta(seconds=1))
    station.arrive("Failed", "Failed", late=timedelta(minutes=2))
    station.behind = timedelta(0)
    station.steps(timedelta(minutes=1))
    assert ([IntentKind.FIRED], 1.0) == (station.notified(), station.firing())


def test_ticks_of_a_backlog_are_not_overtaken_by_later_commits(station: Station) -> None:
    """What is evaluated late is notified as it would have been in time: by T, whatever a step takes at once."""
    for minute in (0, 12, 24):
        station.clock.set(NOON + timedelta(minutes=minute))
        station.arrive("Failed", "Failed")
        station.clock.set(NOON + timedelta(minutes=minute + 9))
        station.arrive("Completed")
    station.steps(timedelta(minutes=3))
    assert [IntentKind.FIRED, IntentKind.RESOLVED] * 3 == station.notified()
    ats = [(i.at - NOON) // timedelta(minutes=1) for i in station.state.intents()]
    assert [1, 11, 13, 23, 25, 35] == ats


def test_the_end_of_a_for_is_not_overtaken_by_later_commits(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES.replace("lateness: 1s", "lateness: 0s\n    for: 30s"))
    one = Station(load_rules([path], schema_with()))
    one.clock.set(NOON + timedelta(seconds=5))
    one.arrive("Failed", "Failed")
    for seconds in (20, 50):
        one.clock.set(NOON + timedelta(seconds=seconds))
        one.arrive("Completed")
    one.steps(timedelta(0))
    assert [NOON + timedelta(seconds=35)] == [i.at for i in one.state.intents()]
    one.log.close()
    one.state.close()

"""The evaluator's own thread of things: deadlines are armed at a start, held, evaluated, and go on after a restart."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.eventually import eventually
from tocsin.app.engine.evaluator import Consumers, Evaluator
from tocsin.app.engine.stalled import SourceState
from tocsin.app.views.rules import RuleView
from tocsin.clock import EPOCH, ManualClock
from tocsin.errors import StoreError
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.intent import IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MIN = timedelta(minutes=1)
RULES = """
rules:
  - {name: stuck, when: {status: Queued, in_status_for: 45m}}
  - {name: nightly, when: {absent: {status: Completed}, cron: "0 14 * * *", grace: 30m}}
"""


class Home:
    """Stores that outlive evaluators."""

    def __init__(self, rules: RuleSet) -> None:
        self.clock = ManualClock(NOON)
        self.log = DuckLogStore.open(None, clock=self.clock)
        self.state = SqliteState.open(None, clock=self.clock)
        self.metrics = Metrics()
        self.mark: datetime | None = None  # None: now
        self.complete = True
        self.silences: dict[str, SourceState] = {}
        self.rules = rules
        self.number = 0
        self.start()

    def start(self) -> None:
        """As after a start of the process."""
        self.expected: list[datetime] = []
        self.evaluator = Evaluator(
            self.log, self.state, self.metrics, self.clock,
            Consumers(source_progress=self.source_progress, silences=lambda: self.silences, expect=self.expect), lambda: None,
        )  # fmt: skip
        self.evaluator._reload(self.rules)

    def expect(self, times: Sequence[datetime]) -> None:
        self.expected[:] = times

    def source_progress(self) -> SourceProgress:
        mark = self.clock.now() if self.mark is None else self.mark
        return SourceProgress(
            watermarks={"c": mark} if self.complete else {}, kinds={"c": "kafka"}, complete=self.complete
        )

    def come(self, run: str, status: str) -> None:
        self.number += 1
        event = MappedEvent(
            source="s",
            event_id=f"e{self.number}",
            time=self.clock.now(),
            columns={"RunId": run, "Status": status},
            raw=b"{}",
        )
        received = (self.clock.now() - EPOCH) // timedelta(microseconds=1)
        self.log.append([Batch(mapped=(MappedEvents(consumer="c", events=[event], received_us=received),))])

    def at(self, minutes: int) -> list[tuple[str, str]]:
        """What has been notified by then."""
        self.clock.set(NOON + minutes * MIN)
        while self.evaluator.step():
            pass
        self.evaluator._patience()
        return [(i.rule, i.kind.value) for i in self.state.intents()]

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(name)
        assert value is not None
        return value


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    made = Home(load_rules([path], schema_with({})))
    yield made
    made.state.close()
    made.log.close()


FIRED = ("stuck", IntentKind.FIRED.value)


def test_a_deadline_fires_and_ends(home: Home) -> None:
    home.come("r1", "Queued")
    assert home.at(44) == []
    assert home.at(45) == [FIRED]
    home.come("r1", "Running")
    assert home.at(46) == [FIRED, ("stuck", "resolved")]


def test_it_is_held_for_its_consumer_and_counted(home: Home) -> None:
    home.come("r1", "Queued")
    home.at(1)
    home.mark = NOON + 44 * MIN
    assert home.at(50) == []
    assert home.metric("tocsin_timers_waiting") == 1
    home.mark = NOON + 45 * MIN
    assert home.at(51) == [FIRED]
    assert home.metric("tocsin_timers_waiting") == 0


def test_a_restart_arms_them_again_and_evaluates_nobody_before_the_consumers_are_known(home: Home) -> None:
    home.come("r1", "Queued")
    home.come("r2", "Queued")
    home.at(1)
    home.complete = False
    home.clock.set(NOON + 160 * MIN)
    home.start()
    assert home.at(160) == []
    home.come("r1", "Running")
    home.come("r3", "Completed")  # late, but it is there: the miss fires and resolves
    home.complete = True
    found = [("nightly", "fired"), ("nightly", "resolved"), FIRED]
    assert home.at(161) == found
    assert [i.run_id for i in home.state.intents()] == ["", "r3", "r2"]
    home.start()
    assert home.at(162) == found


def test_a_source_that_is_silent_is_notified(home: Home) -> None:
    home.silences = {"c": SourceState(silent=True, spoke=True, last_event=NOON, every=MIN)}
    assert home.at(5) == [("source-stalled", "fired")]
    home.silences = {"c": SourceState(silent=False, spoke=True, last_event=NOON + 5 * MIN, every=MIN)}
    assert home.at(6) == [("source-stalled", "fired"), ("source-stalled", "resolved")]


def test_the_next_deadline_of_a_rule_is_known(home: Home) -> None:
    """Deadlines of runs are in memory only: whoever shows when a rule looks next asks for them."""
    assert home.evaluator.next_deadlines == {}
    home.come("r1", "Queued")
    home.at(5)
    home.come("r2", "Queued")
    home.at(6)
    assert home.evaluator.next_deadlines == {"stuck": NOON + 45 * MIN}
    view = RuleView(home.log, home.state, lambda: home.evaluator.next_deadlines)
    evaluations = {row["Rule"]: row["NextEvaluation"] for row in view.status(home.rules, {})}
    assert evaluations == {"stuck": NOON + 45 * MIN, "nightly": NOON + 150 * MIN}


def test_sources_are_notified_for_what_watermarks_are_waited_for(home: Home) -> None:
    """What comes next, and what is held; a watermark that moves wakes the rules only where something is held."""
    times = home.expected
    home.come("r1", "Queued")
    home.mark = NOON
    home.at(5)
    assert {NOON + 45 * MIN} == set(times)  # when it falls due
    home.evaluator._wake.clear()
    home.evaluator.watermarks_moved()
    assert not home.evaluator._wake.is_set()
    home.at(44)
    home.at(45)
    assert {NOON + 45 * MIN, NOON + 150 * MIN} == set(times)
    home.evaluator.watermarks_moved()
    assert home.evaluator._wake.is_set()


def test_commits_about_which_nothing_is_decided_are_not_written_one_by_one(home: Home) -> None:
    started = home.state.row_cursor()
    for run in ("r1", "r2", "r3"):
        home.come(run, "Queued")
        home.at(1)
    assert home.evaluator.lag == 0
    assert home.state.row_cursor() == started
    assert home.at(46) == [FIRED] * 3
    assert home.state.row_cursor() == started + 3  # in the transaction that notifies


def test_after_a_kill_they_are_evaluated_again_and_say_the_same(home: Home) -> None:
    home.come("r1", "Queued")
    home.at(1)
    home.start()
    assert home.evaluator.lag == 1
    assert home.at(46) == [FIRED]
    home.come("r2", "Completed")
    home.at(47)
    home.start()
    assert home.evaluator.lag == 1
    assert home.at(48) == [FIRED]


def test_the_thread_writes_the_cursor_in_the_end(home: Home) -> None:
    started = home.state.row_cursor()
    home.evaluator.start(home.rules)
    home.come("r1", "Running")
    home.evaluator.wake()
    eventually(lambda: home.evaluator.lag == 0)
    home.evaluator.stop()
    assert home.state.row_cursor() == started + 1


def test_a_state_that_cannot_be_written_loses_no_commit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.come("r1", "Queued")
    home.at(1)
    home.clock.set(NOON + 10 * MIN)
    home.come("r2", "Queued")
    home.clock.set(NOON + 46 * MIN)
    with monkeypatch.context() as patch:
        patch.setattr(home.state, "commit", _refuse)
        with pytest.raises(StoreError):
            home.evaluator.step()
    assert home.evaluator.lag == 1
    assert home.at(46) == [FIRED]
    assert home.at(55) == [FIRED] * 2


def _refuse(outcome: Outcome, now: datetime) -> None:
    raise StoreError("database is locked")

"""What is read off the stores: ended runs once each, waiting in queues, the last success, and the bound of their labels."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tocsin.app.run.measuring import Busiest, Measuring
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class House:
    """Stores in memory with something that measures them."""

    def __init__(self, path: Path, labels: tuple[str, ...], most: int = 2) -> None:
        self.clock = ManualClock(NOON)
        self.log = DuckLogStore.open(None, clock=self.clock)
        self.state = SqliteState.open(None, clock=self.clock)
        self.path, self.labels, self.most = path, labels, most
        self.ids = iter(range(1000))
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.metrics = Metrics(self.labels)
        self.measuring = Measuring(self.log, self.state, self.metrics, self.clock, directory=self.path, most=self.most)

    def event(self, run: str, status: str, at: datetime = NOON, experiment: str = "churn", **columns: object) -> None:
        event = MappedEvent(
            source="s",
            event_id=str(next(self.ids)),
            time=at,
            raw=b"{}",
            columns={"RunId": run, "Status": status, "ExperimentName": experiment, **columns},
        )
        self.log.append([Batch(mapped=(MappedEvents(consumer="c", events=[event], received_us=0),))])

    def value(self, name: str, **labels: str) -> float | None:
        self.measuring.measure()
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, ())
    yield made
    made.log.close()
    made.state.close()


@pytest.fixture
def labelled(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, ("experiment",))
    yield made
    made.log.close()
    made.state.close()


def test_an_ended_run_counts_once(house: House) -> None:
    """By status and reason; a second event of the same end, or a heartbeat's row, is no second end."""
    labels = {"status": "Failed", "reason": "out_of_memory"}
    assert 0 == house.value("tocsin_runs_ended_total", **labels)
    house.event("r", "Failed", Reason="out_of_memory")
    assert 1 == house.value("tocsin_runs_ended_total", **labels)
    house.event("r", "Failed", NOON + MINUTE, Reason="out_of_memory")
    house.event("r", "Running", NOON - MINUTE)
    assert 1 == house.value("tocsin_runs_ended_total", **labels)


def test_a_second_attempt_ends_too(house: House) -> None:
    for attempt in (1, 2):
        house.event("r", "Failed", NOON + attempt * MINUTE, Attempt=attempt)
        house.measuring.measure()
    assert 2 == house.value("tocsin_runs_ended_total", status="Failed", reason="")


def test_waiting_and_length(house: House) -> None:
    """Queued for 2 minutes, then running for 10."""
    house.event("r", "Queued", NOON)
    house.event("r", "Running", NOON + 2 * MINUTE)
    assert 120 == house.value("tocsin_runs_queue_seconds_sum")
    house.event("r", "Completed", NOON + 12 * MINUTE)
    assert 600 == house.value("tocsin_runs_duration_seconds_sum", status="Completed")
    assert 1 == house.value("tocsin_runs_queue_seconds_count")


def test_active_runs_show_the_statuses_that_are_empty_too(house: House) -> None:
    house.event("r", "Running")
    assert 1 == house.value("tocsin_runs_active", status="Running")
    house.event("r", "Completed", NOON + MINUTE)
    assert 0 == house.value("tocsin_runs_active", status="Running")


def test_the_last_success_of_an_experiment_outlives_a_restart(labelled: House) -> None:
    name = "tocsin_runs_last_success_timestamp_seconds"
    labelled.event("a", "Completed", NOON)
    labelled.event("b", "Failed", NOON + MINUTE, "fraud")
    assert NOON.timestamp() == labelled.value(name, experiment="churn")
    labelled.start()
    assert NOON.timestamp() == labelled.value(name, experiment="churn")
    assert labelled.value(name, experiment="fraud") is None


def test_the_first_failure_of_an_experiment_is_no_first_sample(labelled: House) -> None:
    """Its counters are 0 from its first event on, else `increase()` misses the failure."""
    labelled.event("r", "Running")
    assert 0 == labelled.value("tocsin_runs_ended_total", status="Failed", reason="quota", experiment="churn")


def test_labels_of_runs_are_bounded_to_the_busiest(labelled: House) -> None:
    """Two have series of their own; the rest is `other`. A new day ranks them again."""
    ended = "tocsin_runs_ended_total"
    for n, experiment in enumerate(["a", "b", "c", "c", "c"]):
        labelled.event(f"r{n}", "Failed", NOON, experiment)
        labelled.measuring.measure()
    assert 1 == labelled.value(ended, status="Failed", reason="", experiment="a")
    assert 3 == labelled.value(ended, status="Failed", reason="", experiment="other")
    labelled.measuring.rank()
    labelled.event("more", "Failed", NOON, "c")
    assert 1 == labelled.value(ended, status="Failed", reason="", experiment="c")
    left = {
        s.labels["experiment"]
        for f in labelled.metrics.registry.collect()
        for s in f.samples
        if "experiment" in s.labels
    }
    assert 3 == len(left)


def test_who_loses_the_place_is_named() -> None:
    busiest = Busiest(["experiment"], 1)
    assert set() == busiest.rank([("a",), ("b",)])
    assert {"experiment": "other"} == busiest.labels(("b",))
    assert {("a",)} == busiest.rank([("b",), ("a",)])


def test_the_disk_has_room(house: House) -> None:
    assert (house.value("tocsin_store_disk_free_bytes") or 0) > 1 << 20

"""A run's length against those of the past."""

from collections.abc import Callable

import pytest

from tests.unit.rules.conftest import Engine
from tocsin.errors import ConfigurationError

Make = Callable[..., Engine]
SLOW = """
rules:
  - {name: slow, when: {status: Running, duration: {above: 1.5 * p95, last: 30d, min_runs: 3}}}
"""
FAST = """
rules:
  - {name: fast, when: {status: Completed, duration: {below: 0.2 * p05, last: 30d, min_runs: 3}}}
"""


def past(engine: Engine, n: int, minutes: int, experiment: str = "churn", at: str = "0s") -> None:
    """Runs of the past, notified of at ``at``."""
    engine.at(at).store(*(
        {"RunId": f"{experiment}{at}{i}", "Status": "Completed", "ExperimentName": experiment, "DurationMs": minutes * 60_000}
        for i in range(n)
    ))  # fmt: skip
    engine.evaluate()


def tick(engine: Engine, at: str) -> tuple[int, int]:
    engine.at(at).tick()
    engine.tick()
    return len(engine.notified()), len(engine.resolved())


def test_longer_than_its_baseline_is_notified_while_it_runs(engine: Make) -> None:
    slow = engine(SLOW)
    past(slow, 3, 60)
    slow.at("1h").come({"Status": "Running", "ExperimentName": "churn"})
    assert tick(slow, "149m") == (0, 0)
    assert tick(slow, "150m") == (1, 0)
    slow.at("151m").come({"Status": "Completed", "ExperimentName": "churn"})
    assert tick(slow, "152m") == (1, 1)


def test_fewer_than_min_runs_say_nothing(engine: Make) -> None:
    slow = engine(SLOW)
    past(slow, 2, 60)
    past(slow, 9, 60, "another")
    slow.at("1h").come({"Status": "Running", "ExperimentName": "churn"})
    assert tick(slow, "23h") == (0, 0)


def test_the_baseline_is_read_again_when_the_deadline_comes(engine: Make) -> None:
    """Meanwhile its peers took longer: it is not notified yet."""
    slow = engine(SLOW)
    past(slow, 3, 60)
    slow.at("1h").come({"Status": "Running", "ExperimentName": "churn"})
    past(slow, 60, 120, at="2h")
    assert tick(slow, "150m") == (0, 0)
    assert tick(slow, "239m") == (0, 0)
    assert tick(slow, "240m") == (1, 0)


def test_what_is_too_long_ago_does_not_count(engine: Make) -> None:
    slow = engine(SLOW.replace("30d", "2h"))
    past(slow, 3, 60)
    slow.at("3h").come({"Status": "Running", "ExperimentName": "churn"})
    assert tick(slow, "10h") == (0, 0)


def test_faster_than_its_baseline_is_notified_when_it_ends(engine: Make) -> None:
    """The run itself is no part of the baseline."""
    fast = engine(FAST)
    past(fast, 3, 60)
    done = {"Status": "Completed", "ExperimentName": "churn"}
    fast.at("1h").come({"RunId": "a", "DurationMs": 12 * 60_000, **done})
    assert len(fast.notified()) == 0
    fast.at("2h").come({"RunId": "b", "DurationMs": 12 * 60_000 - 1, **done})
    assert [i.run_id for i in fast.notified()] == []  # by now a's 12 minutes are among the baseline
    fast.at("3h").come({"RunId": "c", "DurationMs": 60_000, **done})
    assert [i.run_id for i in fast.notified()] == ["c"]


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("{status: Running, duration: {above: 2 x p95, last: 30d}}", "is no multiple of a percentile"),
        ("{status: Running, duration: {above: p0, last: 30d}}", "is no multiple of a percentile"),
        ("{status: Running, duration: {last: 30d}}", "says neither above: nor below:"),
        ("{status: Running, duration: {above: p95, below: p05, last: 30d}}", "says above: and below:"),
        ("{status: Completed, duration: {above: p95, last: 30d}}", "is about a run under way"),
        ("{status: Running, duration: {below: p05, last: 30d}}", "is about a run that has ended"),
        ("{status: Running, duration: {above: p95, last: 30d, of: [Experiment]}}", "'Experiment' is no text column"),
    ],
)
def test_what_cannot_be_meant_is_refused(load: Callable[[str], object], when: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f"rules:\n  - name: x\n    when: {when}\n")
    assert says in str(caught.value)

"""A window rule's value as a gauge: in step with what it sees, and gone with its instance."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.app.test_windows import Station
from tocsin.errors import ConfigurationError
from tocsin.kql.schema import schema_with
from tocsin.metrics.exports import LABEL_LENGTH, SERIES, Exports, Family
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.ruleset import RuleSet

RULES = """
rules:
  - name: many
    description: Failures of the last minutes.
    over: 10m
    every: 1m
    lateness: 1s
    query: RunStatusChanged | summarize n = countif(Status == 'Failed') by ExperimentName
    condition: n >= 2
    by: [ExperimentName]
    value: n
    export: {metric: tocsin_rule_failures}
"""
MINUTE = timedelta(minutes=1)
Load = Callable[[str], RuleSet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str) -> RuleSet:
        path = tmp_path / "rules.yaml"
        path.write_text(text)
        return load_rules([path], schema_with({}), names={path: "rules.yaml"})

    return loaded


@pytest.fixture
def station(load: Load) -> Iterator[Station]:
    made = Station(load(RULES))
    yield made
    made.log.close()
    made.state.close()


def series(station: Station, metric: str = "tocsin_rule_failures") -> list[str]:
    lines = station.metrics.exposition()[0].decode().splitlines()
    return [line for line in lines if line.startswith(metric)]


def test_it_shows_what_the_last_evaluation_saw(station: Station) -> None:
    """As a recording rule: whether or not it fires; with the fields of `by` as labels."""
    station.arrive("Failed", "Running")
    station.steps(MINUTE)
    assert ['tocsin_rule_failures{experiment_name="churn"} 1.0'] == series(station)
    station.arrive("Failed", "Failed")
    station.steps(MINUTE)
    assert ['tocsin_rule_failures{experiment_name="churn"} 3.0'] == series(station)
    station.arrive("Failed", "Failed")
    station.steps(MINUTE)
    assert ['tocsin_rule_failures{experiment_name="churn"} 5.0'] == series(station)
    assert "# HELP tocsin_rule_failures Failures of the last minutes." in station.metrics.exposition()[0].decode()


def test_it_goes_when_the_instance_ends(station: Station) -> None:
    station.arrive("Failed", "Failed", "Failed")
    station.steps(9 * MINUTE)
    assert 1 == len(series(station))
    station.arrive("Completed")
    station.steps(5 * MINUTE)
    assert ['tocsin_rule_failures{experiment_name="churn"} 0.0'] == series(station)
    station.steps(10 * MINUTE)
    assert [] == series(station)


def test_after_a_start_it_shows_what_is_remembered(station: Station) -> None:
    station.arrive("Failed", "Failed", "Failed")
    station.steps(MINUTE)
    station.evaluator.stop()
    station.start()
    assert ['tocsin_rule_failures{experiment_name="churn"} 3.0'] == series(station)


def test_a_reload_takes_what_no_rule_exports(station: Station, load: Load) -> None:
    station.arrive("Failed", "Failed", "Failed")
    station.steps(MINUTE)
    station.evaluator._reload(load(RULES.replace("tocsin_rule_failures", "churn_failures")))
    assert [] == series(station)
    assert ['churn_failures{experiment_name="churn"} 3.0'] == series(station, "churn_failures")
    station.evaluator._reload(load("rules: []"))
    assert [] == series(station, "churn_failures")


def test_the_number_of_series_is_bounded() -> None:
    """What is beyond is left out; what goes makes room. Labels are cut."""
    exports = Exports()
    exports.declare([Family(name="x", help="X.", labels=("a",))])
    assert [True] * SERIES == [exports.put("x", {"a": n}, n) for n in range(SERIES)]
    assert not exports.put("x", {"a": "more"}, 1)
    assert exports.put("x", {"a": 7}, 8)
    exports.drop("x", {"a": 7})
    assert exports.put("x", {"a": "y" * 1000}, 1)
    (family,) = exports.collect()
    assert LABEL_LENGTH == max(len(sample.labels["a"]) for sample in family.samples)
    assert SERIES == len(family.samples)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("tocsin_rule_failures", "9lives", "'9lives' is no name of a metric"),
        ("tocsin_rule_failures", "tocsin_alerts_active", "is a name of tocsin's own"),
        ("tocsin_rule_failures", "tocsin_failures", "is a name of tocsin's own"),
        ("tocsin_rule_failures", "failures_total", "ends like another kind of metric"),
        ("    value: n\n", "", "there is no `value:` to export"),
        (
            "rules:\n",
            "rules:\n  - {name: row, when: {status: Failed}, export: {metric: x}}\n",
            "belongs to a window rule",
        ),
        (
            "rules:\n",
            "rules:\n  - {name: b, over: 1h, query: 'RunStatusChanged | count', value: Count, export: {metric: tocsin_rule_failures}}\n",
            "is also the metric of the rule at rules.yaml:3",
        ),
    ],
)
def test_what_is_wrong_has_its_place(load: Load, old: str, new: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(RULES.replace(old, new))
    assert fault in str(error.value)

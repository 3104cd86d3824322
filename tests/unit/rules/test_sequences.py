"""A status that comes again and again after another one."""

from collections.abc import Callable

import pytest

from tests.unit.rules.conftest import NOON
from tocsin.errors import ContentError
from tocsin.rules.playground import Playground
from tocsin.rules.ruleset import RuleSet

Load = Callable[[str], RuleSet]


def tells(rules: RuleSet, *events: tuple[int, str, str], experiment: str = "churn") -> list[dict[str, object]]:
    """What is told of (minute, run, status), an hour later."""
    from datetime import timedelta

    told = []
    with Playground(rules, NOON) as playground:
        for n, (minute, run, status) in enumerate(events):
            at = NOON + timedelta(minutes=minute)
            steps = playground.advance(at) if minute else []
            row = {
                "EventId": f"e{n}",
                "RunId": run,
                "Status": status,
                "ExperimentName": experiment,
                "TimeGenerated": at,
            }
            steps += playground.arrive([row])
            told += [dict(i.instance) for s in steps for i in s.evaluation.outcome.intents]
        told += [
            dict(i.instance)
            for s in playground.advance(NOON + timedelta(hours=3))
            for i in s.evaluation.outcome.intents
        ]
    return told


def test_it_counts_by_what_it_says(load: Load) -> None:
    """Two runs of one experiment, each preempted once."""
    rules = load("""
    rules:
      - {name: x, when: {status: Queued, after: Running, times: 2, within: 6h, by: [ExperimentName]}}
    """)
    events = [(0, "a", "Running"), (0, "b", "Running"), (1, "a", "Queued"), (2, "b", "Queued")]
    assert tells(rules, *events) == [{"ExperimentName": "churn"}]
    by_run = load("rules:\n  - {name: x, when: {status: Queued, after: Running, times: 2, within: 6h}}\n")
    assert tells(by_run, *events) == []


def test_without_after_it_only_counts(load: Load) -> None:
    rules = load("rules:\n  - {name: x, when: {status: Failed, times: 2, within: 1h, by: [RunId]}}\n")
    assert tells(rules, (0, "a", "Failed"), (5, "a", "Running"), (10, "a", "Failed")) == [{"RunId": "a"}]
    assert tells(rules, (0, "a", "Failed"), (5, "b", "Failed")) == []


def test_where_is_about_the_events_that_count(load: Load) -> None:
    text = "rules:\n  - {name: x, when: {status: Failed, times: 2, within: 1h, where: \"ExperimentName == 'churn'\"}}\n"
    events = [(0, "a", "Failed"), (10, "a", "Failed")]
    assert tells(load(text), *events) == [{"RunId": "a"}]
    assert tells(load(text), *events, experiment="other") == []


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("{after: Running, times: 3}", "does not say which status"),
        ("{status: Queued, after: Running, times: 3, within: 0s}", "must be longer than nothing"),
        ("{status: Queued, after: Running, times: 3, by: [Run]}", "'Run' is no column of an event"),
        ("{status: Queued, after: Running, silent_for: 5m}", "stands beside after and times"),
        ('{status: Queued, after: Running, where: "Nope == 1"}', "Nope"),
    ],
)
def test_what_cannot_be_meant_is_refused(load: Load, when: str, says: str) -> None:
    with pytest.raises(ContentError) as caught:
        load(f"rules:\n  - name: x\n    when: {when}\n")
    assert says in str(caught.value)
    assert caught.value.problems[0].line == 3

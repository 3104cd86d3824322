"""A status that comes again and again after another one."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.rules.conftest import NOON
from tocsin.errors import ConfigurationError
from tocsin.rules.backtest.run import backtest
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.testing.simulator import Simulator

Load = Callable[[str], RuleSet]
SECOND = timedelta(seconds=1)


def notifies(rules: RuleSet, *events: tuple[int, str, str], experiment: str = "churn") -> list[dict[str, object]]:
    """What is notified of (minute, run, status), an hour later."""
    notified = []
    with Simulator(rules, NOON) as simulator:
        for n, (minute, run, status) in enumerate(events):
            at = NOON + timedelta(minutes=minute)
            steps = simulator.advance(at) if minute else []
            row = {
                "EventId": f"e{n}",
                "RunId": run,
                "Status": status,
                "ExperimentName": experiment,
                "TimeGenerated": at,
            }
            steps += simulator.arrive([row])
            notified += [dict(i.instance) for s in steps for i in s.evaluation.outcome.intents]
        notified += [
            dict(i.instance) for s in simulator.advance(NOON + timedelta(hours=3)) for i in s.evaluation.outcome.intents
        ]
    return notified


def test_it_counts_by_what_it_says(load: Load) -> None:
    """Two runs of one experiment, each preempted once."""
    rules = load("""
    rules:
      - {name: x, when: {status: Queued, after: Running, times: 2, within: 6h, by: [ExperimentName]}}
    """)
    events = [(0, "a", "Running"), (0, "b", "Running"), (1, "a", "Queued"), (2, "b", "Queued")]
    assert notifies(rules, *events) == [{"ExperimentName": "churn"}]
    by_run = load("rules:\n  - {name: x, when: {status: Queued, after: Running, times: 2, within: 6h}}\n")
    assert notifies(by_run, *events) == []


def test_without_after_it_only_counts(load: Load) -> None:
    rules = load("rules:\n  - {name: x, when: {status: Failed, times: 2, within: 1h, by: [RunId]}}\n")
    assert notifies(rules, (0, "a", "Failed"), (5, "a", "Running"), (10, "a", "Failed")) == [{"RunId": "a"}]
    assert notifies(rules, (0, "a", "Failed"), (5, "b", "Failed")) == []


def test_what_came_before_the_first_may_be_older_than_the_window(load: Load) -> None:
    rules = load("rules:\n  - {name: x, when: {status: Queued, after: Running, times: 2, within: 1h, by: [RunId]}}\n")
    events = [(0, "a", "Running"), (90, "a", "Queued"), (91, "a", "Running"), (92, "a", "Queued")]
    assert notifies(rules, *events) == [{"RunId": "a"}]
    assert notifies(rules, (0, "a", "Running"), (1, "a", "Queued"), (90, "a", "Running"), (91, "a", "Queued")) == []


@pytest.mark.parametrize(
    ("more", "minutes", "notified"),
    [
        ("", 7 * 24 * 60 + 45, 1), ("", 7 * 24 * 60 + 61, 0),
        (", look_back: 30d", 20 * 24 * 60, 1), (", look_back: 30d", 31 * 24 * 60, 0),
        (", look_back: 1h", 105, 1), (", look_back: 1h", 121, 0),
    ],
)  # fmt: skip
def test_how_far_back_it_goes_is_the_rules_own(more: str, minutes: int, notified: int, load: Load) -> None:
    """Beyond `within`, a week where it does not say; a backtest looks as far."""
    rules = load(f"rules:\n  - {{name: x, when: {{status: Queued, after: Running, within: 1h{more}}}, every: 10m}}\n")
    at = NOON + timedelta(minutes=minutes)
    with Simulator(rules, NOON) as simulator:
        simulator.arrive([{"EventId": "e", "RunId": "r", "Status": "Running", "TimeGenerated": NOON}])
        steps = simulator.advance(at)
        simulator.arrive([{"EventId": "f", "RunId": "r", "Status": "Queued", "TimeGenerated": at}])
        steps += simulator.advance(at + timedelta(hours=2))
        assert notified == sum(len(s.evaluation.outcome.intents) for s in steps)
        until = at + timedelta(hours=3)
        for few in (0, 10**6):  # at once, and one evaluation after the other
            found = backtest(
                rules.rules["x"],
                simulator.log,
                Span(since=at - timedelta(hours=1), until=until, few=few),
                clock=simulator.clock,
            )
            assert (notified, {}) == (found.notified_count, found.apart)


def test_how_far_back_it_goes_is_part_of_what_it_means(load: Load) -> None:
    text = "rules:\n  - {{name: x, when: {{status: Queued, after: Running, within: 1h{}}}}}\n"
    plain, week, month = (load(text.format(more)).rules["x"] for more in ("", ", look_back: 7d", ", look_back: 30d"))
    assert plain.meaning == week.meaning != month.meaning
    assert "30d more, for what came just before" == explain(month).window["looks_back"]


def test_where_is_about_the_events_that_count(load: Load) -> None:
    text = "rules:\n  - {name: x, when: {status: Failed, times: 2, within: 1h, where: \"ExperimentName == 'churn'\"}}\n"
    events = [(0, "a", "Failed"), (10, "a", "Failed")]
    assert notifies(load(text), *events) == [{"RunId": "a"}]
    assert notifies(load(text), *events, experiment="other") == []


@pytest.mark.parametrize("backwards", [False, True])
def test_what_came_just_before_does_not_depend_on_the_order_of_arrival(load: Load, backwards: bool) -> None:
    """Producers that notify seconds say several things of one second; a clock set back between two attempts changes
    nothing either.
    """
    rules = load("""
    rules:
      - {name: x, when: {status: Completed, after: Running, times: 2, within: 1h, by: [ExperimentName]}}
    """)
    events: list[dict[str, object]] = [
        {"EventId": "2", "RunId": "a", "Status": "Running", "TimeGenerated": NOON},
        {
            "EventId": "1",
            "RunId": "a",
            "Status": "Completed",
            "TimeGenerated": NOON,
        },  # the end comes after what is no end
        {"EventId": "4", "RunId": "b", "Status": "Running", "TimeGenerated": NOON, "Attempt": 2},
        {"EventId": "3", "RunId": "b", "Status": "Failed", "TimeGenerated": NOON + SECOND, "Attempt": 1},
        {"EventId": "5", "RunId": "b", "Status": "Completed", "TimeGenerated": NOON + 2 * SECOND, "Attempt": 2},
    ]
    with Simulator(rules, NOON + 3 * SECOND) as simulator:
        for event in reversed(events) if backwards else events:
            simulator.arrive([{"ExperimentName": "churn", **event}])
        steps = simulator.advance(NOON + timedelta(minutes=3))
        notified = [i.instance for s in steps for i in s.evaluation.outcome.intents]
    assert [{"ExperimentName": "churn"}] == notified


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("{after: Running, times: 3}", "does not say which status"),
        ("{status: Queued, after: Running, times: 3, within: 0s}", "must be longer than nothing"),
        ("{status: Queued, after: Running, times: 3, by: [Run]}", "'Run' is no column of an event"),
        ("{status: Queued, after: Running, look_back: 0s}", "must be longer than nothing"),
        ("{status: Queued, times: 3, look_back: 9d}", "is how far back after is looked for, and there is none"),
        ("{status: Queued, look_back: 9d}", "`after` or `times`"),
        ("{status: Queued, after: Running, silent_for: 5m}", "stands beside after"),
        ('{status: Queued, after: Running, where: "Nope == 1"}', "Nope"),
    ],
)
def test_what_cannot_be_meant_is_refused(load: Load, when: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f"rules:\n  - name: x\n    when: {when}\n")
    assert says in str(caught.value)
    assert caught.value.problems[0].line == 3

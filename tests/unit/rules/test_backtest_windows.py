"""Backtests of window rules say what live operation notifies, instant by instant."""

import sys
import threading
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Load
from tocsin.rules.backtest.run import backtest
from tocsin.rules.kinds.base import FEW, TICKS, Span
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.testing.simulator import Simulator

RULE = """
rules:
  - name: many
    query: |
      RunStatusChanged | where Status == 'Failed'
      | summarize n = count() by ExperimentName | where n >= 2
    over: 10m
    every: 5m
    by: [ExperimentName]
    value: n
    %s
"""
EARLY, HELD, LATE = "for: 3m", "keep_firing_for: 5m", "lateness: 1m"
EVENTS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["Failed", "Completed"]), st.sampled_from(["churn", "rank"])),
    max_size=14,
)
Event = tuple[int, str, str]


def lived(
    rules: RuleSet, events: list[Event], few: int = FEW, ticks: int = TICKS
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What was notified live over an hour, and what the backtest says of it: (T, kind, experiment, value)."""
    (rule,) = rules.rules.values()
    notified: list[tuple[object, ...]] = []
    with Simulator(rules, NOON) as simulator:
        minute = 1
        for n, (pause, status, experiment) in enumerate(events):
            minute += pause
            at = NOON + timedelta(minutes=minute, seconds=n)
            steps = simulator.advance(at)
            row = {
                "EventId": f"e{n}",
                "RunId": f"r{n}",
                "Status": status,
                "ExperimentName": experiment,
                "TimeGenerated": at,
            }
            for step in [*steps, *simulator.arrive([row])]:
                notified += [
                    (i.at, str(i.kind), i.instance["ExperimentName"], i.value) for i in step.evaluation.outcome.intents
                ]
        for step in simulator.advance(NOON + timedelta(hours=2)):
            notified += [
                (i.at, str(i.kind), i.instance["ExperimentName"], i.value) for i in step.evaluation.outcome.intents
            ]
        until = NOON + timedelta(hours=2, microseconds=1)
        found = backtest(
            rule, simulator.log, Span(since=NOON, until=until, rows=5, few=few, ticks=ticks), clock=simulator.clock
        )
    assert () == found.errors
    return notified, [(t.at, t.kind, t.instance["ExperimentName"], t.value) for t in found.notified]


@pytest.mark.parametrize("more", [EARLY, HELD, LATE])
def test_a_story_is_notified_again(load: Load, more: str) -> None:
    events = [
        (0, "Failed", "churn"),
        (1, "Failed", "churn"),
        (0, "Failed", "rank"),
        (2, "Completed", "churn"),
        (6, "Failed", "churn"),
    ]
    notified, again = lived(load(RULE % more), events)
    assert notified
    assert sorted(notified, key=str) == sorted(again, key=str)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=EVENTS, more=st.sampled_from([EARLY, HELD, LATE, "for: 2 of 3"]),
    few=st.sampled_from([0, FEW]), ticks=st.sampled_from([1, 2, 5, TICKS]),
)  # fmt: skip
def test_whatever_happened_is_notified_again(load: Load, events: list[Event], more: str, few: int, ticks: int) -> None:
    notified, again = lived(load(RULE % more), events, few, ticks)
    assert sorted(notified, key=str) == sorted(again, key=str)


@pytest.mark.parametrize("few", [0, FEW])
def test_what_would_end_waits_until_its_consumer_is_reached_again(load: Load, few: int) -> None:
    """As live, where a tick that would end something waits for the watermarks."""
    minute = timedelta(minutes=1)
    rules = load(RULE % "lateness: 0s")
    again = (NOON + 14 * minute, NOON + 33 * minute)
    with Simulator(rules, NOON) as simulator:
        for n in (1, 2, 9, 30):
            simulator.advance(NOON + n * minute)
            simulator.arrive([{"EventId": f"e{n}", "RunId": f"r{n}", "Status": "Failed", "ExperimentName": "churn"}])
        span, clock = Span(since=NOON, until=NOON + 60 * minute, few=few), simulator.clock
        found = backtest(rules.rules["many"], simulator.log, span, clock=clock, outages={"test": [again]})
        reached = backtest(rules.rules["many"], simulator.log, span, clock=clock)
    assert [("fired", NOON + 2 * minute), ("resolved", again[1])] == [(t.kind, t.at) for t in found.notified]
    assert [("fired", NOON + 2 * minute), ("resolved", NOON + 15 * minute)] == [
        (t.kind, t.at) for t in reached.notified
    ]


def test_a_long_time_in_which_little_came_is_taken_in_parts(load: Load) -> None:
    """Every tick of a step is in memory: half a million of them, of a year in which three events came, took 260 MiB."""
    rules = load(RULE % LATE)
    done: list[int] = []
    with Simulator(rules, NOON) as simulator:
        for n, hours in enumerate((1, 2, 30)):
            simulator.advance(NOON + timedelta(hours=hours))
            simulator.arrive([{"EventId": f"e{n}", "RunId": f"r{n}", "Status": "Failed", "ExperimentName": "churn"}])
        until = NOON + timedelta(hours=31)
        backtest(rules.rules["many"], simulator.log, Span(since=NOON, until=until, few=0, ticks=12), clock=simulator.clock, progress=lambda rows, _total: done.append(rows))  # fmt: skip
    assert 31 == len(done)
    assert [0, 1, 2] == done[:3] and done[-1] == 3


def test_one_that_is_left_early_leaves_nothing_behind(load: Load) -> None:
    """Whoever is notified of its progress may have gone: then nothing reads on, and threads take turns as before."""

    class Gone(Exception):
        pass

    def gone(done: int, total: int) -> None:
        raise Gone

    baseline = sys.getswitchinterval()
    rules = load(RULE % EARLY)
    rows = [{"EventId": f"e{n}", "RunId": f"r{n}", "Status": "Failed", "TimeGenerated": NOON} for n in range(20)]
    with Simulator(rules, NOON) as simulator:
        for row in rows:
            simulator.advance(simulator.clock.now() + timedelta(minutes=1))
            simulator.arrive([row])
        with pytest.raises(Gone) as kept:
            (rule,) = rules.rules.values()
            backtest(rule, simulator.log, Span(since=NOON, until=NOON + timedelta(hours=1), rows=5, few=0), clock=simulator.clock, progress=gone)  # fmt: skip
        assert (baseline, []) == (
            sys.getswitchinterval(),
            [t.name for t in threading.enumerate() if t.name.startswith("backtest")],
        )
    assert kept.value.__traceback__ is not None  # whoever logs it holds all that was on its way

"""Backtests of window rules tell what live operation tells, instant by instant."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.rules.conftest import NOON, Load
from tocsin.rules.backtest import backtest
from tocsin.rules.playground import Playground
from tocsin.rules.ruleset import RuleSet

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


def lived(rules: RuleSet, events: list[Event]) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What was told live over an hour, and what the backtest says of it: (T, kind, experiment, value)."""
    (rule,) = rules.rules.values()
    told: list[tuple[object, ...]] = []
    with Playground(rules, NOON) as playground:
        minute = 1
        for n, (pause, status, experiment) in enumerate(events):
            minute += pause
            at = NOON + timedelta(minutes=minute, seconds=n)
            steps = playground.advance(at)
            row = {
                "EventId": f"e{n}",
                "RunId": f"r{n}",
                "Status": status,
                "ExperimentName": experiment,
                "TimeGenerated": at,
            }
            for step in [*steps, *playground.arrive([row])]:
                told += [
                    (i.at, str(i.kind), i.instance["ExperimentName"], i.value) for i in step.evaluation.outcome.intents
                ]
        for step in playground.advance(NOON + timedelta(hours=2)):
            told += [
                (i.at, str(i.kind), i.instance["ExperimentName"], i.value) for i in step.evaluation.outcome.intents
            ]
        until = NOON + timedelta(hours=2, microseconds=1)
        found = backtest(rule, playground.log, NOON, until, clock=playground.clock, step_rows=5)
    assert () == found.errors
    return told, [(t.at, t.kind, t.instance["ExperimentName"], t.value) for t in found.told]


@pytest.mark.parametrize("more", [EARLY, HELD, LATE])
def test_a_story_is_told_again(load: Load, more: str) -> None:
    events = [
        (0, "Failed", "churn"),
        (1, "Failed", "churn"),
        (0, "Failed", "rank"),
        (2, "Completed", "churn"),
        (6, "Failed", "churn"),
    ]
    told, again = lived(load(RULE % more), events)
    assert told
    assert sorted(told, key=str) == sorted(again, key=str)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, more=st.sampled_from([EARLY, HELD, LATE, "for: 2 of 3"]))
def test_whatever_happened_is_told_again(load: Load, events: list[Event], more: str) -> None:
    told, again = lived(load(RULE % more), events)
    assert sorted(told, key=str) == sorted(again, key=str)

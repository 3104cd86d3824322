"""Inline tests share one state: nothing of one story counts in the next."""

from tests.unit.rules.conftest import Load
from tocsin.rules.testing.run import each_test, run_test

TIMELINES = """
rules:
  - name: failed
    when: {status: Failed, final: true}
    tests: &tests
      - name: a deadline and a notified run stay behind
        events:
          - {at: 0m, RunId: r1, Status: Failed, WillRetry: null}
          - {at: 1m, RunId: r2, Status: Failed}
        expect: [{at: 2m, notifications: 1}]
      - name: the same runs again
        events:
          - {at: 0m, RunId: r1, Status: Failed}
          - {at: 1m, RunId: r2, Status: Failed}
        expect: [{at: 1h, notifications: 2}]
  - name: many
    over: 1h
    every: 5m
    by: [ExperimentName]
    query: RunStatusChanged | where Status == 'Failed' | summarize n = count() by ExperimentName | where n >= 2
    tests:
      - name: an instance stays firing
        events:
          - {at: 0m, RunId: r1, Status: Failed, ExperimentName: churn}
          - {at: 1m, RunId: r2, Status: Failed, ExperimentName: churn}
        expect: [{at: 2m, notifications: 1, firing: [{ExperimentName: churn}]}]
      - name: nothing fires at first
        events: [{at: 0m, RunId: r1, Status: Failed, ExperimentName: churn}]
        expect: [{at: 30m, notifications: 0, firing: []}]
"""


def test_a_shared_state_notifies_the_same(load: Load) -> None:
    rules = list(load(TIMELINES.replace(" &tests", "")).rules.values())
    alone = [run_test(rule, test) for rule in rules for test in rule.tests]
    shared = list(each_test(rules))
    assert [True] * 4 == [r.passed for r in alone], [str(r) for r in alone]
    assert [(r.name, r.passed, r.timeline) for r in alone] == [(r.name, r.passed, r.timeline) for r in shared]
    again = list(each_test(reversed(rules), lambda rule, test: "again" in test.name or "at first" in test.name))
    assert [("many", True), ("failed", True)] == [(r.rule, r.passed) for r in again]

"""Inline tests: the shipped ones pass, a failing one reads as a story."""

from pathlib import Path

import pytest

from tests.unit.rules.conftest import Load
from tocsin.kql.schema import Schema
from tocsin.rules.compile.load import load_rules
from tocsin.rules.testing.run import run_tests

SHIPPED = sorted((Path(__file__).parents[3] / "rules" / "alerts").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_rules_are_tested_and_right(path: Path, schema: Schema) -> None:
    rules = load_rules([path], schema)
    assert [] == [str(r) for r in run_tests(rules) if not r.passed]
    assert [] == [rule.name for rule in rules.rules.values() if len(rule.tests) < 2 or not rule.info.description]


def test_only_runs_yaml_is_enabled(schema: Schema) -> None:
    enabled = {rule.place.file.rsplit("/", 1)[-1] for rule in load_rules(SHIPPED, schema).enabled.values()}
    assert {"runs.yaml"} == enabled


def test_a_failing_test_reads_as_a_story(load: Load) -> None:
    rules = load("""
        rules:
          - name: failed
            when: {status: Failed, final: true}
            tests:
              - name: wrong
                start: 2026-03-01T08:00:00+01:00
                events:
                  - {at: 0s, RunId: r1, Status: Running}
                  - {at: 5m, RunId: r1, Status: Failed, EventId: e1, Tags: {n: 5}}
                  - {at: 6m, RunId: r1, Status: Failed, EventId: e1, TimeGenerated: 5m}
                  - {at: 7m, RunId: r2, Status: Failed, WillRetry: null}
                  - {at: 8m, RunId: r3, Status: Failed, TimeGenerated: -2d}
                expect:
                  - {at: 5m, notifications: 2}
                  - {at: 30m, notifications: 2, resolved: 1}
              - name: right
                events: [{at: 0s, RunId: 007, Status: Failed}]
                expect: [{at: 0s, notifications: 1}]
        """)
    wrong, right = run_tests(rules)
    assert (False, True) == (wrong.passed, right.passed)
    assert ("  at 5m: notifications should be 2, is 1", "  at 30m: resolved should be 1, is 0") == wrong.faults
    assert (
        """\
  +0s      arrived: Running × 1
  +5m      arrived: Failed × 1
  +5m      fired RunId=r1: first occurrence
  +6m      arrived: 1 known already
  +7m      arrived: Failed × 1
  +7m      waits for final after at +22m
  +8m      arrived: Failed × 1
  +8m      expired RunId=r3: older than max_event_age
  +8m      waits for backfill at +9m
  +9m      backfill came for test
  +9m      summary: 1 were expired
  +22m     final after came for r2
  +22m     fired RunId=r2: no other attempt came in time"""
        == wrong.timeline
    )
    assert str(wrong).startswith("rules.yaml:3: failed: wrong: FAILED\n  at 5m")
    assert "failed: right: passed" == str(right)


def test_a_disabled_rule_is_tested_too_and_only_the_chosen(load: Load) -> None:
    text = "  - {{name: {}, enabled: false, when: {{status: Failed}}, tests: [{{name: t, expect: [{{at: 0s, notifications: 0}}]}}]}}\n"
    rules = load("rules:\n" + text.format("a") + text.format("b"))
    assert ["b"] == [r.rule for r in run_tests(rules, only=["b"])]
    with pytest.raises(KeyError):
        run_tests(rules, only=["c"])


def test_texts_of_a_test_stay_texts(load: Load) -> None:
    """A RunId 007 or 1e5 is what was written; other columns are read by their types."""
    (result,) = run_tests(
        load("""
        rules:
          - name: a
            when: {status: Failed, where: "RunId == '007' and Attempt == 2 and Progress == 0.5 and Tags.n == 5 and Tags.s == 'x'"}
            tests:
              - name: t
                events: [{at: 0s, RunId: 007, Status: Failed, Attempt: 2, Progress: 0.5, Tags: {n: 5, s: x}}]
                expect: [{at: 0s, notifications: 1}]
        """)
    )
    assert result.passed, str(result)

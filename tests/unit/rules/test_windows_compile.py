"""Window rules as files say them: what they compile to, and every fault with its place."""

import pytest

from tests.unit.rules.conftest import Load
from tocsin.alerts.conditions import REPEAT, NoData
from tocsin.errors import ConfigurationError
from tocsin.model.statuses import Severity
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.window.spec import Life, WindowSpec
from tocsin.rules.spec.rule import of_spec
from tocsin.rules.testing.run import run_tests

RULE = """
rules:
  - name: rate
    over: 1h
    query: RunStatusChanged | summarize n = count() by ExperimentName
    condition: n > 5
    by: [ExperimentName]
"""


def faults(load: Load, more: str, text: str = RULE) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load(text + (f"    {more}\n" if more else ""))
    return [str(p) for p in raised.value.problems]


def test_a_query_with_over_is_a_window_rule(load: Load) -> None:
    rule = load(RULE + '    value: n\n    severity: {warning: "> 5", critical: "n > 9 and n < 99"}\n').rules["rate"]
    spec = of_spec(rule, WindowSpec).spec
    assert ("window", ("ExperimentName",), Severity.CRITICAL) == (rule.kind, rule.by, rule.severity)
    assert [Severity.CRITICAL, Severity.WARNING] == [level for level, _ in spec.severities]
    assert (NoData.KEEP, REPEAT, True) == (
        spec.terms.no_data, spec.terms.repeat, spec.terms.climbs,
    )  # fmt: skip
    notified = explain(rule)
    assert ("window", "1h", "yes") == (notified.kind, notified.window["over"], notified.window["early"])


def test_over_may_be_the_life_of_runs(load: Load) -> None:
    rule = load(RULE.replace("over: 1h", "over: root")).rules["rate"]
    assert Life.ROOT is of_spec(rule, WindowSpec).spec.over


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('resolve: {when: "n < "}', "rules.yaml:8: rules[0].resolve.when: is no whole KQL predicate"),
        ("resolve: {when: n}", "rules.yaml:8:21: rules[0].resolve.when: is no condition: the condition is neither true nor false: n is a long"),
        ('resolve: {when: "m < 5"}', "rules.yaml:8:22: rules[0].resolve.when: is no condition: there is no column 'm' here; there are"),
        ('resolve: {when: "n < 5 | take 1"}', "rules.yaml:8: rules[0].resolve.when: '|' does not belong into a condition"),
        ("auto_close: 0s", "rules.yaml:8: rules[0].auto_close: must be longer than nothing; write for example auto_close: 1h"),
        ("value: m", "rules.yaml:8: rules[0].value: 'm' is no field that the query gives"),
        ("value: ExperimentName", "rules.yaml:8: rules[0].value: 'ExperimentName' is a string, no number"),
        ('severity: {warning: "> 5"}', "rules[0].severity.warning: '> 5' compares the value, but there is no `value:`"),
        ("fields: [Target]", "rules.yaml:8: rules[0].fields: 'Target' is no field that the query gives"),
        ('labels: {team: "{{ Tags.team }}"}', "rules[0].labels.team: uses 'Tags', which the query does not give"),
        ("kind: event", "rules.yaml:8: rules[0].kind: is 'event', but `over:` makes it a window rule; write kind: window"),
        ("for: 3 of 2", "rules[0].for: '3 of 2' can never hold"),
        ("every: 0.1s", "rules[0].every: "),
        ("final_after: 5m", "rules.yaml:8: rules[0].final_after: belongs to an event rule"),
        ("resolve: {when: {status: Completed, same: RunId}}", "rules[0].resolve.when: belongs to an event rule; a window rule has a condition"),
        ("sql: SELECT 1", "rules[0].sql: has query and sql"),
        ("tests: [{name: x, tables: {owners: []}, expect: [{at: 1m}]}]", "tables.owners: is no reference table that"),
    ],
)  # fmt: skip
def test_what_is_refused(load: Load, more: str, fault: str) -> None:
    found = faults(load, more)
    assert any(fault in f for f in found), found


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        ('"n > "', "rules.yaml:6: rules[0].condition: is no whole KQL predicate"),
        (
            "n",
            "rules.yaml:6:16: rules[0].condition: is no condition: the condition is neither true nor false: n is a long",
        ),
        ('"m > 5"', "rules.yaml:6:17: rules[0].condition: is no condition: there is no column 'm' here; there are"),
        ('"n > 5 | take 1"', "rules.yaml:6: rules[0].condition: '|' does not belong into a condition"),
    ],
)
def test_what_is_no_condition_is_refused(load: Load, condition: str, fault: str) -> None:
    found = faults(load, "", RULE.replace("n > 5", condition))
    assert any(fault in f for f in found), found


def test_only_a_rule_with_a_condition_says_when_it_resolves(load: Load) -> None:
    """A row that a trailing `where` cut cannot be asked."""
    found = faults(load, 'resolve: {when: "n < 2"}', RULE.replace("\n    condition: n", " | where n"))
    assert any("resolve.when: needs `condition:`" in f for f in found), found


@pytest.mark.parametrize("over", ["0s", "500d", "long"])
def test_a_span_that_is_none_is_refused(load: Load, over: str) -> None:
    assert any("rules[0].over: " in f for f in faults(load, "", RULE.replace("1h", over)))


def test_sql_needs_over_too(load: Load) -> None:
    (fault,) = faults(load, "", "rules:\n  - name: a\n    sql: SELECT 1 AS x\n")
    assert "rules.yaml:3: rules[0].sql: makes a window rule, and it needs `over:`" in fault


def test_a_fault_of_the_query_names_its_line(load: Load) -> None:
    text = RULE.replace("query: RunStatusChanged | summarize", "query: |\n      RunStatusChanged\n      | sumarize")
    assert any(
        "rules.yaml:7:9: rules[0].query: there is no operator 'sumarize'; did you mean summarize?" in f
        for f in faults(load, "", text)
    ), faults(load, "", text)


def test_words_are_no_meaning_and_what_fires_is(load: Load) -> None:
    first = load(RULE).rules["rate"].meaning
    assert first == load(RULE + "    summary: other\n    repeat_every: 1h\n").rules["rate"].meaning
    for change in ("    for: 5m\n", "    every: 2m\n", '    resolve: {when: "n < 2"}\n', "    lateness: 1m\n"):
        assert first != load(RULE + change).rules["rate"].meaning


def test_rows_of_tables_stand_in_tests(load: Load) -> None:
    """A table that a test does not fill is empty."""
    rules = load("""
        rules:
          - name: of-ranking
            over: 1h
            query: |
              RunStatusChanged | where Status == 'Failed' | lookup owners on ExperimentName
              | summarize n = count() by team | where team == 'ranking'
            by: [team]
            tests:
              - name: notified for a team of the table
                tables: {owners: [{ExperimentName: churn, team: ranking}]}
                events: [{at: 0s, RunId: r1, Status: Failed, ExperimentName: churn}]
                expect: [{at: 1m, notifications: 1, firing: [{team: ranking}]}]
              - name: nothing without it
                events: [{at: 0s, RunId: r1, Status: Failed, ExperimentName: churn}]
                expect: [{at: 1m, notifications: 0, firing: []}]
              - name: says what fires instead
                tables: {owners: [{ExperimentName: churn, team: ranking}]}
                events: [{at: 0s, RunId: r1, Status: Failed, ExperimentName: churn}]
                expect: [{at: 1m, firing: [{team: other}], pending: [{team: x}]}, {at: 2h, firing: []}]
        """)
    notified, nothing, wrong = run_tests(rules)
    assert (notified.passed, nothing.passed) == (True, True), (notified, nothing)
    assert (
        "  at 1m: firing should be team=other, is severity=warning, team=ranking",
        "  at 1m: pending should be team=x, is none",
        "  at 2h: firing should be none, is severity=warning, team=ranking; there is no data for it any more, and"
        " `no_data: keep` holds it for 24 h (`ok` lets it end)",
    ) == wrong.faults

"""Scheduled query rules of Azure, key by key."""

from typing import Any

import pytest

from tests.unit.interchange.helpers import imported, lost, one, query_rule, whole_query

SUMMED = "AmlRunStatusChangedEvent | summarize n = count() by WorkspaceName"


def rule_of(**properties: Any) -> dict[str, Any]:
    found = one(query_rule(**properties))
    assert found.rule is not None, found.why_not
    return dict(found.rule)


def test_a_whole_rule() -> None:
    found = one(query_rule(
        SUMMED, severity=0, description="many failures", windowSize="PT1H", evaluationFrequency="PT15M",
        displayName="Many failures", muteActionsDuration="PT1H", autoMitigate=False, overrideQueryTimeRange="PT6H",
        actions={"actionGroups": ["/subscriptions/x/actionGroups/ml-leads"], "customProperties": {"wiki": "see {{x}}"}},
        criterion={
            "timeAggregation": "Maximum", "metricMeasureColumn": "n", "threshold": 2.5, "operator": "GreaterThanOrEqual",
            "dimensions": [{"name": "WorkspaceName", "operator": "Exclude", "values": ["test", "it's"]}],
            "failingPeriods": {"numberOfEvaluationPeriods": 3, "minFailingPeriodsToAlert": 2},
        },
    ) | {"tags": {"team": "ranking", "cost center": "7", "n": 3}})  # fmt: skip
    assert {
        "name": "failures", "description": "many failures", "severity": "critical", "over": "6h", "every": "15m",
        "query": f"{SUMMED}\n| where tostring(WorkspaceName) !in ('test', 'it\\'s')"
                 "\n| summarize value = max(n) by WorkspaceName",
        "condition": "value >= 2.5", "by": ["WorkspaceName"], "value": "value", "for": "2 of 3", "send_resolved": False, "repeat_every": "1h",
        "summary": "Many failures", "annotations": {"wiki": "see {{ '{{' }}x}}"}, "labels": {"team": "ranking"},
    } == found.rule  # fmt: skip
    assert "" == found.off
    assert {
        "overrideQueryTimeRange": "`over` is 6h, in which the condition is measured too, not in the last 1h",
        "failingPeriods": "Azure counts windows of 1h; `for` counts evaluations, 15m apart",
        "actionGroups": "name receivers for ml-leads: notify: {to: […]}, or in the route",
        "tags.cost center": "is no name for a label",
        "tags.n": "is no text",
    } == lost(found)


@pytest.mark.parametrize(
    ("number", "word"), list(enumerate(["critical", "error", "warning", "informational", "verbose"]))
)
def test_severity(number: int, word: str) -> None:
    assert word == rule_of(severity=number)["severity"] == rule_of(severity=str(number))["severity"]


@pytest.mark.parametrize("severity", [5, "high", None, -1, True])
def test_a_severity_that_is_none_is_taken_for_warning(severity: Any) -> None:
    found = one(query_rule(severity=severity))
    assert found.rule is not None
    assert ("warning", True) == (found.rule["severity"], lost(found)["severity"].endswith("; taken for warning"))


@pytest.mark.parametrize(
    ("operator", "sign"),
    [("GreaterThan", ">"), ("greaterthanorequal", ">="), ("LessThan", "<"), ("LessThanOrEqual", "<="), ("Equals", "=="),
     ("Equal", "==")],
)  # fmt: skip
def test_operators(operator: str, sign: str) -> None:
    assert f"value {sign} 3" == rule_of(criterion={"operator": operator})["condition"]


@pytest.mark.parametrize(
    ("word", "function"),
    [("Average", "avg(n)"), ("minimum", "min(n)"), ("Maximum", "max(n)"), ("Total", "sum(n)"), ("Count", "count()")],
)
def test_aggregates(word: str, function: str) -> None:
    made = rule_of(query=SUMMED, criterion={"timeAggregation": word, "metricMeasureColumn": "n"})
    assert made["query"].endswith(f"| summarize value = {function}")


def test_a_query_whose_rows_are_enough_is_left_alone() -> None:
    found = rule_of(query=f"{SUMMED}\n| where n > 5", criterion={"threshold": 0})
    assert (f"{SUMMED}\n| where n > 5", "15m") == (found["query"], found["over"])
    assert "value" not in found


def test_events_that_are_counted_are_a_window() -> None:
    found = rule_of(criterion={"threshold": 0})
    assert whole_query(found).endswith("\n| summarize value = count()\n| where value > 0")


def test_one_row_for_each_run_is_an_event_rule() -> None:
    found = one(query_rule(criterion={"threshold": 0, "dimensions": [{"name": "RunId", "values": ["*"]}]}))
    assert {
        "name": "failures", "severity": "warning", "by": ["RunId"],
        "query": "AmlRunStatusChangedEvent | where Status == 'Failed'",
    } == found.rule  # fmt: skip
    assert {"windowSize", "evaluationFrequency"} == set(lost(found))


def test_names_that_kql_must_bracket() -> None:
    found = rule_of(
        query="AmlRunStatusChangedEvent | summarize ['a b'] = count(), value = 1 by ['my col'] = RunId",
        criterion={
            "timeAggregation": "Total", "metricMeasureColumn": "a b",
            "dimensions": [{"name": "my col", "values": ["*"]}, {"name": "value", "values": ["*"]}],
        },
    )  # fmt: skip
    assert whole_query(found).endswith(
        "\n| summarize aggregate = sum(['a b']) by ['my col'], value\n| where aggregate > 3"
    )
    assert ("aggregate", ["my col", "value"]) == (found["value"], found["by"])


@pytest.mark.parametrize(
    ("query", "written"),
    [
        ("T | render timechart", "T"),
        ("T;  ", "T"),
        ("T\r\n| where x == 1 \r\n", "T\n| where x == 1"),
        ("let a = ```x \r\n y```; T", "let a = ```x \n y```; T"),
        ("T " + "| where SomeColumn == 'a | b; c' and (x | y) " * 3,
         "T" + "\n| where SomeColumn == 'a | b; c' and (x | y)" * 3),
    ],
)  # fmt: skip
def test_queries_are_made_readable(query: str, written: str) -> None:
    assert whole_query(rule_of(query=query)) == f"{written}\n| summarize value = count()\n| where value > 3"


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"criteria": {"allOf": []}}, "it has no criteria"),
        ({"criteria": None}, "it has no criteria"),
        ({"criteria": {"allOf": [{"query": "T"}, {"query": "T"}]}},
         "it has 2 criteria that must hold together; a rule here has one query"),
        ({"criteria": {"allOf": [{"query": "T", "metricMeasureColumn": "x"}]}},
         "it makes a metric of a query (LogToMetric) and alerts nobody"),
        ({"criterion": {"criterionType": "DynamicThresholdCriterion"}},
         "its threshold is learnt by Azure (dynamic); write one, or compare with a baseline in the query"),
        ({"criterion": {"threshold": "many"}}, "threshold: 'many' is no number"),
        ({"criterion": {"operator": "Near"}}, "operator: 'near' is none of"),
        ({"criterion": {"timeAggregation": "Average"}}, "metricMeasureColumn does not say of what"),
        ({"criterion": {"timeAggregation": "Median"}}, "timeAggregation: 'median' is none of"),
        ({"criterion": {"failingPeriods": {"numberOfEvaluationPeriods": 9}}}, "is no whole number from 1 to 6"),
        ({"criterion": {"failingPeriods": {"numberOfEvaluationPeriods": 2, "minFailingPeriodsToAlert": 3}}},
         "'3' is no whole number from 1 to 2"),
        ({"windowSize": "P1M"}, "windowSize: 'P1M' is no duration"),
        ({"evaluationFrequency": None}, "evaluationFrequency is missing"),
        ({"query": " "}, "the query is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_rule_says_why(properties: dict[str, Any], why: str) -> None:
    found = one(query_rule(**properties))
    assert found.rule is None
    assert why in found.why_not


def test_a_threshold_without_a_value_names_its_parameter() -> None:
    found = one(query_rule(criterion={"threshold": "[parameters('t')]"}))
    assert "threshold: parameter 't' is not declared; give it with --parameters" == found.why_not


def test_a_table_that_is_not_here_turns_the_rule_off() -> None:
    found = one(query_rule("Perf | where CounterName == 'x'"))
    assert found.rule is not None
    assert found.rule["enabled"] is False
    assert "the query does not run here: line 1, column 1: there is no table 'Perf'" in found.off


def test_a_column_that_the_query_does_not_give_turns_the_rule_off() -> None:
    found = one(query_rule(f"{SUMMED} | where n > 1", criterion={
        "threshold": 0, "dimensions": [{"name": "Computer", "values": ["*"]}],
    }))  # fmt: skip
    assert "the query does not run here: the query gives no column Computer" == found.off


@pytest.mark.parametrize(("value", "enabled"), [(True, True), ("true", True), ("False", False), (False, False)])
def test_enabled(value: Any, enabled: bool) -> None:
    assert enabled is ("enabled" not in rule_of(enabled=value))


@pytest.mark.parametrize(
    ("properties", "keys"),
    [
        ({}, {}),
        ({"autoMitigate": True}, {}),
        ({"autoMitigate": False}, {"send_resolved": False, "repeat_every": "5m"}),
        ({"autoMitigate": "false", "muteActionsDuration": "PT2H"}, {"send_resolved": False, "repeat_every": "2h"}),
        ({"ruleResolveConfiguration": {"autoResolved": True, "timeToResolve": "PT10M"}}, {"keep_firing_for": "10m"}),
        ({"resolveConfiguration": {"autoResolved": "true", "timeToResolve": "PT1H"}}, {"keep_firing_for": "1h"}),
        ({"resolveConfiguration": {"autoResolved": False, "timeToResolve": "PT1H"}}, {}),
    ],
)  # fmt: skip
def test_how_it_ends(properties: dict[str, Any], keys: dict[str, str]) -> None:
    made = rule_of(**properties)
    assert keys == {k: v for k, v in made.items() if k in ("send_resolved", "repeat_every", "keep_firing_for")}


def old_rule(trigger: dict[str, Any], action: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Insights/scheduledQueryRules",
        "apiVersion": "2018-04-16",
        "name": "old rule",
        "properties": {
            "enabled": "true",
            "source": {"query": "AmlRunStatusChangedEvent", "dataSourceId": "/x", "queryType": "ResultCount"},
            "schedule": {"frequencyInMinutes": 5, "timeWindowInMinutes": "60"},
            "action": {"odata.type": "x.AlertingAction", "severity": "1", "trigger": trigger, **(action or {})},
            **properties,
        },
    }


def test_a_count_of_2018() -> None:
    found = one(old_rule(
        {"thresholdOperator": "GreaterThan", "threshold": 10},
        {"throttlingInMin": 120, "aznsAction": {"actionGroup": ["/x/ml"], "emailSubject": "Runs", "customWebhookPayload": "{}"}},
    ))  # fmt: skip
    assert {
        "name": "old-rule", "severity": "error", "over": "1h", "every": "5m", "value": "value",
        "query": "AmlRunStatusChangedEvent\n| summarize value = count()", "condition": "value > 10", "summary": "Runs",
        "send_resolved": False, "repeat_every": "2h",
    } == found.rule  # fmt: skip
    assert {"name", "source.dataSourceId", "actionGroups"} == set(lost(found))


@pytest.mark.parametrize(("kind", "said"), [("Total", False), ("Consecutive", True)])
def test_a_measurement_of_2018(kind: str, said: bool) -> None:
    found = one(old_rule({
        "thresholdOperator": "LessThan", "threshold": 2,
        "metricTrigger": {
            "thresholdOperator": "GreaterThan", "threshold": 3, "metricTriggerType": kind, "metricColumn": "RunId, Status",
        },
    }, autoMitigate=True))  # fmt: skip
    assert found.rule is not None
    assert whole_query(found.rule) == (
        "AmlRunStatusChangedEvent\n| where AggregatedValue < 2\n| summarize value = count() by RunId, Status\n| where value > 3"
    )
    assert (["RunId", "Status"], said) == (found.rule["by"], "metricTriggerType" in lost(found))
    assert "send_resolved" not in found.rule


def test_a_metric_of_2018_alerts_nobody() -> None:
    found = one(old_rule({}, {"odata.type": "x.LogToMetricAction"}))
    assert found.why_not == "it makes a metric of a query (LogToMetricAction) and alerts nobody"


def test_names() -> None:
    """The display name where it can be a name, else the resource's made one, else the file's; a name twice gets a
    number.
    """
    assert "a.b:c" == rule_of(displayName="a.b:c")["name"]
    assert "Many-failures-here" == one(query_rule() | {"name": "Many failures (here)"}).rule["name"]  # type: ignore[index]
    assert "alerts" == one(query_rule() | {"name": "§§"}).rule["name"]  # type: ignore[index]


def test_other_alerts_say_why_they_stay() -> None:
    found = imported([
        {"type": "Microsoft.AlertsManagement/smartDetectorAlertRules", "name": "a",
         "properties": {"detector": {"id": "FailureAnomaliesDetector"}}},
        {"type": "Microsoft.Insights/alertrules", "name": "b", "properties": {}},
        {"type": "Microsoft.SecurityInsights/alertRules", "name": "c", "properties": {}},
        {"type": "Microsoft.Insights/metricAlerts", "name": "d", "properties": {"criteria": {"allOf": [
            {"metricName": "Failed Runs", "metricNamespace": "Microsoft.MachineLearningServices/workspaces"}]}}},
    ])  # fmt: skip
    assert [
        "its condition is a detector that Azure trains (FailureAnomaliesDetector); nothing says what it looks for",
        "it is a classic alert on a metric of an Azure resource, which tocsin does not get; Azure has retired these",
        "it is a rule of Microsoft Sentinel, which watches security data that tocsin does not get; leave it there",
        "it watches a metric of an Azure resource (Failed Runs of Microsoft.MachineLearningServices/workspaces), and tocsin "
        "gets events, not metrics; for each such run write when: {status: Failed}, or count them by a query with over:",
    ] == [r.why_not for r in found]

"""Our rules as Azure's: what each key becomes, and what is said where it becomes nothing."""

from typing import Any

import pytest

from tests.unit.interchange.helpers import SCHEMA
from tocsin.config.yaml.document import load
from tocsin.interchange.azure.table import prelude, without_prelude
from tocsin.interchange.azure.write import NO_PLACE, export_rule, template_of
from tocsin.interchange.data import rules_of_document
from tocsin.kql.bind.translate import translate
from tocsin.rules.kinds.registry import rule_model

COUNTED = "AmlRunStatusChangedEvent | summarize n = count() by WorkspaceName | where n > 3"
WINDOW: dict[str, Any] = {"name": "w", "query": COUNTED, "over": "1h", "every": "5m", "by": ["WorkspaceName"]}


def properties(rule: dict[str, Any]) -> dict[str, Any]:
    exported = export_rule(rule, SCHEMA)
    assert exported.resource is not None, exported.why_not
    return dict(exported.resource["properties"])


def lost(rule: dict[str, Any]) -> dict[str, str]:
    return {entry.key: entry.why for entry in export_rule(rule, SCHEMA).lost}


def test_a_window_rule() -> None:
    rule = {
        **WINDOW, "description": "many", "severity": "critical", "enabled": False, "for": "2 of 3", "over": "5m",
        "send_resolved": False, "repeat_every": "30m", "labels": {"team": "ranking"}, "annotations": {"wiki": "here"},
    }  # fmt: skip
    exported = export_rule(rule, SCHEMA)
    assert () == exported.lost
    assert {
        "type": "Microsoft.Insights/scheduledQueryRules",
        "apiVersion": "2021-08-01",
        "name": "w",
        "location": "[parameters('location')]",
        "kind": "LogAlert",
        "tags": {"team": "ranking"},
        "properties": {
            "displayName": "w",
            "description": "many",
            "severity": 0,
            "enabled": False,
            "evaluationFrequency": "PT5M",
            "windowSize": "PT5M",
            "scopes": ["[parameters('workspaceId')]"],
            "criteria": {"allOf": [{
                "query": COUNTED,
                "timeAggregation": "Count",
                "dimensions": [{"name": "WorkspaceName", "operator": "Include", "values": ["*"]}],
                "operator": "GreaterThan",
                "threshold": 0,
                "failingPeriods": {"numberOfEvaluationPeriods": 3, "minFailingPeriodsToAlert": 2},
            }]},
            "autoMitigate": False,
            "muteActionsDuration": "PT30M",
            "actions": {"actionGroups": "[parameters('actionGroups')]", "customProperties": {"wiki": "here"}},
        },
    } == exported.resource  # fmt: skip


def test_a_condition_at_the_end_of_a_query_becomes_azures() -> None:
    base = "RunStatusChanged\n| where Status == 'Failed'"
    rule = {**WINDOW, "query": f"{base}\n| summarize value = max(DurationMs) by WorkspaceName\n| where value >= 2.5"}
    split = {
        **WINDOW,
        "query": f"{base}\n| summarize value = max(DurationMs) by WorkspaceName",
        "condition": "value >= 2.5",
    }
    [criterion] = properties(rule)["criteria"]["allOf"]
    assert [criterion] == properties(split)["criteria"]["allOf"]
    assert ("Maximum", "DurationMs", "GreaterThanOrEqual", 2.5) == (
        criterion["timeAggregation"], criterion["metricMeasureColumn"], criterion["operator"], criterion["threshold"]
    )  # fmt: skip
    assert criterion["query"].endswith(base)


def test_an_event_rule_asks_azures_table() -> None:
    exported = export_rule({"name": "r", "when": {"status": "Failed", "final": "true"}}, SCHEMA)
    assert exported.resource is not None
    [criterion] = exported.resource["properties"]["criteria"]["allOf"]
    assert (
        "let RunStatusChanged = AmlRunStatusChangedEvent | extend WillRetry = bool(null);\n"
        "RunStatusChanged\n| where Status == 'Failed'\n| where isnull(WillRetry) or WillRetry == false"
    ) == criterion["query"]
    assert ["RunId"] == [d["name"] for d in criterion["dimensions"]]
    assert exported.resource["properties"]["enabled"] is True
    assert {"when.final", "event rule"} == {entry.key for entry in exported.lost}


def test_columns_that_azure_does_not_have_turn_the_rule_off() -> None:
    rule = {"name": "r", "when": {"status": "Failed", "where": "Tags.env =~ 'prod'"}}
    assert properties(rule)["enabled"] is False
    assert lost(rule)["query"] == (
        "asks for Tags, which AmlRunStatusChangedEvent does not have: exported as not enabled"
    )


def test_the_line_before_a_query_gives_what_azure_has() -> None:
    """With it a query over our table runs on Azure's columns, and it comes off again; a stranger's is left."""
    query = "RunStatusChanged | where DurationMs > 5 and RootRunId != '' and JobKey == RunId and Progress > 0.5"
    azure = {"AmlRunStatusChangedEvent": SCHEMA["AmlRunStatusChangedEvent"]}
    columns = translate(prelude(query) + query, azure).columns
    assert ("long", "string", "real") == (columns["DurationMs"], columns["JobKey"], columns["Progress"])
    assert query == without_prelude(prelude(query) + query)
    other = "let RunStatusChanged = AmlRunStatusChangedEvent | where Status == 'Failed';\nRunStatusChanged"
    assert other == without_prelude(other)
    assert "" == prelude(COUNTED)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"sql": "SELECT 1"}, "it is written in SQL, which Azure does not take"),
        ({"when": {"status": "Failed"}, "for_each": {"table": "nightlies"}},
         "it makes a rule of each row of the table nightlies, which Azure does not have"),
        ({"when": {"status": "Queued", "in_status_for": "45m"}}, "when.in_status_for: time spent in a status is no query"),
        ({"when": {"status": "Running", "silent_for": "10m"}}, "when.silent_for: silence is no query over a window"),
        ({"when": {"absent": {"status": "Completed"}, "cron": "0 2 * * *"}}, "when.absent: what did not come is no query"),
        ({"when": {"status": "Queued", "after": "Running", "times": 3}}, "when.after: a sequence of statuses is no query"),
        ({"when": {"status": "Running", "duration": {"above": "1.5 * p95", "last": "30d"}}}, "when.duration: "),
        ({"query": "Runs | where Status == 'Running'", "over": "run"}, "it reads Runs, which Azure does not have"),
        ({"query": "prices | summarize count()", "over": "1h"}, "it reads the table prices, which Azure does not have"),
        ({"query": COUNTED, "over": "run"}, "over: run: Azure's windows are fixed, not the life of a run"),
        ({"query": COUNTED}, "it has no over:"),
        ({"query": COUNTED, "over": "3d"}, "over: 3d is longer than Azure takes (2d)"),
        ({"query": COUNTED, "over": "1h", "every": "2d"}, "every: 2d is longer than Azure takes (1d)"),
        ({"query": COUNTED, "over": "1h", "for": "5 of 9"}, "for: 5 of 9: Azure counts 6 periods at most"),
        ({"query": COUNTED, "over": "1h", "by": list("abcdefg")}, "Azure splits an alert by 6 columns at most, not by 7"),
        ({}, "it has neither when: nor query:"),
        ({"query": COUNTED, "nosuch": 1}, "it is no valid rule"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_says_why(rule: dict[str, Any], why: str) -> None:
    exported = export_rule({"name": "x", **rule}, SCHEMA)
    assert exported.resource is None
    assert why in exported.why_not


@pytest.mark.parametrize(
    ("keys", "key", "why"),
    [
        ({"over": "7h"}, "over", "Azure does not take 7h; rounded up to 1d"),
        ({"every": "90s"}, "every", "Azure does not take 1m30s; rounded up to 5m"),
        ({"over": "1m"}, "over", "Azure's window is no shorter than its frequency: 5m"),
        ({"for": "2 of 3"}, "for", "Azure counts windows of 1h, not evaluations 5m apart"),
        ({"for": "2h"}, "for", "Azure counts windows, not time: 3 of 3"),
        ({"severity": {"warning": "> 5", "critical": "> 9"}}, "severity", "Azure's does not climb; exported as warning"),
        ({"condition": "n > 2", "resolve": {"when": "n < 1"}}, "resolve",
         "Azure ends an alert when its condition does not hold"),
        ({"send_resolved": False}, "send_resolved", "Azure notifies again every 5m while it holds"),
        ({"repeat_every": "1h"}, "repeat_every", "Azure notifies an alert that ends by itself once"),
        ({"labels": {"team": "{{ Tags.team }}"}}, "labels", NO_PLACE["labels"]),
        ({"annotations": {"x": "{{ RunId }}"}}, "annotations", NO_PLACE["annotations"]),
    ],
)  # fmt: skip
def test_what_is_kept_only_nearly_is_said(keys: dict[str, Any], key: str, why: str) -> None:
    assert {key: why} == lost({**WINDOW, **keys})


MEANINGLESS_TO_AZURE: dict[str, Any] = {
    "auto_close": "1h", "collapse": {"to": "root", "when": {"failed": "20%"}}, "export": {"metric": "tocsin_rule_x"},
    "final_after": "15m", "fields": ["n"], "keep_firing_for": "10m", "kind": "window", "lateness": "2m",
    "limit": {"per": "WorkspaceName", "max": 3, "window": "1d"}, "max_instances": 7, "no_data": "ok",
    "notify": {"to": "owner"}, "owner": "ml", "runbook": "here", "summary": "s", "max_event_age": "1h", "template": "run",
    "tests": [{"name": "t", "expect": [{"at": "1h", "notifications": "0"}]}], "value": "n", "renamed_from": "old",
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(set(NO_PLACE) - {"labels", "annotations"}))
def test_a_key_that_azure_does_not_have_is_said(key: str) -> None:
    assert {key: NO_PLACE[key]} == lost({**WINDOW, key: MEANINGLESS_TO_AZURE[key]})


def test_no_key_of_the_language_is_forgotten() -> None:
    """Each has a place in Azure, or is said to have none, or refuses the rule."""
    placed = {"name", "enabled", "description", "severity", "when", "query", "condition", "by", "over", "every", "for", "resolve",
              "send_resolved", "repeat_every"}  # fmt: skip
    refused = {"sql", "for_each"}
    assert {f.alias or n for n, f in rule_model().model_fields.items()} == placed | refused | set(NO_PLACE)


def test_texts_that_look_like_expressions_are_escaped() -> None:
    exported = export_rule({**WINDOW, "description": "[concat('a')]", "annotations": {"a": "[b]"}}, SCHEMA)
    resource = template_of([exported])["resources"][0]
    assert "[[concat('a')]" == resource["properties"]["description"]
    assert "[[b]" == resource["properties"]["actions"]["customProperties"]["a"]
    assert "[parameters('location')]" == resource["location"]


def test_a_files_defaults_belong_to_its_rules() -> None:
    text = """
    defaults: {severity: error, labels: {team: a, x: "1"}}
    rules:
      - {name: a, when: {status: Failed}, labels: {team: b}, tests: [{name: t, events: [{at: 1m, RunId: 007, Attempt: 2}], expect: [{at: 2m, notifications: 1}]}]}
      - {name: b, when: {status: Failed}, severity: warning}
    """
    a, b = rules_of_document(load(text, "f"))
    assert ({"team": "b", "x": "1"}, "error") == (a["labels"], a["severity"])
    assert {"at": "1m", "RunId": "007", "Attempt": 2} == a["tests"][0]["events"][0]
    assert ({"team": "a", "x": "1"}, "warning") == (b["labels"], b["severity"])

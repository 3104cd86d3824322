"""Rules as other tools write them: Azure's command line, Terraform, Sentinel, files of Kubernetes."""

import json
from typing import Any

import pytest

from tests.unit.interchange.helpers import SCHEMA, lost, models, one
from tocsin.errors import ConfigurationError
from tocsin.interchange.importing import import_text
from tocsin.interchange.report import Imported

FAILED = "AmlRunStatusChangedEvent | where Status == 'Failed'"


def read(text: str | dict[str, Any] | list[Any], file: str = "x.json") -> list[Imported]:
    return list(import_text(text if isinstance(text, str) else json.dumps(text), file, SCHEMA))


SHOWN = {
    "actions": {"actionGroups": ["/s/ag"], "customProperties": None}, "autoMitigate": True,
    "checkWorkspaceAlertsStorageConfigured": None,
    "criteria": {"allOf": [{
        "dimensions": [], "failingPeriods": {"minFailingPeriodsToAlert": 1, "numberOfEvaluationPeriods": 1},
        "metricMeasureColumn": None, "operator": "GreaterThan", "query": FAILED, "resourceIdColumn": None, "threshold": 0.0,
        "timeAggregation": "Count",
    }]},
    "description": None, "displayName": "gone bad", "enabled": True, "etag": '"1"', "evaluationFrequency": "0:15:00",
    "id": "/s/bad", "kind": None, "location": "westeurope", "muteActionsDuration": None, "name": "bad", "resourceGroup": "r",
    "scopes": ["x"], "severity": 1, "systemData": None, "tags": {"team": "ml"}, "type": "microsoft.insights/scheduledqueryrules",
    "windowSize": "1 day, 0:00:00",
}  # fmt: skip


def test_what_the_command_line_of_azure_prints() -> None:
    """`az monitor scheduled-query show`, and `list`."""
    (found, same) = read([SHOWN, {**SHOWN, "name": "other"}])
    rule = {
        "name": "bad", "over": "1d", "every": "15m", "severity": "error", "summary": "gone bad", "labels": {"team": "ml"},
        "query": f"{FAILED}\n| summarize value = count()", "condition": "value > 0", "value": "value",
    }  # fmt: skip
    assert (rule, {**rule, "name": "other"}) == (found.rule, same.rule)
    assert {"actionGroups", "scopes"} == set(lost(found))


PLAN: dict[str, Any] = {
    "format_version": "1.2",
    "planned_values": {"root_module": {"child_modules": [{"resources": [
        {"address": "module.m.azurerm_monitor_scheduled_query_rules_alert_v2.a", "mode": "managed",
         "type": "azurerm_monitor_scheduled_query_rules_alert_v2", "name": "a", "values": {
            "name": "runs-bad", "description": None, "display_name": None, "enabled": True, "evaluation_frequency": "PT5M",
            "window_duration": "PT30M", "severity": 2, "auto_mitigation_enabled": True, "query_time_range_override": None,
            "mute_actions_after_alert_duration": None, "scopes": ["x"], "tags": None,
            "criteria": [{
                "query": "AmlRunStatusChangedEvent | summarize n = dcount(RunId) by Status", "time_aggregation_method": "Maximum",
                "threshold": 5, "operator": "GreaterThan", "metric_measure_column": "n", "resource_id_column": None,
                "dimension": [{"name": "Status", "operator": "Include", "values": ["Failed"]}],
                "failing_periods": [{"minimum_failing_periods_to_trigger_alert": 2, "number_of_evaluation_periods": 3}],
            }],
            "action": [{"action_groups": ["/s/ag"], "custom_properties": {"runbook": "https://wiki/x"}}]}},
        {"address": "data.x", "mode": "data", "type": "azurerm_monitor_scheduled_query_rules_alert", "values": {}},
    ]}], "resources": [
        {"address": "azurerm_monitor_scheduled_query_rules_alert.old", "mode": "managed",
         "type": "azurerm_monitor_scheduled_query_rules_alert", "values": {
            "name": "old", "description": "d", "enabled": False, "frequency": 5, "time_window": 30, "severity": 1, "throttling": 0,
            "auto_mitigation_enabled": False, "query": FAILED, "data_source_id": "/w", "tags": {},
            "trigger": [{"operator": "GreaterThan", "threshold": 3, "metric_trigger": []}],
            "action": [{"action_group": ["/s/ag"], "email_subject": "bad", "custom_webhook_payload": "{}"}]}},
    ]}},
}  # fmt: skip


def test_a_plan_of_terraform() -> None:
    """Both of its resources, in modules too; `.tf` itself is not read, and says what is."""
    old, new = read(PLAN)
    assert {
        "name": "old", "enabled": False, "description": "d", "over": "30m", "every": "5m", "severity": "error",
        "query": f"{FAILED}\n| summarize value = count()", "condition": "value > 3", "value": "value", "summary": "bad",
        "send_resolved": False, "repeat_every": "5m",
    } == old.rule  # fmt: skip
    assert {
        "name": "runs-bad", "over": "30m", "every": "5m", "for": "2 of 3", "by": ["Status"], "severity": "warning",
        "query": "AmlRunStatusChangedEvent | summarize n = dcount(RunId) by Status\n| where tostring(Status) in ('Failed')\n"
        "| summarize value = max(n) by Status",
        "condition": "value > 5", "value": "value", "annotations": {"runbook": "https://wiki/x"},
    } == new.rule  # fmt: skip
    assert "module.m.azurerm_monitor_scheduled_query_rules_alert_v2.a" == new.path
    with pytest.raises(ConfigurationError, match="is Terraform, which is not read; import what `terraform show -json`"):
        read('resource "azurerm_monitor_scheduled_query_rules_alert_v2" "a" {\n  name = "x"\n}\n', "main.tf")


SENTINEL = """
id: 0b520385-6a16-4e6f-ba89-c320d857695f
name: Mass cancellation of runs
description: |
  'Many runs were canceled.'
severity: High
queryFrequency: 1h
queryPeriod: 1d
triggerOperator: gt
triggerThreshold: 0
tactics: [Impact]
query: |
  let threshold = 10;
  AmlRunStatusChangedEvent | where Status == "Canceled" | summarize c = dcount(RunId) by Status | where c > threshold
version: 1.0.3
kind: Scheduled
"""


def test_a_rule_of_sentinel_over_tables_that_are_here() -> None:
    (found,) = read(SENTINEL, "rule.yaml")
    assert found.rule is not None and not found.off
    assert ("Mass-cancellation-of-runs", "error", "1d", "1h", "Many runs were canceled.") == tuple(
        found.rule[key] for key in ("name", "severity", "over", "every", "description")
    )
    assert {"tactics"} == set(lost(found)) and "Mass-cancellation-of-runs" == models([found])[0].name
    (other,) = read(SENTINEL.replace("AmlRunStatusChangedEvent", "SigninLogs"), "rule.yaml")
    assert other.rule is None and "security data that tocsin does not get" in other.why_not
    assert "Mass cancellation of runs" == other.name


def test_near_real_time_rules_of_sentinel_fire_for_each_row() -> None:
    resource = {
        "type": "Microsoft.SecurityInsights/alertRules", "apiVersion": "2023-11-01", "name": "guid", "kind": "NRT",
        "properties": {"displayName": "Failed runs", "severity": "Low", "enabled": True, "query": FAILED},
    }  # fmt: skip
    found = one(resource)
    assert {"name": "Failed-runs", "severity": "informational", "query": FAILED, "summary": "Failed runs"} == found.rule


RULES = "groups: [{name: g, rules: [{alert: A, expr: 'increase(tocsin_runs_status_changes_total[1h]) > 1'}]}]"


def test_other_objects_of_kubernetes_are_passed_over() -> None:
    """Also where rules lie in a ConfigMap. A file of nothing else has no rule in it."""
    held = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: r}}\ndata:\n  a.yml: |\n    {RULES}\n  other: x\n"
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
    assert ["A", "A"] == [each.name for each in read(f"{service}---\n{RULES}\n---\n{held}", "all.yaml")]
    with pytest.raises(ConfigurationError, match="has no alert rule in it"):
        read(service, "s.yaml")


@pytest.mark.parametrize(
    ("rule", "name", "why"),
    [
        ("{uid: a, title: Failed runs, condition: C, data: []}", "Failed runs", "it is a rule of Grafana"),
        ('{alert: L, expr: \'sum(rate({app="t"} |= "error" [5m])) > 1\'}', "L", "it is LogQL"),
        ("{alert: D, expr: 'sum(rate(foo[5m])) by (a) >'}", "D", "its expression is invalid: nothing follows '>'"),
        ("{alert: U, expr: 'up == 0 unless'}", "U", "its expression is invalid: nothing follows 'unless'"),
    ],
)
def test_rules_of_others_say_whose_they_are(rule: str, name: str, why: str) -> None:
    (found,) = read(f"groups: [{{name: g, rules: [{rule}]}}]", "rules.yaml")
    assert name == found.name and why in found.why_not

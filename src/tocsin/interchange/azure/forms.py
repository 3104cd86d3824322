"""Rules over queries in the forms that other tools write, as the bodies that Azure Monitor's API takes.

- `az monitor scheduled-query show` and `list`: without `properties`, times as Python writes them.
- `terraform show -json`, of a plan or a state: azurerm's two resources. Source: the provider's reference.
- Microsoft Sentinel's scheduled and NRT analytics rules, as resources and as the YAML of its repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tocsin.interchange.azure.scope import Unknown
from tocsin.interchange.words import rule_name

QUERY_RULE = "Microsoft.Insights/scheduledQueryRules"
_OF_RESOURCES = frozenset({"etag", "id", "kind", "location", "name", "resourceGroup", "systemData", "tags", "type"})
"""What stands beside `properties` where there are any."""
_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")
_SHORT = re.compile(r"(\d+)([dhm])")

Body = dict[str, Any]


def without_properties(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    """A resource as the command line of Azure prints it, with `properties` as everywhere else."""
    if isinstance(resource.get("properties"), Mapping) or not isinstance(resource.get("criteria"), Mapping):
        return resource
    inside = {key: _plain(value) for key, value in resource.items() if key not in _OF_RESOURCES and value is not None}
    return {**{key: value for key, value in resource.items() if key in _OF_RESOURCES}, "properties": inside}


def _plain(value: Any) -> Any:
    """A time like `1 day, 0:05:00` in ISO's form."""
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    days, hours, minutes, seconds = (int(group or 0) for group in found.groups())
    return f"P{days}DT{hours}H{minutes}M{seconds}S"


# -- Terraform -------------------------------------------------------------------------------------------------------


def of_terraform(value: Any) -> Iterator[tuple[str, Body]]:
    """Address and body of each rule in what `terraform show -json` prints; nothing where it is something else."""
    whole = value.get("planned_values") or value.get("values") if isinstance(value, Mapping) else None
    modules = [whole.get("root_module")] if isinstance(whole, Mapping) else []
    while modules:
        module = modules.pop(0)
        if not isinstance(module, Mapping):
            continue
        modules += module.get("child_modules") or []
        for resource in module.get("resources") or ():
            made = _TERRAFORM.get(resource.get("type", ""))
            if made is not None and resource.get("mode") != "data":
                values = resource.get("values") or {}
                named = {"type": QUERY_RULE, "name": values.get("name") or "", "tags": values.get("tags") or {}}
                yield str(resource.get("address", "")), {**named, "properties": _given(made(values))}


def _given(properties: Mapping[str, Any]) -> Body:
    return {key: value for key, value in properties.items() if value is not None}


def _first(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The one block of that name."""
    blocks = values.get(key) or [{}]
    block = blocks[0] if isinstance(blocks, list) else blocks
    return block if isinstance(block, Mapping) else {}


def _new(v: Mapping[str, Any]) -> Body:
    c, action = _first(v, "criteria"), _first(v, "action")
    periods = _first(c, "failing_periods")
    criterion = {
        "query": c.get("query"), "timeAggregation": c.get("time_aggregation_method"), "operator": c.get("operator"),
        "threshold": c.get("threshold"), "metricMeasureColumn": c.get("metric_measure_column"),
        "resourceIdColumn": c.get("resource_id_column"), "dimensions": c.get("dimension") or None,
        "failingPeriods": {
            "numberOfEvaluationPeriods": periods.get("number_of_evaluation_periods"),
            "minFailingPeriodsToAlert": periods.get("minimum_failing_periods_to_trigger_alert"),
        } if periods else None,
    }  # fmt: skip
    return {
        "description": v.get("description"), "displayName": v.get("display_name"), "severity": v.get("severity"),
        "enabled": v.get("enabled", True), "evaluationFrequency": v.get("evaluation_frequency"),
        "windowSize": v.get("window_duration"), "overrideQueryTimeRange": v.get("query_time_range_override"),
        "muteActionsDuration": v.get("mute_actions_after_alert_duration"), "scopes": v.get("scopes"),
        "autoMitigate": bool(v.get("auto_mitigation_enabled")), "criteria": {"allOf": [_given(criterion)]},
        "actions": {"actionGroups": action.get("action_groups") or [], "customProperties": action.get("custom_properties") or {}},
    }  # fmt: skip


def _old(v: Mapping[str, Any]) -> Body:
    trigger, action = _first(v, "trigger"), _first(v, "action")
    metric = _first(trigger, "metric_trigger")
    triggers: Body = {"thresholdOperator": trigger.get("operator"), "threshold": trigger.get("threshold")}
    if metric:
        triggers["metricTrigger"] = {
            "thresholdOperator": metric.get("operator"), "threshold": metric.get("threshold"),
            "metricTriggerType": metric.get("metric_trigger_type"), "metricColumn": metric.get("metric_column"),
        }  # fmt: skip
    notifies = {"actionGroup": action.get("action_group") or [], "emailSubject": action.get("email_subject")}
    return {
        "description": v.get("description"), "enabled": v.get("enabled", True),
        "autoMitigate": bool(v.get("auto_mitigation_enabled")),
        "source": {"query": v.get("query"), "dataSourceId": v.get("data_source_id")},
        "schedule": {"frequencyInMinutes": v.get("frequency"), "timeWindowInMinutes": v.get("time_window")},
        "action": _given({
            "severity": v.get("severity"), "throttlingInMin": v.get("throttling") or None, "trigger": triggers,
            "aznsAction": notifies,
        }),
    }  # fmt: skip


_TERRAFORM = {
    "azurerm_monitor_scheduled_query_rules_alert_v2": _new,
    "azurerm_monitor_scheduled_query_rules_alert": _old,
}


# -- Sentinel --------------------------------------------------------------------------------------------------------

_SEVERITIES = {"high": 1, "medium": 2, "low": 3, "informational": 4}
_OPERATORS = {"gt": "GreaterThan", "lt": "LessThan", "eq": "Equal"}
_READ = frozenset({
    "description", "displayName", "enabled", "id", "kind", "name", "query", "queryFrequency", "queryPeriod", "severity",
    "suppressionDuration", "suppressionEnabled", "triggerOperator", "triggerThreshold", "version", "status",
})  # fmt: skip


def is_sentinel(value: Any) -> bool:
    """Whether it is an analytics rule as the YAML of Sentinel's repository has it."""
    return isinstance(value, Mapping) and "query" in value and ("queryPeriod" in value or value.get("kind") == "NRT")


def of_sentinel(p: Mapping[str, Any], kind: str) -> Body:
    """The body of an analytics rule's properties. What Sentinel alone knows stays, to be named as not kept."""
    display = p.get("displayName") or p.get("name") or ""
    severity = _SEVERITIES.get(str(p.get("severity")).lower(), p.get("severity"))
    operator = str(p.get("triggerOperator", "gt"))
    criterion = {
        "query": p.get("query"), "timeAggregation": "Count", "threshold": p.get("triggerThreshold", 0),
        "operator": _OPERATORS.get(operator.lower(), operator),
    }  # fmt: skip
    quiet = p.get("suppressionDuration") if str(p.get("suppressionEnabled")).lower() == "true" else None
    properties = {
        "displayName": display, "severity": severity, "enabled": p.get("enabled", True), "autoMitigate": False,
        "evaluationFrequency": _iso(p.get("queryFrequency", "PT1M")), "windowSize": _iso(p.get("queryPeriod", "PT5M")),
        "muteActionsDuration": _iso(quiet), "criteria": {"allOf": [criterion]}, "description": _unquoted(p.get("description")),
        **{key: value for key, value in p.items() if key not in _READ},
    }  # fmt: skip
    name = rule_name(display) if isinstance(display, str) else ""
    body = {"type": QUERY_RULE, "name": name, "properties": _given(properties)}
    return {**body, "kind": "SimpleLogAlert"} if kind.lower() == "nrt" else body


def _iso(value: Any) -> Any:
    found = _SHORT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    return f"P{found[1]}D" if found[2] == "d" else f"PT{found[1]}{found[2].upper()}"


def _unquoted(value: Any) -> Any:
    """The repository's descriptions stand in quotes inside of their YAML."""
    text = value.text if isinstance(value, Unknown) else value
    return text.strip().strip("'").strip() if isinstance(text, str) else text

"""Alert rules as modules, policies and newer APIs write them: optional parameters, merged objects, text that holds JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.interchange.helpers import SCHEMA
from tocsin.config.yaml.document import load
from tocsin.errors import ConfigurationError
from tocsin.interchange.azure.expressions import Call, Literal, parse_expression
from tocsin.interchange.azure.scope import Scope
from tocsin.interchange.data import rules_of_document
from tocsin.interchange.importing import import_files, import_text

HEAD = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
}
RULE: dict[str, Any] = {
    "type": "Microsoft.Insights/scheduledQueryRules",
    "apiVersion": "2022-06-15",
    "name": "[parameters('name')]",
    "properties": {
        "severity": 2, "enabled": True, "evaluationFrequency": "PT5M", "windowSize": "PT15M",
        "criteria": {"allOf": [{
            "query": "AmlRunStatusChangedEvent", "timeAggregation": "Count", "operator": "GreaterThan",
            "threshold": "[parameters('threshold')]",
        }]},
    },
}  # fmt: skip
INNER = {
    **HEAD,
    "parameters": {"name": {"defaultValue": "inner"}, "threshold": {"defaultValue": 5}},
    "resources": [RULE],
}


def module(parameters: dict[str, Any], passed: dict[str, Any], **more: Any) -> str:
    """A deployment of INNER, as Bicep compiles a module."""
    properties = {"expressionEvaluationOptions": {"scope": "inner"}, "template": INNER, "parameters": passed, **more}
    deployment = {"type": "Microsoft.Resources/deployments", "name": "m", "properties": properties}
    return json.dumps({**HEAD, "parameters": parameters, "resources": [deployment]})


def conditions(text: str) -> list[tuple[str, str]]:
    found = list(import_text(text, "f.json", SCHEMA))
    assert all(one.rule is not None for one in found), [one.why_not for one in found]
    return [(str(one.rule["name"]), str(one.rule["condition"])) for one in found if one.rule is not None]


@pytest.mark.parametrize(
    ("alert", "passed", "expected"),
    [
        ({"nullable": True}, "[tryGet(parameters('alert'), 'threshold')]", "value > 5"),
        ({"defaultValue": {"threshold": 7}}, "[tryGet(parameters('alert'), 'Threshold')]", "value > 7"),
        ({"defaultValue": {"a": [{"t": 8}]}}, "[tryGet(parameters('alert'), 'a', 0, 't')]", "value > 8"),
        ({"defaultValue": {"t": 9}}, "[shallowMerge(createArray(createObject('t', 1), parameters('alert'))).t]", "value > 9"),
        ({"nullable": True}, "[coalesce(tryGet(parameters('alert'), 'threshold'), 12)]", "value > 12"),
    ],
)  # fmt: skip
def test_what_is_optional_is_worked_out(alert: dict[str, Any], passed: str, expected: str) -> None:
    """Null stands for the inner default."""
    assert [("inner", expected)] == conditions(module({"alert": alert}, {"threshold": {"value": passed}}))


def test_a_template_may_be_text() -> None:
    """As a policy holds it in a variable."""
    outer = json.loads(module({}, {"threshold": {"value": 3}}, template="[json(variables('t'))]"))
    outer["variables"] = {"t": json.dumps(INNER)}
    assert [("inner", "value > 3")] == conditions(json.dumps(outer))
    assert [("inner", "value > 3")] == conditions(module({}, {"threshold": {"value": 3}}, template=json.dumps(INNER)))


def test_rules_in_a_text_are_copied() -> None:
    """A variable's text that is a JSON list is no expression."""
    rules = json.dumps([{"name": "a", "t": 1}, {"name": "b", "t": 2}])
    each = json.dumps(RULE).replace("parameters('name')", "json(variables('rules'))[copyIndex()].name")
    each = each.replace("parameters('threshold')", "json(variables('rules'))[copyIndex()].t")
    copied = {**json.loads(each), "copy": {"name": "c", "count": "[length(json(variables('rules')))]"}}
    text = json.dumps({**HEAD, "variables": {"rules": rules}, "resources": [copied]})
    assert [("a", "value > 1"), ("b", "value > 2")] == conditions(text)


def test_a_simple_log_alert_is_an_event_rule() -> None:
    """It has no window: each row fires. Of a query that counts no row can."""
    criteria = {"allOf": [{"query": "AmlRunStatusChangedEvent | where Status == 'Failed'"}]}
    rule = {**RULE, "kind": "SimpleLogAlert", "name": "s", "properties": {"severity": 1, "criteria": criteria}}
    (one,) = import_text(json.dumps({**HEAD, "resources": [rule]}), "f.json", SCHEMA)
    assert one.rule is not None and not one.off
    assert {"over", "every", "condition"}.isdisjoint(one.rule)
    criteria["allOf"][0]["query"] += " | count"
    (one,) = import_text(json.dumps({**HEAD, "resources": [rule]}), "f.json", SCHEMA)
    assert "no single row can fire" in one.off


def test_a_linked_template_is_said(tmp_path: Path) -> None:
    """That a file has no alert rule is said only of one that has none."""
    path = tmp_path / "f.json"
    path.write_text(module({}, {}, template=None, templateLink={"uri": "https://x.example/y.json"}))
    with pytest.raises(ConfigurationError) as caught:
        import_files([path], SCHEMA)
    assert "resources[0]: its template lies at https://x.example/y.json, which is not read" in str(caught.value)


def test_an_export_keeps_flags_as_flags() -> None:
    text = "rules:\n  - {name: a, enabled: false, when: {status: Failed, final: false}, labels: {enabled2: 'true'}}\n"
    (data,) = rules_of_document(load(text, "f"))
    assert (False, False, "true") == (data["enabled"], data["when"]["final"], data["labels"]["enabled2"])


def test_null_counts_for_no_object() -> None:
    merge = Call("shallowMerge", (parse_expression("createArray(createObject('a', 1), null(), createObject('b', 2))"),))
    assert {"a": 1, "b": 2} == Scope()._node(merge)
    assert Scope()._node(Call("tryGet", (Literal(None), Literal("x")))) is None

"""ARM templates are read as Azure reads them: comments, expressions, loops, deployments in deployments, policies."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.interchange.helpers import SCHEMA, imported, lost, one, query_rule, template, whole_query
from tocsin.errors import ConfigurationError
from tocsin.interchange.azure.expressions import ExpressionError
from tocsin.interchange.azure.jsonc import load_jsonc, looks_like_json
from tocsin.interchange.azure.resources import parameter_values
from tocsin.interchange.azure.scope import Budget, Scope, Unknown
from tocsin.interchange.importing import import_text
from tocsin.interchange.report import Imported


def scope(**parts: Any) -> Scope:
    return Scope.of(template(**parts), parts.pop("given", {}), Budget())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, // one\n "b": [1, 2,], /* two\n lines */ "c": "// no comment /* here */",}',
         {"a": 1, "b": [1, 2], "c": "// no comment /* here */"}),
        ('{"a": 1, // a "]" in a comment\n // "x": [1]\n "b": 2}', {"a": 1, "b": 2}),
        ('{"a": "one\ntwo"}', {"a": "one\ntwo"}),
        ('\ufeff[1]', [1]),
        ('{"a": "\\"//x"}', {"a": '"//x'}),
    ],
)  # fmt: skip
def test_json_with_comments(text: str, value: Any) -> None:
    assert value == load_jsonc(text, "f")
    assert looks_like_json(text)


def test_what_is_no_json_is_named_by_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"^f:4: is no JSON"):
        load_jsonc('{\n/* one\n two */\n"a" 1}', "f")
    with pytest.raises(ConfigurationError, match="nested deeper than 64"):
        load_jsonc("[" * 70 + "]" * 70, "f")
    with pytest.raises(ConfigurationError, match="is no JSON"):
        load_jsonc("[" * 100_000, "f")


@pytest.mark.parametrize("text", ['{"a": 1' + ",/*" * 200_000, "[" + "," * 300_000 + "]", '["' + "\\" * 300_000])
def test_hostile_text_is_read_in_one_pass(text: str) -> None:
    """Comments, commas and strings without an end take no time that grows with their square."""
    with pytest.raises(ConfigurationError, match="is no JSON"):
        load_jsonc(text, "f")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("concat('a', 'it''s', 1, true)", "ait's1True"),
        ("concat(createArray(1), createArray(2))", [1, 2]),
        ("format('{0}-{1:N0} {{x}} {0,4}|{0,-4}|', 'a', 12345)", "a-12,345 {x}    a|a   |"),
        ("toLower('ABC')", "abc"),
        ("if(equals('a', 'A'), 1, 2)", 2),
        ("if(equals(1, 1.0), 1, fail())", 1),
        ("if(empty(''), json('null'), 1)", None),
        ("json('{\"a\": [1]}').a[0]", 1),
        ("and(true(), not(false))", True),
        ("or(false, contains('abc', 'b'))", True),
        ("contains(createObject('Key', 1), 'key')", True),
        ("split('a/b,c', createArray('/', ','))[2]", "c"),
        ("join(createArray('a', 1), '\",\"')", 'a","1'),
        ("first(skip(createArray(1, 2, 3), 1))", 2),
        ("last(take('abcdef', 3))", "c"),
        ("union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2)))",
         {"a": {"x": 1, "y": 2}}),
        ("intersection(createArray(1, 2), createArray(2, 3))", [2]),
        ("length(range(3, 4))", 4),
        ("div(-7, 2)", -3),
        ("mod(-7, 2)", -1),
        ("max(1, 5, 3)", 5),
        ("coalesce(null(), 'x')", "x"),
        ("padLeft('7', 3, '0')", "007"),
        ("replace(substring('abcdef', 1, 3), 'c', '-')", "b-d"),
        ("base64ToString(base64('hé'))", "hé"),
        ("int('42')", 42),
        ("string(createArray(1, 'a'))", '[1,"a"]'),
        ("items(createObject('b', 1, 'a', 2))[0].key", "a"),
        ("createObject('a', 1).?b", None),
        ("map(createArray(1, 2), lambda('x', mul(lambdaVariables('x'), 10)))", [10, 20]),
        ("filter(createArray(1, 5), lambda('x', greater(lambdaVariables('x'), 2)))", [5]),
        ("startsWith('Abc', 'aB')", True),
        ("indexOf('abc', 'C')", 2),
        ("uriComponent('a b')", "a%20b"),
        ("tryGet(createArray(1), 3)", None),
    ],
)  # fmt: skip
def test_a_function_gives_what_azure_gives(expression: str, value: Any) -> None:
    assert value == scope().value(f"[{expression}]")


@pytest.mark.parametrize("text", ["[[concat('a')]", "[a", "a]", "plain", ""])
def test_what_is_no_expression_is_text(text: str) -> None:
    assert (text[1:] if text.startswith("[[") else text) == scope().value(text)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("concat('a'", "ends too early"),
        ("concat('a') x", "does not go on with 'x'"),
        ("nosuch(1)", "nosuch() is not known"),
        ("variables('x')", "variable 'x' is not declared"),
        ("div(1, 0)", "does not take these arguments"),
        ("createObject('a', 1).b", "there is no 'b' in it"),
        ("copyIndex()", "outside of its loop"),
        ("range(0, 100000000)", "does not take these arguments"),
        ("padLeft('x', 1000000000)", "does not take these arguments"),
        ("'a' ~ 'b'", "no part of an expression"),
        ("a", "neither a value nor a call"),
        ("x.y(1)", "not declared"),
    ],
)
def test_a_wrong_expression_says_what_is_wrong(expression: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why.replace("(", r"\(").replace(")", r"\)")):
        scope().value(f"[{expression}]")


def test_hostile_expressions_end() -> None:
    """Circles, deep nesting and texts that double end in an error, not in a dead process."""
    with pytest.raises(ExpressionError, match="made of itself"):
        scope(variables={"a": "[variables('b')]", "b": "[variables('a')]"}).value("[variables('a')]")
    with pytest.raises(ExpressionError, match="deeper than"):
        scope().value("[" + "concat(" * 100 + "'x'" + ")" * 100 + "]")
    doubling = {f"v{i}": f"[concat(variables('v{i + 1}'), variables('v{i + 1}'))]" for i in range(40)}
    with pytest.raises(ExpressionError, match="makes a text of"):
        scope(variables={**doubling, "v40": "xxxxxxxxxx"}).value("[variables('v0')]")
    with pytest.raises(ExpressionError, match="steps to work out"):
        loops = "[length(range(0, 800))]"
        scope(variables={"copy": [{"name": "a", "count": 800, "input": {"copy": [
            {"name": "b", "count": loops, "input": {"copy": [{"name": "c", "count": 800, "input": 1}]}},
        ]}}]}).value("[variables('a')]")  # fmt: skip


def test_what_only_azure_knows_stays_visible() -> None:
    value = scope(parameters={"x": {"type": "string"}}).value(
        "[concat('a-', toLower(resourceGroup().name), parameters('x'))]"
    )
    assert value == Unknown(
        "a-${resourceGroup().name}${x}", ("resourceGroup() is known to Azure only", "parameter 'x' has no value")
    )
    assert True is scope().value("[or(true, equals(subscription().id, 'x'))]")
    unknown = scope().value("[resourceId('Microsoft.Insights/actionGroups', 'ml')]")
    assert unknown.text == "${resourceGroup().id}/providers/Microsoft.Insights/actionGroups/ml"


def test_parameters_variables_and_functions_of_ones_own() -> None:
    functions = [{"namespace": "my", "members": {"tag": {
        "parameters": [{"name": "n", "type": "string"}], "output": {"value": "[concat('x-', parameters('n'))]"},
    }}}]  # fmt: skip
    made = scope(
        parameters={"Env": {"type": "string", "defaultValue": "dev"}, "name": {"defaultValue": "[parameters('env')]"}},
        variables={"Tag": "[my.tag(parameters('NAME'))]"},
        functions=functions,
    )
    assert "x-dev" == made.value("[variables('tag')]")
    given = Scope.of(template(parameters={"env": {"defaultValue": "dev"}}), {"ENV": "prod"}, Budget())
    assert "prod" == given.value("[parameters('env')]")


def test_a_parameters_file() -> None:
    value = parameter_values({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"a": {"value": 1}, "b": {"reference": {"keyVault": {}}}},
    })  # fmt: skip
    assert (1, ("parameter 'b' is a secret of a key vault",)) == (value["a"], value["b"].why)
    assert {"a": 1} == parameter_values({"a": 1})


def test_a_loop_makes_a_rule_of_each_round() -> None:
    rule = query_rule(severity="[copyIndex()]") | {
        "name": "[concat('failures-', parameters('teams')[copyIndex('each')])]",
        "copy": {"name": "each", "count": "[length(parameters('teams'))]"},
    }
    found = imported(template(rule, parameters={"teams": {"type": "array", "defaultValue": ["a", "b"]}}))
    assert [("failures-a", "critical"), ("failures-b", "error")] == [
        (r.rule["name"], r.rule["severity"]) for r in found if r.rule
    ]
    [broken] = imported(template(rule, parameters={"teams": {"type": "array"}}))
    assert broken.why_not == "how many copies there are is not known: parameter 'teams' has no value"


def test_a_loop_inside_of_a_rule() -> None:
    rule = query_rule()
    rule["properties"]["criteria"]["allOf"][0]["copy"] = [
        {"name": "dimensions", "count": 2, "input": {
            "name": "[concat('Col', copyIndex('dimensions', 1))]", "operator": "Include", "values": ["*"]}},
    ]  # fmt: skip
    found = one(template(rule))
    assert found.rule is not None
    assert ["Col1", "Col2"] == found.rule["by"]


def nested(scope_of: str | None) -> dict[str, Any]:
    deployment: dict[str, Any] = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "inner",
        "properties": {
            "mode": "Incremental",
            "parameters": {"name": {"value": "[concat('from-', parameters('name'))]"}},
            "template": template(
                query_rule() | {"name": "[parameters('name')]"}, parameters={"name": {"type": "string"}}
            ),
        },
    }
    if scope_of:
        deployment["properties"]["expressionEvaluationOptions"] = {"scope": scope_of}
    return template(deployment, parameters={"name": {"defaultValue": "outer"}})


@pytest.mark.parametrize(("scope_of", "name"), [("inner", "from-outer"), ("outer", "outer"), (None, "outer")])
def test_a_deployment_inside_of_a_template(scope_of: str | None, name: str) -> None:
    """Its expressions are worked out where Azure does: outside, unless it says inner."""
    found = one(nested(scope_of))
    assert (name, "resources[0].properties.template.resources[0]") == (found.name, found.path)


def test_resources_by_name_as_newer_bicep_writes_them() -> None:
    value = template(languageVersion="2.0")
    value["resources"] = {"alert": query_rule(), "known": query_rule() | {"existing": True}}
    assert ["resources.alert"] == [r.path for r in imported(value)]


@pytest.mark.parametrize(
    ("condition", "why_not", "off"),
    [
        (True, "", ""),
        ("[equals(parameters('on'), 'yes')]", "its condition, or that of the deployment around it, is false", ""),
        ("[equals(resourceGroup().name, 'x')]", "", "whether it is deployed: resourceGroup() is known to Azure only"),
    ],
)
def test_a_condition(condition: Any, why_not: str, off: str) -> None:
    found = one(template(query_rule() | {"condition": condition}, parameters={"on": {"defaultValue": "no"}}))
    assert (why_not, off) == (found.why_not.partition(":")[0], found.off)
    assert bool(off) == (found.rule is not None and found.rule.get("enabled") is False)


@pytest.fixture(scope="module")
def modules() -> dict[str, Imported]:
    """What ``bicep build`` makes of modules: a deployment each."""
    text = (Path(__file__).parents[2] / "data" / "bicep_modules.json").read_text()
    return {rule.path.split("resources[")[1].split("]")[0]: rule for rule in import_text(text, "main.json", SCHEMA)}


def threshold(found: Imported) -> str:
    assert found.rule is not None, found.why_not
    return whole_query(found.rule).rpartition("\n")[2]


def test_a_module_that_is_not_deployed_is_not_imported(modules: dict[str, Imported]) -> None:
    """Its condition stands at the deployment, not at the rule: also where the deployment lies in another one."""
    for number in ("0", "8"):
        assert modules[number].rule is None and "the deployment around it, is false" in modules[number].why_not
    assert (False, "whether it is deployed: resourceGroup() is known to Azure only") == (
        (modules["7"].rule or {}).get("enabled"), modules["7"].off,
    )  # fmt: skip


def test_a_parameter_that_is_passed_as_an_expression_counts(modules: dict[str, Imported]) -> None:
    """Not the default of the module, which may be another rule: each row fires."""
    assert "| where value > 7" == threshold(modules["1"])
    assert "| where value > 5" == threshold(modules["2"])
    assert "| where value > 90" == threshold(modules["3"])
    # null is passed: then the default holds
    assert "| where value > 0" == threshold(modules["4"])


def test_what_is_passed_and_known_to_azure_only_is_refused_by_name(modules: dict[str, Imported]) -> None:
    assert modules["5"].rule is None
    assert (
        modules["5"].why_not.startswith("threshold: 'threshold' is passed as ${if(")
        and "resourceGroup() is known" in modules["5"].why_not
    )
    assert modules["6"].rule is None and "reference() is known to Azure only" in modules["6"].why_not
    assert modules["9"].rule is None and "how many copies there are is not known" in modules["9"].why_not


def test_a_wrong_expression_hurts_its_property_only() -> None:
    found = one(template(query_rule(scopes=["[nosuch()]"], description="[nosuch()]")))
    assert found.rule is not None
    assert (
        "holds ${…}, which is yours to fill in: the function nosuch() is not known here" == lost(found)["description"]
    )


def policy(*, escaped: bool) -> dict[str, Any]:
    e = "[" if escaped else ""
    return {
        "type": "Microsoft.Authorization/policyDefinitions",
        "name": "deploy",
        "properties": {
            "parameters": {"severity": {"type": "String", "defaultValue": "0"}},
            "policyRule": {
                "if": {"field": "type", "equals": "x"},
                "then": {"details": {"deployment": {"properties": {
                    "parameters": {"severity": {"value": f"{e}[parameters('severity')]"}},
                    "template": template(
                        query_rule(severity=f"{e}[parameters('severity')]"), parameters={"severity": {"type": "String"}}
                    ),
                }}}},
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("where", ["alone", "in a template", "only its rule"])
def test_a_rule_that_a_policy_deploys(escaped: bool, where: str) -> None:
    """Whether its expressions are escaped, since a template carries it, or not."""
    value: Any = policy(escaped=escaped)
    if where == "in a template":
        value = template(value)
    elif where == "only its rule":
        value = value["properties"]
    found = one(value)
    assert found.rule is not None
    assert "critical" == found.rule["severity"]


@pytest.mark.parametrize(
    "value",
    [
        query_rule(),
        [query_rule()],
        {"value": [query_rule()]},
        {"name": "failures", "properties": query_rule()["properties"]},
        {"resources": [query_rule()]},
        template({"type": "Microsoft.X/y", "name": "p", "resources": [query_rule()]}),
    ],
)
def test_bodies_lists_and_children(value: Any) -> None:
    assert "failures" == one(value).name

"""What these tests share."""

import json
from collections.abc import Mapping
from typing import Any

from tocsin.config.yaml.document import load, parse
from tocsin.interchange.emit import file_of
from tocsin.interchange.importing import import_text
from tocsin.interchange.report import Imported
from tocsin.kql.schema import Schema, schema_with
from tocsin.rules.kinds.registry import rule_file
from tocsin.rules.language.schema import RuleModel

SCHEMA: Schema = schema_with({"prices": {"Target": "string", "usd_per_hour": "real"}})


def imported(value: Any, file: str = "alerts.json", **parameters: Any) -> list[Imported]:
    """The rules of a JSON value."""
    return list(import_text(json.dumps(value), file, SCHEMA, parameters=parameters))


def one(value: Any, **parameters: Any) -> Imported:
    """The only rule of a JSON value."""
    [rule] = imported(value, **parameters)
    return rule


def lost(rule: Imported) -> dict[str, str]:
    """What was not kept, and why."""
    return {entry.key: entry.why for entry in rule.lost}


def whole_query(rule: Mapping[str, Any]) -> str:
    """The query with the condition after it."""
    return f"{rule['query']}\n| where {rule['condition']}" if "condition" in rule else str(rule["query"])


def models(rules: list[Imported]) -> list[RuleModel]:
    """The rules as the language reads them from the file that is written of them."""
    return list(parse(rule_file(), load(file_of(rules), "imported.yaml")).rules)


def query_rule(query: str = "AmlRunStatusChangedEvent | where Status == 'Failed'", **properties: Any) -> dict[str, Any]:
    """A scheduled query rule of API 2021-08-01; properties given as None are left out."""
    criterion = properties.pop("criterion", {})
    whole = {
        "description": "",
        "severity": 2,
        "enabled": True,
        "evaluationFrequency": "PT5M",
        "windowSize": "PT15M",
        "criteria": {
            "allOf": [
                {"query": query, "timeAggregation": "Count", "operator": "GreaterThan", "threshold": 3, **criterion}
            ]
        },
        **properties,
    }
    return {
        "type": "Microsoft.Insights/scheduledQueryRules",
        "apiVersion": "2021-08-01",
        "name": "failures",
        "properties": {key: value for key, value in whole.items() if value is not None},
    }


def template(*resources: Any, **parts: Any) -> dict[str, Any]:
    """An ARM template."""
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": list(resources),
        **parts,
    }

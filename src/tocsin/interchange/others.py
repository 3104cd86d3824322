"""Alert resources of Azure that are no queries: why each is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.interchange.azure.read import is_map, type_of
from tocsin.interchange.azure.resources import Found
from tocsin.interchange.azure.scope import Unknown
from tocsin.interchange.report import Imported

_WHY: Mapping[str, str] = {
    "microsoft.insights/activitylogalerts": (
        "it watches Azure's activity log{what}, of which tocsin gets no events; leave it in Azure"
    ),
    "microsoft.insights/tenantactivitylogalerts": (
        "it watches Azure's activity log{what}, of which tocsin gets no events; leave it in Azure"
    ),
    "microsoft.insights/alertrules": (
        "it is a classic alert on a metric of an Azure resource, which tocsin does not get; Azure has retired these"
    ),
    "microsoft.alertsmanagement/smartdetectoralertrules": (
        "its condition is a detector that Azure trains{what}; nothing says what it looks for"
    ),
    "microsoft.securityinsights/alertrules": (
        "it is a rule of Microsoft Sentinel{what}, which watches security data that tocsin does not get; leave it there"
    ),
}


def import_other(found: Found, file: str) -> Imported:
    """Says why a resource that alerts otherwise than by a query is left."""
    kind = found.type.lower()
    if kind == "microsoft.insights/metricalerts":
        why = _metrics(found.body.get("properties"))
    else:
        key = "microsoft.securityinsights/alertrules" if kind.endswith("/providers/alertrules") else kind
        why = _WHY[key].format(what=_what(found.body.get("properties")))
    if found.fault:
        why = found.fault
    name = _text(found.name or found.body.get("name", ""))
    return Imported(file=file, path=found.path, type=type_of(found), name=name, why_not=why)


_RUNS = {"failed runs": "Failed", "completed runs": "Completed", "cancelled runs": "Canceled", "not responding runs": "NotResponding"}  # fmt: skip
_AML = "microsoft.machinelearningservices/workspaces"


def _metrics(properties: Any) -> str:
    """Of which metric it is, and of what; for a workspace's runs, what to write instead."""
    criteria = properties.get("criteria") if is_map(properties) else None
    listed = criteria.get("allOf") if is_map(criteria) else None
    if not isinstance(listed, list):
        listed = [criteria] if is_map(criteria) and "metricName" in criteria else []
    named = [c for c in listed if is_map(c)]
    metrics = ", ".join(
        f"{_text(c.get('metricName', '?'))}{f' of {_text(space)}' if (space := c.get('metricNamespace')) else ''}"
        for c in named
    )
    why = f"it watches a metric of an Azure resource ({metrics or 'not named'}), and tocsin gets events, not metrics"
    for c in named:
        status = _RUNS.get(_text(c.get("metricName", "")).lower())
        if status and _text(c.get("metricNamespace", _AML)).lower() == _AML:
            return f"{why}; for each such run write when: {{status: {status}}}, or count them by a query with over:"
    return f"{why}; leave it in Azure"


def _what(properties: Any) -> str:
    if not is_map(properties):
        return ""
    if is_map(detector := properties.get("detector")):
        return f" ({_text(detector.get('id', 'not named'))})"
    condition = properties.get("condition")
    listed = condition.get("allOf") if is_map(condition) else None
    said = [
        f"{_text(c.get('field', ''))} {_text(c.get('equals', ''))}".strip()
        for c in (listed if isinstance(listed, list) else ())
        if is_map(c) and "field" in c
    ]
    return f" ({', '.join(said)})" if said else ""


def _text(value: Any) -> str:
    return value.text if isinstance(value, Unknown) else str(value)

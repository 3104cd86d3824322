"""Rules of ours as Azure Monitor's scheduled query rules, in one template (API 2021-08-01).

What Azure has no key for is kept in the template's ``metadata``, which Azure passes over and an import reads again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from tocsin.config.yaml.durations import format_duration, parse_duration
from tocsin.interchange.azure.expressions import escaped
from tocsin.interchange.azure.table import TABLE, missing_columns, other_tables, prelude
from tocsin.interchange.queries import Condition, Schema, classified, split_condition
from tocsin.interchange.report import Exported, Lost, Refused
from tocsin.interchange.words import AZURE_AGGREGATES, AZURE_OPERATORS, as_iso
from tocsin.kql.plan.classify import EVENTS
from tocsin.model.statuses import Kind
from tocsin.rules.kinds.base import of_model, of_when
from tocsin.rules.kinds.event.compile import text_of
from tocsin.rules.kinds.event.keys import EventWhen
from tocsin.rules.kinds.registry import rule_model
from tocsin.rules.kinds.window.keys import WindowModel
from tocsin.rules.language.schema import SEVERITIES

API = "2021-08-01"
EVERY = (1, 5, 10, 15, 30, 45, 60, 120, 180, 240, 300, 360, 1440)  # minutes that Azure takes
OVER = (*EVERY, 2880)
MOST_PERIODS = 6
MOST_DIMENSIONS = 6
ANY_ROW = Condition(f="count", measure="", by=(), op=">", threshold="0")

NO_PLACE: Mapping[str, str] = {
    "annotations": "Azure's custom properties are no templates",
    "auto_close": "Azure does not close an alert after a time",
    "collapse": "Azure notifies each run",
    "export": "Azure makes no metric of it",
    "final_after": "Azure's table does not say whether another attempt follows",
    "fields": "Azure's alerts link to the query's rows",
    "keep_firing_for": "this API has no time to resolve",
    "kind": "Azure has one kind",
    "labels": "Azure's tags are no templates",
    "lateness": "Azure waits for late data in its own way",
    "limit": "Azure notifies every alert",
    "max_instances": "Azure has its own limits",
    "no_data": "Azure ends an alert that has no data",
    "notify": "give action groups with the parameter actionGroups",
    "owner": "Azure has no key for it",
    "runbook": "Azure has no key for it",
    "summary": "Azure writes the subject",
    "max_event_age": "Azure says what its window holds",
    "template": "Azure writes the mail",
    "tests": "Azure runs none",
    "value": "Azure shows the number of its condition",
    "renamed_from": "Azure knows no former name",
}
"""Keys of ours without a counterpart, and what Azure does instead."""

_WHEN_REFUSED: Mapping[str, str] = {
    "in_status_for": "time spent in a status", "silent_for": "silence", "unchanged": "what stands still",
    "absent": "what did not come", "duration": "a run's length against the past", "after": "a sequence of statuses",
}  # fmt: skip


def template_of(rules: Sequence[Exported]) -> dict[str, Any]:
    """One ARM template with all that could be exported."""
    done = [r for r in rules if r.resource is not None]
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "metadata": {"tocsin": {"rules": {r.resource["name"]: r.rule for r in done if r.resource}}},
        "parameters": {
            "workspaceId": {
                "type": "string",
                "metadata": {"description": "Resource id of the Log Analytics workspace that the rules query."},
            },
            "location": {"type": "string", "defaultValue": "[resourceGroup().location]"},
            "actionGroups": {
                "type": "array",
                "defaultValue": [],
                "metadata": {"description": "Resource ids of the action groups that are notified."},
            },
        },
        "resources": [_escape_all(r.resource) for r in done],
    }


def export_rule(rule: Mapping[str, Any], schema: Schema) -> Exported:
    """``rule`` (as data, defaults included) as a resource, not yet escaped; or why it has no counterpart."""
    name = str(rule.get("name", ""))
    lost: list[Lost] = []
    try:
        model = of_model(rule_model().model_validate(rule), WindowModel)
        resource = _resource(model, schema, lost)
    except ValidationError as e:
        return Exported(name=name, why_not=f"it is no valid rule: {e.errors()[0]['msg']}")
    except Refused as why:
        return Exported(name=name, lost=tuple(lost), why_not=str(why))
    return Exported(name=name, resource=resource, rule=dict(rule), lost=tuple(lost))


def _resource(model: WindowModel, schema: Schema, lost: list[Lost]) -> dict[str, Any]:
    query = _query(model)
    kind = _kind(query, schema)
    by = tuple(model.by) if kind is not Kind.EVENT else ("RunId", *(c for c in model.by if c != "RunId"))
    condition, base = ANY_ROW, query
    if (split := split_condition(query, by)) is not None and kind is not Kind.EVENT:
        base, condition = split
    on = _enabled(model, query, lost)
    if len(by) > MOST_DIMENSIONS:
        raise Refused(f"Azure splits an alert by {MOST_DIMENSIONS} columns at most, not by {len(by)}")
    every, over = (timedelta(minutes=5),) * 2 if kind is Kind.EVENT else _window(model, lost)
    if kind is Kind.EVENT:
        lost.append(
            Lost(key="event rule", why="Azure looks every 5 minutes at what came; it may notify a run again, and late")
        )
    criterion: dict[str, Any] = {"query": prelude(base) + base, "timeAggregation": AZURE_AGGREGATES[condition.f]}
    if condition.f != "count":
        criterion["metricMeasureColumn"] = _unbracketed(condition.measure)
    n, of = _periods(model, every, over, lost)
    criterion |= {
        "dimensions": [{"name": c, "operator": "Include", "values": ["*"]} for c in by],
        "operator": AZURE_OPERATORS[condition.op],
        "threshold": float(condition.threshold) if "." in condition.threshold else int(float(condition.threshold)),
        "failingPeriods": {"numberOfEvaluationPeriods": of, "minFailingPeriodsToAlert": n},
    }
    properties: dict[str, Any] = {
        "displayName": model.name,
        "description": model.description,
        "severity": _severity(model, lost),
        "enabled": on,
        "evaluationFrequency": as_iso(every),
        "windowSize": as_iso(over),
        "scopes": ["[parameters('workspaceId')]"],
        "criteria": {"allOf": [criterion]},
        **_resolve_policy(model, kind is Kind.EVENT, every, lost),
        "actions": {"actionGroups": "[parameters('actionGroups')]", **_custom(model)},
    }
    _say_lost(model, condition, lost)
    return {
        "type": "Microsoft.Insights/scheduledQueryRules",
        "apiVersion": API,
        "name": model.name.replace(":", "-"),
        "location": "[parameters('location')]",
        "kind": "LogAlert",
        "tags": {k: v for k, v in model.labels.items() if _plain(v)},
        "properties": properties,
    }


def _query(model: WindowModel) -> str:
    if model.sql:
        raise Refused("it is written in SQL, which Azure does not take")
    if model.for_each is not None:
        raise Refused(f"it makes a rule of each row of the table {model.for_each.table}, which Azure does not have")
    when = of_when(model.when, EventWhen)
    if when is None:
        if not model.query.strip():
            raise Refused("it has neither when: nor query:")
        query = model.query.strip()
        return f"{query.removesuffix(';')}\n| where {model.condition}" if model.condition else query
    for key, what in _WHEN_REFUSED.items():
        if key in when.model_fields_set:
            raise Refused(f"when.{key}: {what} is no query over a window")
    if not when.status and not when.where:
        raise Refused("when: says neither status: nor where:")
    return text_of(when)[0]


def _kind(query: str, schema: Schema) -> Kind | None:
    """Row or window; None for a query on tables of others, which is Azure's to check."""
    if unknown := other_tables(query):
        raise Refused(f"it reads {unknown[0]}, which Azure does not have")
    found = classified(query, schema)
    if found is None:
        return None
    if own := sorted(found.tables - set(EVENTS)):
        raise Refused(f"it reads the table {own[0]}, which Azure does not have")
    return found.kind if found.tables else None


def _enabled(model: WindowModel, query: str, lost: list[Lost]) -> bool:
    asked = [c for c in missing_columns(query) if c != "WillRetry"]
    if asked:
        lost.append(
            Lost(key="query", why=f"asks for {', '.join(asked)}, which {TABLE} does not have: exported as not enabled")
        )
    when = of_when(model.when, EventWhen)
    if when is not None and when.finals is not None:
        lost.append(
            Lost(
                key="when.final",
                why="Azure's table does not say whether another attempt follows: every try is notified",
            )
        )
    return model.enabled and not asked


def _window(model: WindowModel, lost: list[Lost]) -> tuple[timedelta, timedelta]:
    if not model.over:
        raise Refused("it has no over:")
    if model.over in ("run", "root"):
        raise Refused(f"over: {model.over}: Azure's windows are fixed, not the life of a run")
    try:
        asked = parse_duration(model.over)
    except ValueError as e:
        raise Refused(f"over: {e}") from e
    every = _allowed("every", model.every or timedelta(minutes=5), EVERY, lost)
    over = _allowed("over", asked, OVER, lost)
    if over < every:
        lost.append(Lost(key="over", why=f"Azure's window is no shorter than its frequency: {format_duration(every)}"))
    return every, max(every, over)


def _allowed(key: str, asked: timedelta, allowed: Sequence[int], lost: list[Lost]) -> timedelta:
    minutes = next((m for m in allowed if timedelta(minutes=m) >= asked), None)
    if minutes is None:
        raise Refused(f"{key}: {format_duration(asked)} is longer than Azure takes ({allowed[-1] // 1440}d)")
    taken = timedelta(minutes=minutes)
    if taken != asked:
        why = f"Azure does not take {format_duration(asked)}; rounded up to {format_duration(taken)}"
        lost.append(Lost(key=key, why=why))
    return taken


def _periods(model: WindowModel, every: timedelta, over: timedelta, lost: list[Lost]) -> tuple[int, int]:
    if model.for_ is None:
        return 1, 1
    if isinstance(model.for_, tuple):
        n, of = model.for_
        if of > MOST_PERIODS:
            raise Refused(f"for: {n} of {of}: Azure counts {MOST_PERIODS} periods at most")
        if of > 1 and every != over:
            lost.append(Lost(key="for", why=f"Azure counts windows of {format_duration(over)}, not evaluations {format_duration(every)} apart"))  # fmt: skip
        return n, of
    needed = -(-model.for_ // over) + 1 if model.for_ else 1
    of = min(needed, MOST_PERIODS)
    lost.append(Lost(key="for", why=f"Azure counts windows, not time: {of} of {of}"))
    return of, of


def _severity(model: WindowModel, lost: list[Lost]) -> int:
    if isinstance(model.severity, str):
        return SEVERITIES.index(model.severity)
    mildest = max(SEVERITIES.index(word) for word in model.severity)
    lost.append(Lost(key="severity", why=f"Azure's does not climb; exported as {SEVERITIES[mildest]}"))
    return mildest


def _resolve_policy(model: WindowModel, row: bool, every: timedelta, lost: list[Lost]) -> dict[str, Any]:
    if not row and model.resolve is not None:
        lost.append(Lost(key="resolve", why="Azure ends an alert when its condition does not hold"))
    if not row and model.send_resolved:
        if model.repeat_every is not None:
            lost.append(Lost(key="repeat_every", why="Azure notifies an alert that ends by itself once"))
        return {"autoMitigate": True}
    if row and model.resolve is not None:
        lost.append(Lost(key="resolve", why="Azure's rule does not end by another event"))
    if model.repeat_every is None or row:
        if model.repeat_every is not None:
            lost.append(Lost(key="repeat_every", why="Azure says what is new in its window"))
        elif not row:
            lost.append(
                Lost(key="send_resolved", why=f"Azure notifies again every {format_duration(every)} while it holds")
            )
        return {"autoMitigate": False}
    return {
        "autoMitigate": False,
        "muteActionsDuration": as_iso(_allowed("repeat_every", model.repeat_every, OVER, lost)),
    }


def _custom(model: WindowModel) -> dict[str, Any]:
    plain = {k: v for k, v in model.annotations.items() if _plain(v)}
    return {"customProperties": plain} if plain else {}


def _say_lost(model: WindowModel, condition: Condition, lost: list[Lost]) -> None:
    for name, info in type(model).model_fields.items():
        key = info.alias or name
        given = getattr(model, name)
        if key not in NO_PLACE or name not in model.model_fields_set or given in (None, "", (), {}):
            continue
        if key in ("labels", "annotations") and all(_plain(v) for v in given.values()):
            continue
        if key == "value" and condition is not ANY_ROW and given == condition.value():
            continue
        lost.append(Lost(key=key, why=NO_PLACE[key]))


def _plain(text: str) -> bool:
    """Whether a template says the same whatever the alert."""
    return not any(mark in text for mark in ("{{", "{%", "{#")) and len(text) <= 256


def _unbracketed(measure: str) -> str:
    inner = measure[2:-2] if measure.startswith("['") else measure
    return inner.replace("\\'", "'").replace("\\\\", "\\")


def _escape_all(value: Any) -> Any:
    """Texts as a template must write them; our own expressions are left."""
    if isinstance(value, Mapping):
        return {escaped(k): _escape_all(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_escape_all(v) for v in value]
    return value if not isinstance(value, str) or value in _EXPRESSIONS else escaped(value)


_EXPRESSIONS = frozenset({"[parameters('workspaceId')]", "[parameters('location')]", "[parameters('actionGroups')]"})

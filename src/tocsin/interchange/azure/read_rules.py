"""Azure Monitor's scheduled query rules as rules of ours.

Meanings: learn.microsoft.com/rest/api/monitor/scheduled-query-rules, API 2018-04-16 and 2021-08-01 and later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from tocsin.config.yaml.durations import format_duration
from tocsin.interchange.azure.read import (
    Notes,
    duration,
    enabled,
    flag,
    is_map,
    known,
    name_of,
    number,
    operator,
    severity,
    text,
    type_of,
    whole,
    why_unknown,
)
from tocsin.interchange.azure.resources import Found
from tocsin.interchange.azure.scope import Unknown
from tocsin.interchange.azure.table import without_prelude
from tocsin.interchange.data import LABEL_NAME
from tocsin.interchange.queries import Condition, Schema, fault_of, kind_of, readable, without_render
from tocsin.interchange.report import Imported, Refused
from tocsin.interchange.words import AGGREGATES, as_template, column, iso_duration, text_literal, without_holes
from tocsin.model.statuses import Kind

NO_PLACE: Mapping[str, str] = {
    "authorizedResources": "tocsin's queries read its own store",
    "checkWorkspaceAlertsStorageConfigured": "it is about Azure's storage",
    "createdWithApiVersion": "Azure's own note",
    "identity": "tocsin reads its own store and needs none",
    "isLegacyLogAnalyticsRule": "Azure's own note",
    "isWorkspaceAlertsStorageConfigured": "it is about Azure's storage",
    "lastUpdatedTime": "Azure's own note",
    "parameters": "Azure passes it over",
    "provisioningState": "Azure's own note",
    "publicNetworkAccess": "it is about Azure's network",
    "scopes": "tocsin's queries read its own store",
    "skipQueryValidation": "tocsin checks every query",
    "targetResourceTypes": "the query says what is evaluated",
}
"""Properties without a counterpart, and why they need none."""
MOST_PERIODS = 6


def import_query_rule(found: Found, file: str, stem: str, schema: Schema) -> Imported:
    """The rule of a scheduled query rule. ``stem`` names it where Azure alone knows its name."""
    notes = Notes()
    shown = found.name.text if isinstance(found.name, Unknown) else found.name
    common: dict[str, Any] = {"file": file, "path": found.path, "type": type_of(found), "name": shown or stem}
    try:
        if found.fault:
            raise Refused(found.fault)
        rule = _rule(found, stem, schema, notes)
    except Refused as why:
        return Imported(**common, lost=tuple(notes.lost), why_not=str(why))
    return Imported(**common, rule=rule, kept=tuple(notes.kept), lost=tuple(notes.lost), off=notes.off)


def _rule(found: Found, stem: str, schema: Schema, notes: Notes) -> dict[str, Any]:
    p = known(found.body.get("properties"), "properties")
    if not isinstance(p, Mapping):
        raise Refused("it has no properties")
    old = isinstance(p.get("source"), Mapping) and isinstance(p.get("schedule"), Mapping)
    rule: dict[str, Any] = {"name": name_of(found, p, stem, notes)}
    on = enabled(p.get("enabled", True), notes)
    if description := text(p.get("description"), "description", notes):
        rule["description"] = description
        notes.keep("description", "", "description")
    rule["severity"] = severity(
        p["action"].get("severity") if old and is_map(p.get("action")) else p.get("severity"), notes
    )
    if isinstance(found.condition, Unknown):
        notes.disable(f"whether it is deployed: {why_unknown(found.condition)}")
    if str(found.body.get("kind", "")).lower() == "simplelogalert":
        rule |= _each_row(p, schema, notes)
    else:
        rule |= _looks_2018(p, schema, notes) if old else _looks_2021(p, schema, notes)
    rule |= _notifies(found.body, p, rule, old, notes)
    for key in p:
        if key in NO_PLACE:
            notes.lose(key, NO_PLACE[key])
        elif key not in _READ:
            notes.lose(key, "is not known here")
    if "identity" in found.body:
        notes.lose("identity", NO_PLACE["identity"])
    if fault := fault_of(rule["query"], rule.get("by", ()), schema):
        notes.disable(f"the query does not run here: {fault}")
    if not on or notes.off:
        rule = {"name": rule["name"], "enabled": False, **rule}
    return rule


_READ = frozenset({
    "action", "actions", "autoMitigate", "criteria", "description", "displayName", "enabled", "evaluationFrequency",
    "muteActionsDuration", "overrideQueryTimeRange", "resolveConfiguration", "ruleResolveConfiguration", "schedule",
    "severity", "source", "windowSize",
})  # fmt: skip


def _looks_2021(p: Mapping[str, Any], schema: Schema, notes: Notes) -> dict[str, Any]:
    """Query, window and condition of API 2021-08-01 and later."""
    criteria = known(p.get("criteria"), "criteria")
    every_one = known(criteria.get("allOf"), "criteria.allOf") if isinstance(criteria, Mapping) else None
    if isinstance(every_one, list) and every_one:
        known(every_one[0], "criteria.allOf[0]")
    if not isinstance(every_one, list) or not every_one or not is_map(every_one[0]):
        raise Refused("it has no criteria")
    if len(every_one) > 1:
        raise Refused(f"it has {len(every_one)} criteria that must hold together; a rule here has one query")
    c: Mapping[str, Any] = every_one[0]
    if str(c.get("criterionType", "")).startswith("Dynamic") or "alertSensitivity" in c:
        raise Refused("its threshold is learnt by Azure (dynamic); write one, or compare with a baseline in the query")
    if "threshold" not in c and "operator" not in c:
        raise Refused("it makes a metric of a query (LogToMetric) and alerts nobody")
    query = _query(c.get("query"), notes)
    by = list(_dimensions(c, notes))
    filters = [line for line in _filters(c) if line]
    measured = "\n".join([query, *filters])
    condition = _condition_2021(c, tuple(by), notes)
    n, of = _periods(c.get("failingPeriods"))
    every, over = duration(p, "evaluationFrequency"), duration(p, "windowSize")
    kind = kind_of(measured, schema)
    if kind is Kind.EVENT and condition.any_row and "RunId" in by and of == 1:
        notes.lose("windowSize", "an event rule notifies each run at once, without a window")
        notes.lose("evaluationFrequency", "an event rule evaluations at each event when it comes")
        return {"query": measured, "by": by}
    rule = {"over": format_duration(over), "every": format_duration(every)}
    notes.keep("windowSize", p["windowSize"], f"over: {rule['over']}")
    notes.keep("evaluationFrequency", p["evaluationFrequency"], f"every: {rule['every']}")
    _override(p, over, rule, notes)
    rule |= _conditioned(measured, condition, kind, notes)
    if of > 1:
        rule["for"] = f"{n} of {of}"
        notes.keep("failingPeriods", f"{n} of {of}", f"for: {n} of {of}")
        if every != over:
            counted = f"Azure counts windows of {format_duration(over)}"
            notes.lose("failingPeriods", f"{counted}; `for` counts evaluations, {rule['every']} apart")
    if is_map(conf := p.get("ruleResolveConfiguration", p.get("resolveConfiguration"))):
        rule |= _resolve_after(conf, notes)
    return rule


def _each_row(p: Mapping[str, Any], schema: Schema, notes: Notes) -> dict[str, Any]:
    """The query of a SimpleLogAlert: each row fires when it comes, as of an event rule."""
    criteria = known(p.get("criteria"), "criteria")
    every_one = known(criteria.get("allOf"), "criteria.allOf") if is_map(criteria) else None
    if not isinstance(every_one, list) or len(every_one) != 1 or not is_map(every_one[0]):
        raise Refused("a SimpleLogAlert has one criterion with its query")
    query = "\n".join([_query(every_one[0].get("query"), notes), *(line for line in _filters(every_one[0]) if line)])
    notes.keep("kind", "SimpleLogAlert", "an event rule: each row fires when it comes")
    if kind_of(query, schema) is Kind.WINDOW:
        notes.disable("its query counts, joins or orders rows, so no single row can fire")
    return {"query": query}


def _conditioned(query: str, condition: Condition, kind: Kind | None, notes: Notes) -> dict[str, Any]:
    """The query with its condition. A window query of which one row is enough is its own condition."""
    by = {"by": list(condition.by)} if condition.by else {}
    said = f"{condition.f}({condition.measure}) {condition.op} {condition.threshold}"
    if condition.any_row and kind is Kind.WINDOW:
        notes.keep("criteria", said, "each row of the query fires")
        return {"query": query, **by}
    notes.keep("criteria", said, "the query's last line, and condition")
    return {"query": condition.measured(query), "condition": condition.text, **by, "value": condition.value()}


def _condition_2021(c: Mapping[str, Any], by: tuple[str, ...], notes: Notes) -> Condition:
    aggregation = str(known(c.get("timeAggregation") or "Count", "timeAggregation")).lower()
    if aggregation not in AGGREGATES:
        raise Refused(f"timeAggregation: '{aggregation}' is none of {', '.join(AGGREGATES)}")
    measure = text(c.get("metricMeasureColumn"), "metricMeasureColumn", notes)
    f = AGGREGATES[aggregation]
    if f != "count" and not measure:
        raise Refused(f"timeAggregation is {aggregation}, but metricMeasureColumn does not say of what")
    return Condition(
        f=f,
        measure=column(measure) if f != "count" else "",
        by=by,
        op=operator(c.get("operator"), "operator"),
        threshold=number(c.get("threshold"), "threshold"),
    )


def _looks_2018(p: Mapping[str, Any], schema: Schema, notes: Notes) -> dict[str, Any]:
    """Query, window and condition of API 2018-04-16."""
    source, schedule, action = p["source"], p["schedule"], p.get("action")
    if not is_map(action):
        raise Refused("it has no action")
    kind = str(known(action.get("odata.type", ""), "odata.type"))
    if kind.endswith("LogToMetricAction"):
        raise Refused("it makes a metric of a query (LogToMetricAction) and alerts nobody")
    if not is_map(trigger := action.get("trigger")):
        raise Refused("its action has no trigger")
    query = _query(source.get("query"), notes)
    op = operator(trigger.get("thresholdOperator"), "trigger.thresholdOperator")
    threshold = number(trigger.get("threshold"), "trigger.threshold")
    rule: dict[str, Any] = {}
    for key, ours in (("timeWindowInMinutes", "over"), ("frequencyInMinutes", "every")):
        minutes = whole(schedule.get(key), f"schedule.{key}", 1, 100_000)
        rule[ours] = format_duration(timedelta(minutes=minutes))
        notes.keep(f"schedule.{key}", minutes, f"{ours}: {rule[ours]}")
    metric = trigger.get("metricTrigger") or trigger.get("consecutiveBreachTrigger")
    if is_map(metric):
        query = f"{query}\n| where AggregatedValue {op} {threshold}"
        by = tuple(c.strip() for c in text(metric.get("metricColumn"), "metricColumn", notes).split(",") if c.strip())
        op = operator(metric.get("thresholdOperator"), "metricTrigger.thresholdOperator")
        threshold = number(metric.get("threshold"), "metricTrigger.threshold")
        if str(metric.get("metricTriggerType", "Consecutive")).lower() == "consecutive":
            notes.lose(
                "metricTriggerType", "breaches are counted in the whole window, also where others lie between them"
            )
        if op in ("<", "<=", "==") and by:
            notes.lose("metricTrigger", "what has no breach at all is not seen to have few of them")
        condition = Condition(f="count", measure="", by=by, op=op, threshold=threshold)
    else:
        condition = Condition(f="count", measure="", by=(), op=op, threshold=threshold)
    for key in ("authorizedResources", "dataSourceId"):
        if source.get(key):
            notes.lose(f"source.{key}", NO_PLACE["scopes"])
    return rule | _conditioned(query, condition, kind_of(query, schema), notes)


def _notifies(
    body: Mapping[str, Any], p: Mapping[str, Any], rule: Mapping[str, Any], old: bool, notes: Notes
) -> dict[str, Any]:
    """How it ends, repeats, is titled and labelled."""
    out: dict[str, Any] = {}
    row = "over" not in rule
    ends = flag(p.get("autoMitigate"), not old, "autoMitigate", notes)
    action = p["action"] if old and is_map(p.get("action")) else {}
    mute = action.get("throttlingInMin") if old else p.get("muteActionsDuration")
    key = "action.throttlingInMin" if old else "muteActionsDuration"
    quiet = timedelta(minutes=whole(mute, key, 0, 100_000)) if old and mute is not None else None
    if not old and mute is not None:
        quiet = iso_duration(str(mute)) if not isinstance(mute, Unknown) else None
        if quiet is None:
            notes.lose(key, "is no duration that is known here")
    if ends:
        notes.kept.append("autoMitigate true -> resolves when it no longer holds")
    elif not row:
        every = (
            timedelta(minutes=int(p["schedule"]["frequencyInMinutes"]))
            if old
            else iso_duration(p["evaluationFrequency"])
        )
        repeat = max(quiet or timedelta(0), every or timedelta(0))
        out |= {"send_resolved": False, "repeat_every": format_duration(repeat)}
        notes.keep(
            "autoMitigate", False, f"send_resolved: false, repeat_every: {out['repeat_every']}, as Azure notifies it"
        )
    if quiet and (ends or row):
        notes.lose(key, "an alert is notified once while it fires, so there is nothing to mute")
    display = text(p.get("displayName"), "displayName", notes)
    notify = action.get("aznsAction") if old else p.get("actions")
    groups: Any = ()
    if is_map(notify):
        groups = notify.get("actionGroup" if old else "actionGroups") or ()
        if subject := text(notify.get("emailSubject"), "emailSubject", notes):
            out["summary"] = as_template(subject)
            notes.keep("emailSubject", "", "summary")
        if notify.get("customWebhookPayload") not in (None, "", "{}"):
            notes.lose("customWebhookPayload", "a receiver's webhook has its own format")
        if is_map(custom := notify.get("customProperties")):
            out |= _annotations(custom, notes)
    _without_groups(groups, notes)
    display = without_holes(display)
    if display and display != rule["name"] and "summary" not in out:
        out["summary"] = as_template(display)
        notes.keep("displayName", display, "summary")
    labels = dict(_labels(body.get("tags"), rule, notes))
    return out | ({"labels": labels} if labels else {})


def _without_groups(groups: Any, notes: Notes) -> None:
    """Action groups become receivers, which only people can name."""
    if isinstance(groups, list) and groups:
        names = ", ".join(str(g.text if isinstance(g, Unknown) else g).rsplit("/", 1)[-1] for g in groups)
        notes.lose("actionGroups", f"name receivers for {names}: notify: {{to: […]}}, or in the route")
    elif isinstance(groups, Unknown):
        notes.lose("actionGroups", f"name receivers under notify: {why_unknown(groups)}")


def _labels(tags: Any, rule: Mapping[str, Any], notes: Notes) -> Iterator[tuple[str, str]]:
    for name, value in tags.items() if is_map(tags) else ():
        label = str(value).lower() if isinstance(value, bool) else value
        if isinstance(label, str) and LABEL_NAME.fullmatch(name) and name not in rule.get("by", ()):
            notes.keep(f"tags.{name}", label, f"labels.{name}")
            yield name, as_template(label)
        elif isinstance(label, str):
            notes.lose(f"tags.{name}", "is no name for a label")
        else:
            notes.lose(f"tags.{name}", "is no text")


def _annotations(custom: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    out: dict[str, str] = {}
    for name, value in custom.items():
        if isinstance(value, str):
            out[name] = as_template(value)
            notes.keep(f"customProperties.{name}", value, f"annotations.{name}")
            if "${" in value:
                notes.lose(f"customProperties.{name}", "Azure fills in ${…}; write a template instead")
        else:
            notes.lose(f"customProperties.{name}", "is no text")
    return {"annotations": out} if out else {}


def _query(value: Any, notes: Notes) -> str:
    if isinstance(value, Unknown):
        notes.disable(f"the query holds ${{…}}, which is yours to fill in: {why_unknown(value)}")
        value = value.text
    if not isinstance(value, str) or not value.strip():
        raise Refused("the query is empty; where it is a parameter, give it with --parameters")
    query, rendered = without_render(readable(without_prelude(value)))
    if rendered:
        notes.lose("query", "render is left out, since nobody sees a chart")
    return query


def _dimensions(c: Mapping[str, Any], notes: Notes) -> Iterator[str]:
    names: list[str] = []
    for d in c.get("dimensions") or ():
        if is_map(d) and isinstance(d.get("name"), str):
            names.append(d["name"])
            notes.keep("dimensions", d["name"], f"by: {d['name']}")
    target = c.get("resourceIdColumn")
    if isinstance(target, str) and target and target not in names:
        names.append(target)
        notes.keep("resourceIdColumn", target, f"by: {target}")
    yield from names


def _filters(c: Mapping[str, Any]) -> Iterator[str]:
    for d in c.get("dimensions") or ():
        values = d.get("values") if is_map(d) else None
        if not isinstance(values, list) or not values or "*" in values:
            continue
        word = "!in" if str(d.get("operator", "Include")).lower() == "exclude" else "in"
        yield f"| where tostring({column(str(d['name']))}) {word} ({', '.join(text_literal(str(v)) for v in values)})"


def _periods(value: Any) -> tuple[int, int]:
    if not is_map(value):
        return 1, 1
    of = whole(value.get("numberOfEvaluationPeriods", 1), "failingPeriods.numberOfEvaluationPeriods", 1, MOST_PERIODS)
    return whole(value.get("minFailingPeriodsToAlert", 1), "failingPeriods.minFailingPeriodsToAlert", 1, of), of


def _override(p: Mapping[str, Any], over: timedelta, rule: dict[str, Any], notes: Notes) -> None:
    if "overrideQueryTimeRange" not in p or p["overrideQueryTimeRange"] in (None, ""):
        return
    value = p["overrideQueryTimeRange"]
    longer = iso_duration(value) if isinstance(value, str) else None
    if longer is None:
        notes.lose("overrideQueryTimeRange", "is no duration that is known here")
    elif longer > over:
        rule["over"] = format_duration(longer)
        notes.lose("overrideQueryTimeRange", f"`over` is {rule['over']}, in which the condition is measured too, not in the last {format_duration(over)}")  # fmt: skip


def _resolve_after(conf: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    after = conf.get("timeToResolve")
    if not flag(conf.get("autoResolved"), True, "autoResolved", notes):
        return {}
    held = iso_duration(after) if isinstance(after, str) else None
    if held is None:
        notes.lose("timeToResolve", f"'{after if isinstance(after, str) else ''}' is no duration")
        return {}
    notes.keep("timeToResolve", str(after), f"keep_firing_for: {format_duration(held)}")
    return {"keep_firing_for": format_duration(held)}

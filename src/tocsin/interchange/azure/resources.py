"""Finds alert rules in what Azure tools write: templates, deployments within them, policies, plain bodies, lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tocsin.interchange.azure.expressions import ExpressionError, is_expression, unescaped
from tocsin.interchange.azure.forms import of_terraform, without_properties
from tocsin.interchange.azure.functions import call
from tocsin.interchange.azure.scope import Budget, Scope, Unknown

MAX_LEVELS = 12
"""Deepest nesting of deployments within deployments."""

QUERY_RULES = "microsoft.insights/scheduledqueryrules"
ALERT_TYPES = frozenset({
    QUERY_RULES,
    "microsoft.alertsmanagement/prometheusrulegroups",
    "microsoft.alertsmanagement/smartdetectoralertrules",
    "microsoft.insights/activitylogalerts",
    "microsoft.insights/alertrules",
    "microsoft.insights/metricalerts",
    "microsoft.insights/tenantactivitylogalerts",
    "microsoft.operationalinsights/workspaces/providers/alertrules",
    "microsoft.securityinsights/alertrules",
})  # fmt: skip
DEPLOYMENTS = frozenset({"microsoft.resources/deployments", "microsoft.resources/deploymentstacks"})
POLICIES = frozenset({"microsoft.authorization/policydefinitions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An alert rule's resource with its expressions worked out; what only Azure knows is ``Unknown`` in it."""

    type: str
    api: str
    name: str | Unknown
    body: Mapping[str, Any]  # type, name, location, tags, properties, …
    path: str
    condition: bool | Unknown = True
    kept: Mapping[str, Any] = field(default_factory=dict)  # tocsin's own part of the template's metadata
    fault: str = ""  # why it could not be worked out at all


def find(
    value: Any, parameters: Mapping[str, Any], budget: Budget | None = None, unread: list[str] | None = None
) -> Iterator[Found]:
    """Every alert rule in the JSON value of a file. ``parameters`` are those of its outermost template.

    Deployments whose template stands elsewhere, or is not known, are said in ``unread``.
    """
    finder = _Finder(budget or Budget(), [] if unread is None else unread)
    yield from finder.anything(value, parameters, "", 0)
    for address, body in of_terraform(value):
        yield from finder.anything(body, parameters, address, 0)


def parameter_values(value: Any) -> dict[str, Any]:
    """The values of a parameters file, in Azure's form or as a plain object."""
    given = value.get("parameters", value) if isinstance(value, Mapping) else {}
    out: dict[str, Any] = {}
    for name, entry in given.items() if isinstance(given, Mapping) else ():
        if isinstance(entry, Mapping) and "value" in entry:
            out[str(name)] = entry["value"]
        elif isinstance(entry, Mapping) and "reference" in entry:
            out[str(name)] = Unknown(f"${{{name}}}", (f"parameter '{name}' is a secret of a key vault",))
        elif given is value and not str(name).startswith("$") and name != "contentVersion":
            out[str(name)] = entry
    return out


class _Finder:
    def __init__(self, budget: Budget, unread: list[str]) -> None:
        self._budget, self._unread = budget, unread

    def anything(self, value: Any, parameters: Mapping[str, Any], path: str, level: int) -> Iterator[Found]:
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield from self.anything(item, parameters, f"{path}[{i}]", level)
        elif not isinstance(value, Mapping) or level > MAX_LEVELS:
            return
        elif isinstance(value.get("type"), str) and not _is_template(value):
            if _kind(value) in POLICIES:
                yield from self._policy(value, path, level, parameters)
            else:
                yield from self._resource(value, Scope(budget=self._budget), path, level, {})
        elif _is_template(value):
            yield from self._template(value, Scope.of(value, parameters, self._budget), path, level)
        elif "policyRule" in value or "policyRule" in _map(value, "properties"):
            yield from self._policy(value, path, level, parameters)
        elif isinstance(value.get("value"), list):
            yield from self.anything(value["value"], parameters, _join(path, "value"), level)
        elif (kind := _type_of_body(value)) is not None:
            yield from self._resource({"type": kind, **value}, Scope(budget=self._budget), path, level, {})
        elif isinstance(value.get("template"), Mapping):
            yield from self.anything(value["template"], parameters, _join(path, "template"), level + 1)

    def _template(self, template: Mapping[str, Any], scope: Scope, path: str, level: int) -> Iterator[Found]:
        kept = _map(_map(template, "metadata"), "tocsin")
        resources = template.get("resources") or ()
        named = resources.items() if isinstance(resources, Mapping) else enumerate(resources)
        for key, resource in named:
            step = f"resources.{key}" if isinstance(key, str) else f"resources[{key}]"
            if isinstance(resource, Mapping):
                yield from self._copies(resource, scope, _join(path, step), level, kept)

    def _copies(
        self, resource: Mapping[str, Any], scope: Scope, path: str, level: int, kept: Mapping[str, Any]
    ) -> Iterator[Found]:
        loop = resource.get("copy")
        if not isinstance(loop, Mapping):
            yield from self._resource(resource, scope, path, level, kept)
            return
        plain = {key: item for key, item in resource.items() if key != "copy"}
        try:
            scopes = list(scope.each(loop))
        except ExpressionError as e:
            if _kind(plain) in ALERT_TYPES:
                yield from self._broken(plain, path, str(e))
            elif _kind(plain) in DEPLOYMENTS:
                yield from (replace(found, fault=str(e)) for found in self._deployment(plain, scope, path, level))
            return
        for i, inner in enumerate(scopes):
            yield from self._resource(plain, inner, f"{path}#{i}", level, kept)

    def _resource(
        self, resource: Mapping[str, Any], scope: Scope, path: str, level: int, kept: Mapping[str, Any]
    ) -> Iterator[Found]:
        kind = _kind(resource)
        if resource.get("existing") is True:
            return
        if kind in DEPLOYMENTS:
            yield from self._deployment(resource, scope, path, level)
        elif kind in POLICIES:
            yield from self._policy(resource, path, level, {})
        elif kind in ALERT_TYPES:
            yield self._alert(resource, scope, path, kept)
        for i, child in enumerate(resource.get("resources") or () if kind not in DEPLOYMENTS else ()):
            if isinstance(child, Mapping) and level < MAX_LEVELS:
                whole = str(child.get("type", ""))
                full = whole if "/" in whole and "." in whole.partition("/")[0] else f"{resource.get('type')}/{whole}"
                yield from self._copies({**child, "type": full}, scope, f"{path}.resources[{i}]", level + 1, kept)

    def _alert(self, resource: Mapping[str, Any], scope: Scope, path: str, kept: Mapping[str, Any]) -> Found:
        resource = without_properties(resource)
        name = self._value(scope, resource.get("name", ""))
        body = {key: self._value(scope, item) for key, item in resource.items() if key not in ("properties", "copy")}
        properties = resource.get("properties")
        if isinstance(properties, Mapping) and "copy" not in properties:
            body["properties"] = {key: self._value(scope, item) for key, item in properties.items()}
        else:
            body["properties"] = self._value(scope, properties)
        return Found(
            type=str(resource["type"]),
            api=str(_known(body.get("apiVersion"))),
            name=name if isinstance(name, Unknown) else str(name),
            body=body,
            path=path,
            condition=self._condition(resource, scope),
            kept=kept,
        )

    def _condition(self, resource: Mapping[str, Any], scope: Scope) -> bool | Unknown:
        """Whether a resource is deployed."""
        condition = self._value(scope, resource.get("condition", True))
        return condition if isinstance(condition, Unknown) else str(condition).lower() != "false"

    def _value(self, scope: Scope, raw: Any) -> Any:
        """One property, worked out; what is wrong in it hurts none of the others."""
        try:
            return scope.value(raw)
        except ExpressionError as e:
            return Unknown("${…}", (str(e),))
        except RecursionError:
            return Unknown("${…}", ("its expression goes too deep",))

    def _broken(self, resource: Mapping[str, Any], path: str, why: str) -> Iterator[Found]:
        yield Found(
            type=str(resource["type"]), api=str(resource.get("apiVersion", "")), name=str(resource.get("name", "")),
            body=resource, path=path, fault=why,
        )  # fmt: skip

    def _deployment(self, resource: Mapping[str, Any], scope: Scope, path: str, level: int) -> Iterator[Found]:
        properties = _map(resource, "properties")
        template = self._template_of(properties, scope, path)
        if not template or level >= MAX_LEVELS:
            return
        inner = scope
        options = _map(properties, "expressionEvaluationOptions")
        if str(options.get("scope", "")).lower() == "inner":
            inner = self._inner(template, properties, scope)
        outer = self._condition(resource, scope)
        for found in self._template(template, inner, f"{path}.properties.template", level + 1):
            yield replace(found, condition=_both(outer, found.condition))

    def _template_of(self, properties: Mapping[str, Any], scope: Scope, path: str) -> Mapping[str, Any]:
        """The template of a deployment, {} where it is not here. A text may hold one, or be worked out to one."""
        raw = properties.get("template")
        if isinstance(link := properties.get("templateLink"), Mapping):
            where = self._value(scope, link.get("uri") or link.get("relativePath") or link.get("id") or "")
            self._unread.append(f"{path}: its template lies at {where.text if isinstance(where, Unknown) else where}")
        value = self._value(scope, raw) if isinstance(raw, str) else raw
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = call("json", [value])
            except ExpressionError as e:
                value = Unknown("${…}", (str(e),))
        if isinstance(value, Unknown):
            self._unread.append(f"{path}: its template is not known: {', '.join(value.why)}")
        return value if isinstance(value, Mapping) else {}

    def _inner(self, template: Mapping[str, Any], properties: Mapping[str, Any], scope: Scope) -> Scope:
        raw = properties.get("parameters")
        passed = self._value(scope, raw) if isinstance(raw, str) else raw
        if isinstance(passed, Unknown):  # which are passed is not known, so no default holds for sure
            return Scope.of(
                template, {name: _missing(name, passed) for name in _map(template, "parameters")}, self._budget
            )
        given = {}
        for name, entry in passed.items() if isinstance(passed, Mapping) else ():
            value = self._passed(str(name), entry, scope)
            if value is not None:  # null stands for the default
                given[str(name)] = value
        return Scope.of(template, given, self._budget)

    def _passed(self, name: str, entry: Any, scope: Scope) -> Any:
        """What is passed for a parameter: Bicep writes ``{value: …}``, or an expression that gives such an object;
        None for nothing.
        """
        whole = self._value(scope, entry) if isinstance(entry, str) else entry
        if isinstance(whole, Unknown):
            return _missing(name, whole)
        if not isinstance(whole, Mapping):
            return None
        if "reference" in whole:
            return Unknown(f"${{{name}}}", (f"parameter '{name}' is a secret of a key vault",))
        value = whole.get("value")
        return value if whole is not entry else self._value(scope, value)

    def _policy(self, resource: Mapping[str, Any], path: str, level: int, given: Mapping[str, Any]) -> Iterator[Found]:
        """A policy's deployment: its parameters are the policy's to work out, its template is Azure's."""
        policy = _map(resource, "properties") if "policyRule" not in resource else resource
        if _escaped(policy.get("policyRule")):
            policy = _once_unescaped(policy)
        deployment = policy
        steps = ("policyRule", "then", "details", "deployment", "properties")
        for step in steps:
            deployment = _map(deployment, step)
        assigned = Scope.of({"parameters": policy.get("parameters")}, given, self._budget)
        template = self._template_of(deployment, assigned, path or "policyRule")
        if not template or level >= MAX_LEVELS:
            return
        scope = self._inner(template, deployment, assigned)
        inside = "" if "policyRule" in resource else "properties."
        where = _join(path, f"{inside}{'.'.join(steps)}.template")
        yield from self._template(template, scope, where, level + 1)


def _both(outer: bool | Unknown, inner: bool | Unknown) -> bool | Unknown:
    """Whether both conditions hold: one that is false decides, whatever the other one is."""
    if outer is False or inner is False:
        return False
    return outer if isinstance(outer, Unknown) else inner


def _missing(name: str, why: Unknown) -> Unknown:
    return Unknown(f"${{{name}}}", (f"'{name}' is passed as {why.text}", *why.why))


def _is_template(value: Mapping[str, Any]) -> bool:
    schema = str(value.get("$schema", "")).lower()
    if "parameters.json" in schema:
        return False
    return "resources" in value and (
        bool(schema) or "contentVersion" in value or not isinstance(value.get("type"), str)
    )


def _type_of_body(value: Mapping[str, Any]) -> str | None:
    """The type of a resource body that does not say it, as an API call's."""
    properties = _map(value, "properties")
    source, criteria = _map(properties, "source"), _map(properties, "criteria")
    if "query" in source and "schedule" in properties:
        return "Microsoft.Insights/scheduledQueryRules"
    first = next(iter(criteria.get("allOf") or ()), None)
    if isinstance(first, Mapping) and "query" in first:
        return "Microsoft.Insights/scheduledQueryRules"
    if isinstance(first, Mapping) and "metricName" in first:
        return "Microsoft.Insights/metricAlerts"
    return None


def _escaped(value: Any) -> bool:
    """Whether expressions in a policy are escaped, since a template was to carry them."""
    if isinstance(value, str):
        return value.startswith("[[") and is_expression(value[1:])
    if isinstance(value, Mapping):
        return any(_escaped(item) for item in value.values())
    return isinstance(value, list) and any(_escaped(item) for item in value)


def _once_unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return unescaped(value)
    if isinstance(value, Mapping):
        return {_once_unescaped(key): _once_unescaped(item) for key, item in value.items()}
    return [_once_unescaped(item) for item in value] if isinstance(value, list) else value


def _kind(resource: Mapping[str, Any]) -> str:
    return str(resource.get("type", "")).partition("@")[0].lower()


def _map(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _known(value: Any) -> Any:
    return "" if value is None or isinstance(value, Unknown) else value


def _join(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step

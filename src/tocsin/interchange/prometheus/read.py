"""Prometheus's alert rules as rules of ours, where their expression is a count of what tocsin has rows of.

Form: prometheus.io/docs/prometheus/latest/configuration/alerting_rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from tocsin.config.yaml.document import Document, resolved
from tocsin.config.yaml.durations import format_duration
from tocsin.errors import ConfigurationError
from tocsin.interchange.azure.read import is_map, text_of_name, type_of
from tocsin.interchange.azure.resources import Found
from tocsin.interchange.azure.scope import Unknown
from tocsin.interchange.data import LABEL_NAME
from tocsin.interchange.prometheus.promql import Counted, counted, seconds_of, why_not
from tocsin.interchange.queries import Schema, fault_of
from tocsin.interchange.report import Imported, Lost, Refused
from tocsin.interchange.words import as_template, iso_duration, rule_name, severity_of
from tocsin.rules.language.schema import SEVERITIES

Group = tuple[Mapping[str, Any], str]  # and its path in the file

SEVERITY_WORDS: Mapping[str, str] = {
    **{word: word for word in SEVERITIES}, "page": "critical", "emergency": "critical", "fatal": "critical",
    "high": "error", "major": "error", "warn": "warning", "medium": "warning", "minor": "warning",
    "info": "informational", "low": "informational", "none": "verbose", "debug": "verbose",
}  # fmt: skip
_VALUE = re.compile(r"\{\{-?\s*(?:\$value|\.Value)\s*(?:\|[^{}]*)?-?\}\}")
_LABEL = re.compile(r"\{\{-?\s*(?:\$labels|\.Labels)\.(\w+)\s*(?:\|[^{}]*)?-?\}\}")
_EVERY = timedelta(minutes=1)
"""Prometheus's default interval."""


def rule_groups(document: Document) -> list[Group]:
    """The groups of a rule file, of a PrometheusRule object, or of a list of them. Raises ContentError for what is
    neither.
    """
    out = list(_groups(document.data, ""))
    if not out:
        raise ConfigurationError([document.problem(
            (), "has no alert rule in it", "Prometheus rule files have groups: with rules: in them",
        )])  # fmt: skip
    return out


def _groups(data: Any, path: str) -> Iterator[Group]:
    if not is_map(data):
        return
    if isinstance(items := data.get("items"), list):
        for i, item in enumerate(items):
            yield from _groups(item, f"{path}items[{i}].")
    if is_map(spec := data.get("spec")):
        yield from _groups(spec, f"{path}spec.")
    for i, group in enumerate(data["groups"] if isinstance(data.get("groups"), list) else ()):
        if is_map(group) and isinstance(group.get("rules"), list):
            yield group, f"{path}groups[{i}]"


def import_groups(groups: list[Group], document: Document, schema: Schema) -> Iterator[Imported]:
    """Every rule of these groups."""
    for group, path in groups:
        interval = seconds_of(str(group.get("interval") or "")) or 0
        for j, rule in enumerate(group["rules"]):
            if not is_map(rule):
                continue
            entry = {
                key: resolved(rule[key]) if key in ("labels", "annotations") else rule[key] and str(rule[key])
                for key in rule
            }
            entry["every"] = timedelta(seconds=interval) if interval else None
            entry["for"] = _span(rule.get("for"))
            entry["keep_firing_for"] = _span(rule.get("keep_firing_for"))
            entry["limit"] = group.get("limit")
            yield _one(entry, document.file, f"{path}.rules[{j}]", "Prometheus", schema)


def import_rule_group(found: Found, file: str, schema: Schema) -> Iterator[Imported]:
    """Every rule of Azure's managed Prometheus rule group."""
    p = found.body.get("properties")
    rules = p.get("rules") if is_map(p) else None
    if not is_map(p) or not isinstance(rules, list):
        yield Imported(
            file=file, path=found.path, type=type_of(found), name=text_of_name(found), why_not="it has no rules"
        )
        return
    for j, rule in enumerate(rules):
        if not is_map(rule):
            continue
        known = {k: v.text if isinstance(v, Unknown) else v for k, v in rule.items()}
        conf = rule.get("resolveConfiguration")
        entry = {
            **known,
            "expr": known.get("expression"),
            "every": iso_duration(str(p.get("interval", ""))),
            "for": iso_duration(str(known.get("for", ""))),
            "keep_firing_for": iso_duration(str(conf.get("timeToResolve", ""))) if is_map(conf) else None,
            "severity": known.get("severity"),
            "enabled": _enabled(rule.get("enabled", p.get("enabled", True))) and found.condition is True,
        }
        yield _one(entry, file, f"{found.path}.properties.rules[{j}]", type_of(found), schema)


def _enabled(value: Any) -> bool:
    """Whether a rule is on; where only Azure knows, it is not."""
    return not isinstance(value, Unknown) and str(value).lower() != "false"


def _one(entry: Mapping[str, Any], file: str, path: str, kind: str, schema: Schema) -> Imported:
    expr = str(entry.get("expr") or "")
    record = entry.get("record")
    if record and not entry.get("alert"):
        return Imported(
            file=file, path=path, type=f"{kind} recording rule", name=str(record),
            why_not="a recording rule makes a series for Prometheus; it alerts nobody",
        )  # fmt: skip
    lost: list[Lost] = []
    alert = str(entry.get("alert") or "")
    common: dict[str, Any] = {"file": file, "path": path, "type": f"{kind} alert", "name": alert}
    if not alert and entry.get("title"):
        common["name"] = str(entry["title"])
        why = "it is a rule of Grafana, which asks its own data sources; leave it there, or write its condition as a query"
        return Imported(**common, why_not=why)
    if not alert or not expr.strip():
        return Imported(**common, why_not="it has no alert: and expr:, so it is no rule of Prometheus")
    found: Counted | None = None
    try:
        found = counted(expr)
        why = "" if found else why_not(expr)
    except Refused as e:
        why = str(e)
    rule = _rule(entry, alert, found, lost)
    if found is None:
        return Imported(**common, why_not=why, stub={"name": rule.pop("name"), "expr": expr.strip(), **rule})
    off = fault_of(str(rule["query"]), found.by, schema)
    if off:
        rule = {"name": rule["name"], "enabled": False, **rule}
    kept = [f"expr {' '.join(expr.split())} -> query, condition, over: {rule['over']}"]
    kept += [f"{key} -> {key}: {rule[key]}" for key in ("every", "for", "keep_firing_for", "severity") if key in rule]
    kept += [f"{key} -> {key}" for key in ("summary", "description", "labels", "annotations") if key in rule]
    if entry.get("limit"):
        lost.append(Lost(key="limit", why="fails a group in Prometheus; see max_instances"))
    return Imported(
        **common, rule=rule, kept=tuple(kept), lost=tuple(lost), off=off and f"the query does not run here: {off}"
    )


def _rule(entry: Mapping[str, Any], alert: str, found: Counted | None, lost: list[Lost]) -> dict[str, Any]:
    """The keys that have a counterpart, whether or not the expression has one."""
    name = rule_name(alert) or "imported"
    if name != alert:
        lost.append(Lost(key="alert", why=f"'{alert}' written as '{name}'"))
    rule: dict[str, Any] = {"name": name}
    if entry.get("enabled") is False:
        rule["enabled"] = False
    if found is not None:
        rule |= {
            "over": format_duration(timedelta(seconds=found.seconds)),
            "query": found.query,
            "condition": found.condition,
        }
        rule["value"] = found.value
        rule["every"] = format_duration(entry.get("every") or _EVERY)
        rule |= {"by": list(found.by)} if found.by else {}
    for key in ("for", "keep_firing_for"):
        if entry.get(key):
            rule[key] = format_duration(entry[key])
    labels = _map(entry, "labels")
    rule |= _severity(entry.get("severity"), str(labels.get("severity", "")).lower(), lost)
    kept = {str(k): _text(v, f"labels.{k}", found, lost) for k, v in labels.items() if k != "severity" and LABEL_NAME.fullmatch(str(k))}  # fmt: skip
    if kept:
        rule["labels"] = kept
    annotations = _map(entry, "annotations")
    texts = {str(k): _text(v, f"annotations.{k}", found, lost) for k, v in annotations.items()}
    for key, ours in (("summary", "summary"), ("runbook_url", "runbook")):
        if key in texts:
            rule[ours] = texts.pop(key)
    if texts:
        rule["annotations"] = texts
    return rule


def _severity(number: Any, word: str, lost: list[Lost]) -> dict[str, Any]:
    """By a number beside the rule, or by its label."""
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 4:
        return {"severity": severity_of(number)}
    if word in SEVERITY_WORDS:
        return {"severity": SEVERITY_WORDS[word]}
    if word:
        lost.append(Lost(key="labels.severity", why=f"'{word}' is no severity that is known here; taken for warning"))
    return {}


def _text(value: Any, key: str, found: Counted | None, lost: list[Lost]) -> str:
    """Go's template as ours, where it only names a label or the value."""
    columns = {c.lower(): c for c in found.by} if found else {}
    kept: list[str] = []

    def hold(text: str) -> str:
        kept.append(text)
        return f"\0{len(kept) - 1}\0"

    def label(match: re.Match[str]) -> str:
        if found is not None and match[1].lower() not in columns:
            lost.append(Lost(key=key, why=f"{match[0]} has no counterpart"))
        return hold("{{ " + columns.get(match[1].lower(), match[1]) + " }}")

    text = str(value).replace("\0", "")
    text = _VALUE.sub(lambda m: hold("{{ value }}"), text)
    text = _LABEL.sub(label, text)
    if "{{" in text:
        lost.append(Lost(key=key, why="its template is more than a label or the value, and stands there as text"))
    text = as_template(text)
    return re.sub(r"\0(\d+)\0", lambda m: kept[int(m[1])], text)


def _map(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = entry.get(key)
    return found if is_map(found) else {}


def _span(value: Any) -> timedelta | None:
    seconds = seconds_of(str(value)) if value else None
    return timedelta(seconds=seconds) if seconds else None

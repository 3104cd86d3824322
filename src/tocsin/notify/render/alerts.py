"""What channels for programs say of an alert: its key, status, times, labels, annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from tocsin.model.alert import fingerprint, instance_key
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.text.causes import cause_of
from tocsin.model.text.redact import redact
from tocsin.notify.channels.base import Notification
from tocsin.notify.context import Mail
from tocsin.notify.render.links import rule_page, run_page, web_link
from tocsin.notify.text import moment, shown

LONGEST = 1024
"""Characters of a label's value."""
NOT_ENDED = "0001-01-01T00:00:00Z"
_SEPARATOR = b"\xff"


def episode(intent: Intent) -> str:
    """Key of an alert from its firing to its end: whatever is said of it in between carries the same one."""
    return fingerprint("alert", intent.rule, instance_key(intent.instance), intent.occurrence)


def resolved(intent: Intent) -> bool:
    """Whether it says that the alert is over."""
    return intent.kind is IntentKind.RESOLVED


def started(intent: Intent) -> datetime:
    """When the alert began: a condition's occurrence is the instant at which it fired."""
    return moment(intent.occurrence) or intent.event_time or intent.at


def rfc3339(t: datetime) -> str:
    """As Go writes times: UTC, no trailing zeros."""
    text = t.strftime("%Y-%m-%dT%H:%M:%S")
    part = f"{t.microsecond:06d}".rstrip("0")
    return f"{text}.{part}Z" if part else f"{text}Z"


def snake(name: str) -> str:
    """``ExperimentName`` as ``experiment_name``, fit for a label."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    text = re.sub(r"[^A-Za-z0-9_]", "_", text).lower()
    return f"_{text}" if text[:1].isdigit() else text


def as_text(value: object) -> str:
    """A value as the text of a label."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return str(value)


def labels(intent: Intent) -> dict[str, str]:
    """What identifies an alert: rule, severity, run, occurrence, `by`, `labels`, `fields`. Empty ones are left out."""
    found: dict[str, str] = {}
    for values in (intent.fields, intent.labels, intent.instance):
        found.update({snake(str(name)): as_text(value) for name, value in values.items()})
    found |= {
        "alertname": intent.rule,
        "severity": intent.severity.word,
        "run_id": intent.run_id,
        "occurrence": intent.occurrence,
    }
    return {name: shown(value, LONGEST) for name, value in sorted(found.items()) if value and name}


def group_labels(values: Mapping[str, str]) -> dict[str, str]:
    """What a group's alerts have in common, under the names of ``labels``. Empty ones are left out."""
    named = {"alertname" if name == "rule" else snake(name): value for name, value in values.items()}
    return {name: shown(value, LONGEST) for name, value in sorted(named.items()) if value}


def notes(intent: Intent, info: RuleInfo, title: str, made: Mapping[str, str] | None = None) -> dict[str, str]:
    """What changes or explains: summary, cause, value, attempt, runbook, the rule's own."""
    event = intent.event
    found = {
        **(made or {}),
        "summary": title,
        "description": info.description,
        "cause": cause_of(event),
        "message": redact(as_text(event.get("Message"))[:8000]),
        "value": "" if intent.value is None else f"{intent.value:g}",
        "attempt": as_text(event.get("Attempt") or ""),
        "runbook_url": web_link(info.runbook),
    }
    return {name: shown(value, 4000) for name, value in sorted(found.items()) if value}


def source(intent: Intent, base_url: str) -> str:
    """Where to read on: the rule's page here, else the run where it ran."""
    return rule_page(base_url, intent.rule) or run_page(base_url, intent.run_id) or web_link(intent.event.get("Url"))


def alert_v2(intent: Intent, info: RuleInfo, seen: Mail, base_url: str, *, first: bool) -> dict[str, object]:
    """An alert as Alertmanager's API and its webhooks write it. ``first``: it is the one that ``seen`` is about."""
    others = {each.rule: each.title for each in seen.others}
    title = seen.alert.title if first else others.get(intent.rule, intent.rule)
    return {
        "labels": labels(intent),
        "annotations": notes(intent, info, title, seen.rule.annotations if first else None),
        "startsAt": rfc3339(started(intent)),
        "endsAt": rfc3339(intent.at) if resolved(intent) else NOT_ENDED,
        "generatorURL": source(intent, base_url),
    }


def alerts_v2(notification: Notification, base_url: str) -> list[dict[str, object]]:
    """All of a notification; of a summary, which is about no single alert, one that stands for it."""
    seen = notification.seen
    if not notification.alerts:
        return [
            {
                "labels": {"alertname": seen.alert.rule, "severity": seen.alert.severity},
                "annotations": {"summary": notification.delivery.subject},
                "startsAt": rfc3339(notification.at),
                "endsAt": NOT_ENDED,
                "generatorURL": base_url,
            }
        ]
    return [
        alert_v2(intent, info, seen, base_url, first=n == 0) for n, (intent, info) in enumerate(notification.alerts)
    ]


def label_hash(found: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of labels: FNV-1a over names and values."""
    h = 0xCBF29CE484222325
    for name, value in sorted(found.items()):
        for byte in b"".join([name.encode(), _SEPARATOR, value.encode("utf-8", "replace"), _SEPARATOR]):
            h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def common(all_of: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What they have in common."""
    found = [dict(each) for each in all_of]
    if not found:
        return {}
    return {name: value for name, value in found[0].items() if all(each.get(name) == value for each in found)}

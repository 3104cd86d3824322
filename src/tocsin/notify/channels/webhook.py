"""JSON to a URL: our own form, Azure's common alert schema, or what Alertmanager sends to webhooks. Signed where it has a
secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from tocsin.config.yaml.document import YamlModel
from tocsin.model.delivery import Delivery
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.text.causes import cause_of
from tocsin.notify.channels.base import Message, Notification, Setting
from tocsin.notify.channels.http import Call, File, HttpChannel, Url
from tocsin.notify.context import Run
from tocsin.notify.render import alerts


class WebhookModel(YamlModel):
    """Posts JSON to a URL."""

    url: Url = Field(description="Where to.", examples=["https://example.org/hook"])
    format: Literal["plain", "common-alert-schema", "alertmanager"] = Field(
        default="plain", description="Shape of the body.", examples=["common-alert-schema"]
    )
    secret_file: File | None = Field(
        default=None, description="Key of the signature X-Tocsin-Signature.", examples=["chat.secret"]
    )
    allow_private: bool = Field(
        default=False, description="Whether it may be a private or loopback address.", examples=[True]
    )


class Webhook(HttpChannel[WebhookModel]):
    """One call a message."""

    key = "webhook"
    Options = WebhookModel
    example: ClassVar[object] = {"url": "https://example.org/hook"}
    people = False

    def __init__(self, options: WebhookModel, setting: Setting) -> None:
        super().__init__(options, setting)
        self.private = options.allow_private

    def render(self, notification: Notification) -> Message:
        """The body, in the form that the options name."""
        body = FORMS[self._options.format](notification, self.setting)
        text = json.dumps(body, ensure_ascii=False, default=str, separators=(",", ":"))
        return Message(body=text.encode("utf-8", "replace"), subject=notification.delivery.subject)

    def call(self, delivery: Delivery) -> Call:
        """With its key, the same in every attempt, and its signature."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": delivery.id}
        if self._options.secret_file is not None:
            secret = self.setting.secret(self._options.secret_file).encode()
            headers["X-Tocsin-Signature"] = f"sha256={hmac.new(secret, delivery.message, hashlib.sha256).hexdigest()}"
        return Call(url=self._options.url, body=delivery.message, headers=headers)


def _time(t: datetime | None) -> str | None:
    return None if t is None else alerts.rfc3339(t)


def plain(notification: Notification, setting: Setting) -> Mapping[str, object]:
    """Our own form, version 1."""
    seen, delivery = notification.seen, notification.delivery
    return {
        "version": "1",
        "kind": seen.alert.kind,
        "status": _status(notification),
        "receiver": delivery.receiver,
        "title": delivery.subject,
        "severity": seen.alert.severity,
        "group": delivery.group,
        "because": seen.reader.because,
        "alerts": [_alert(intent) for intent, _ in notification.alerts],
        "run": _run(seen.run) if seen.run is not None else None,
        "summary": seen.summary.count if seen.summary is not None else None,
        "text": list(seen.lines),
        "runbook": seen.rule.runbook,
        "annotations": dict(seen.rule.annotations),
        "links": {name: link for name in seen.links.__dataclass_fields__ if (link := getattr(seen.links, name))},
        "sent_at": _time(notification.at),
    }


def _status(notification: Notification) -> str:
    if not notification.alerts or notification.alerts[0][0].kind in (IntentKind.SUMMARY, IntentKind.ADMIN):
        return "information"
    return "resolved" if all(alerts.resolved(intent) for intent, _ in notification.alerts) else "firing"


def _alert(intent: Intent) -> Mapping[str, object]:
    return {
        "key": alerts.episode(intent),
        "rule": intent.rule,
        "kind": intent.kind.value,
        "severity": intent.severity.word,
        "cause": cause_of(intent.event),
        "why": intent.why.value,
        "value": intent.value,
        "instance": dict(intent.instance),
        "labels": dict(intent.labels),
        "fields": dict(intent.fields),
        "run_id": intent.run_id,
        "started_at": _time(alerts.started(intent)),
        "ended_at": _time(intent.at) if alerts.resolved(intent) else None,
    }


def _run(run: Run) -> Mapping[str, object]:
    return {
        "id": run.id, "name": run.name, "experiment": run.experiment, "workspace": run.workspace, "type": run.type,
        "target": run.target, "owner": run.owner, "owner_email": run.owner_email, "status": run.status,
        "reason": run.reason, "message": run.message, "code": run.code, "log": list(run.log), "url": run.url,
        "attempt": run.attempt, "started_at": _time(run.started), "ended_at": _time(run.ended),
        "duration_seconds": run.ran.total_seconds() if run.ran is not None else None, "tags": dict(run.tags),
    }  # fmt: skip


def alertmanager(notification: Notification, setting: Setting) -> Mapping[str, object]:
    """What Alertmanager sends to webhooks, version 4."""
    found = alerts.alerts_v2(notification, setting.base_url)
    grouped = alerts.group_labels(notification.grouped)
    every: list[dict[str, object]] = []
    for each in found:
        status = "firing" if each["endsAt"] == alerts.NOT_ENDED else "resolved"
        every.append({"status": status, **each, "fingerprint": alerts.label_hash(each["labels"])})  # type: ignore[arg-type]
    return {
        "receiver": notification.delivery.receiver,
        "status": "firing" if any(each["status"] == "firing" for each in every) else "resolved",
        "alerts": every,
        "groupLabels": grouped,
        "commonLabels": alerts.common(each["labels"] for each in found),  # type: ignore[misc]
        "commonAnnotations": alerts.common(each["annotations"] for each in found),  # type: ignore[misc]
        "externalURL": setting.base_url,
        "version": "4",
        "groupKey": f"{{}}:{{{_pairs(grouped)}}}" if grouped else f"{{}}:{{}}:{notification.delivery.group}",
        "truncatedAlerts": 0,
    }


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())


def common_alert_schema(notification: Notification, setting: Setting) -> Mapping[str, object]:
    """Azure Monitor's, as its log search alerts fill it."""
    seen, delivery = notification.seen, notification.delivery
    intent = notification.alerts[0][0] if notification.alerts else None
    ended = intent is not None and alerts.resolved(intent)
    start = alerts.started(intent) if intent is not None else notification.at
    essentials: dict[str, object] = {
        "alertId": alerts.episode(intent) if intent is not None else delivery.id,
        "alertRule": seen.alert.rule,
        "severity": f"Sev{intent.severity.value if intent is not None else 3}",
        "signalType": "Log",
        "monitorCondition": "Resolved" if ended else "Fired",
        "monitoringService": "Log Alerts V2",
        "alertTargetIDs": [],
        "configurationItems": [seen.run.target] if seen.run is not None and seen.run.target else [],
        "originAlertId": alerts.episode(intent) if intent is not None else delivery.id,
        "firedDateTime": _time(start),
        "description": delivery.subject,
        "essentialsVersion": "1.0",
        "alertContextVersion": "1.0",
    }
    if ended and intent is not None:
        essentials["resolvedDateTime"] = _time(intent.at)
    dimensions = alerts.labels(intent) if intent is not None else {}
    condition: dict[str, object] = {
        "windowSize": None,
        "allOf": [
            {
                "searchQuery": None,
                "metricMeasureColumn": None,
                "targetResourceTypes": None,
                "operator": None,
                "threshold": None,
                "timeAggregation": None,
                "dimensions": [{"name": name, "value": value} for name, value in dimensions.items()],
                "metricValue": intent.value if intent is not None else None,
                "failingPeriods": None,
                "linkToSearchResultsUI": seen.links.run or seen.links.rule,
            }
        ],
        "windowStartTime": _time(start),
        "windowEndTime": _time(intent.at) if intent is not None else _time(notification.at),
    }
    return {
        "schemaId": "azureMonitorCommonAlertSchema",
        "data": {
            "essentials": essentials,
            "alertContext": {
                "properties": {"others": ", ".join(each.rule for each in seen.others)} if seen.others else {},
                "conditionType": "LogQueryCriteria",
                "condition": condition,
            },
            "customProperties": dict(seen.rule.annotations),
        },
    }


FORMS: Mapping[str, Callable[[Notification, Setting], Mapping[str, object]]] = {
    "plain": plain,
    "alertmanager": alertmanager,
    "common-alert-schema": common_alert_schema,
}

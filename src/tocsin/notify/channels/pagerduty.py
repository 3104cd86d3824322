"""PagerDuty's Events API v2: one incident an alert's episode, whatever is sent of it.

Facts of the interface: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from tocsin.config.yaml.document import YamlModel
from tocsin.model.active import ActiveAlert
from tocsin.model.alert import fingerprint
from tocsin.model.delivery import Delivery
from tocsin.model.statuses import Severity
from tocsin.notify.channels.base import Message, Notification, Setting
from tocsin.notify.channels.http import Call, File, HttpChannel, Url
from tocsin.notify.render import alerts, people

LONGEST = 500 * 1024
"""Bytes of an event; PagerDuty takes 512 KB."""
LONGEST_KEY = 255
"""Characters."""
SEVERITIES: Mapping[Severity, str] = {
    Severity.CRITICAL: "critical",
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.INFORMATIONAL: "info",
    Severity.VERBOSE: "info",
}


class PagerDutyModel(YamlModel):
    """Events API v2."""

    routing_key_file: File = Field(description="File of the integration key.", examples=["pd.key"])
    url: Url = Field(
        default="https://events.pagerduty.com/v2/enqueue",
        description="Where to; EU accounts have another.",
        examples=["https://events.eu.pagerduty.com/v2/enqueue"],
    )
    group: bool = Field(default=False, description="One incident a group, not one an alert.", examples=[True])


class PagerDuty(HttpChannel[PagerDutyModel]):
    """Opens, acknowledges and resolves incidents. The key of the integration is added when it is sent, so it lies in no outbox."""

    key = "pagerduty"
    Options = PagerDutyModel
    example: ClassVar[object] = {"routing_key_file": "pd.key"}
    people = False
    each = True
    acknowledges = True

    workers = 1
    """One, so that what is said of an alert arrives in order; 120 calls a minute are allowed."""

    def render(self, notification: Notification) -> Message:
        """The event, without its key."""
        subject = notification.delivery.subject
        event = _event(notification, self._options.group, self.setting)
        body = json.dumps(event, ensure_ascii=False, default=str).encode("utf-8", "replace")
        if len(body) > LONGEST and "payload" in event:
            event["payload"]["custom_details"] = {"error": "left out: too long"}  # type: ignore[index]
            body = json.dumps(event, ensure_ascii=False, default=str).encode("utf-8", "replace")
        return Message(body=body, subject=subject)

    def ends(self, delivery: Delivery) -> bool:
        """A resolve."""
        return bool(json.loads(delivery.message).get("event_action") == "resolve")

    def call(self, delivery: Delivery) -> Call:
        """The event with its key."""
        event = {"routing_key": self.setting.secret(self._options.routing_key_file), **json.loads(delivery.message)}
        body = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")
        return Call(url=self._options.url, body=body, headers={"Content-Type": "application/json"})


def keys_of(alert: ActiveAlert) -> frozenset[str]:
    """The keys of the incidents that may have been opened of ``alert``: its own, or its groups'."""
    own = fingerprint("alert", alert.rule, alert.instance, alert.occurrence)
    groups = (f"group/{each.group}" for each in alert.routes if each.group)
    alone = f"alert/{alert.rule}/{alert.instance}/{alert.occurrence}"
    return frozenset(people.fit(key, LONGEST_KEY) for key in (own, alone, *groups))


def _event(notification: Notification, grouped: bool, setting: Setting) -> dict[str, object]:
    seen, delivery = notification.seen, notification.delivery
    intent = notification.alerts[0][0] if notification.alerts else None
    key = alerts.episode(intent) if intent is not None and not grouped else delivery.group
    if people.over(notification):
        return {"event_action": "resolve", "dedup_key": people.fit(key, LONGEST_KEY)}
    if notification.acknowledged:
        return {"event_action": "acknowledge", "dedup_key": people.fit(key, LONGEST_KEY)}
    severity = intent.severity if intent is not None else Severity.of(seen.alert.severity)
    payload: dict[str, object] = {
        "summary": people.fit(delivery.subject, 1024),
        "source": (seen.run.id if seen.run is not None else "") or urlsplit(setting.base_url).hostname or "tocsin",
        "severity": SEVERITIES[severity],
        "timestamp": alerts.rfc3339(alerts.started(intent) if intent is not None else notification.at),
        "class": seen.alert.rule,
        "custom_details": {
            **(alerts.labels(intent) if intent is not None else {}),
            "text": "\n".join(people.lines(notification)),
            "log": "\n".join(people.log(seen)),
        },
    }
    if seen.run is not None:
        payload |= {"component": seen.run.target or seen.run.id, "group": seen.run.experiment or seen.run.id}
    links = [{"href": url, "text": words} for words, url in people.links(seen)]
    event: dict[str, object] = {
        "event_action": "trigger",
        "dedup_key": people.fit(key, LONGEST_KEY),
        "payload": payload,
    }
    event |= {"client": "tocsin", "client_url": setting.base_url, "links": links}
    return {name: value for name, value in event.items() if value}

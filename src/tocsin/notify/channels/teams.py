"""Microsoft Teams: an Adaptive Card to a Workflows URL (connectors ended in 2026).

Facts of the interface: https://learn.microsoft.com/en-us/connectors/teams/ (when a webhook request is received)
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import Field

from tocsin.config.yaml.document import YamlModel
from tocsin.model.delivery import Delivery
from tocsin.notify.channels.base import Message, Notification
from tocsin.notify.channels.http import Call, File, HttpChannel
from tocsin.notify.render import people

LONGEST = 27 * 1024
"""Bytes of a message; Teams takes 28 KB."""
_COLOURS = {
    "critical": "Attention",
    "error": "Attention",
    "warning": "Warning",
    "informational": "Accent",
    "verbose": "Default",
}


class TeamsModel(YamlModel):
    """A Workflows URL."""

    url_file: File = Field(description="File of the URL, which is a secret.", examples=["teams.url"])


class Teams(HttpChannel[TeamsModel]):
    """One card a message."""

    key = "teams"
    Options = TeamsModel
    example: ClassVar[object] = {"url_file": "teams.url"}

    workers = 1
    """One, so that they stay in order."""

    def render(self, notification: Notification) -> Message:
        """The card; without the log where it would be too long."""
        subject = notification.delivery.subject
        for most in (6000, 1500, 0):
            body = json.dumps(_card(notification, most), ensure_ascii=False).encode("utf-8", "replace")
            if len(body) <= LONGEST:
                break
        return Message(body=body, subject=subject)

    def call(self, delivery: Delivery) -> Call:
        """The card as it is."""
        url = self.setting.secret(self._options.url_file).strip()
        return Call(url=url, body=delivery.message, headers={"Content-Type": "application/json"})


def _text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text, "wrap": True, **more}


def plain(text: str) -> str:
    """``text`` so that a card reads no Markdown link in it."""
    return text.replace("[", "\\[").replace("](", "\\](")


def _card(notification: Notification, most: int) -> dict[str, Any]:
    seen = notification.seen
    over = people.over(notification)
    word = "Resolved" if over else seen.alert.severity.capitalize()
    body = [
        _text(word, weight="Bolder", color="Good" if over else _COLOURS[seen.alert.severity], spacing="None"),
        _text(plain(people.fit(notification.delivery.subject, 300)), weight="Bolder", size="Medium", style="heading"),
        *(_text(plain(people.fit(line, 1000)), spacing="Small") for line in people.lines(notification)[:30] if most),
    ]
    if log := people.fit("\n\n".join(people.log(seen)), max(most, 1)):
        body += [_text(plain(log), fontType="Monospace", size="Small")] if most else []
    body.append(_text(plain(seen.reader.because), isSubtle=True, size="Small"))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": words, "url": url} for words, url in people.links(seen)],
    }
    return {
        "type": "message",
        "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        ],
    }

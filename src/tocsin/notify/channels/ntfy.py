"""ntfy: a topic of a server, on phones. Facts of the interface: https://docs.ntfy.sh/publish/#publish-as-json"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from tocsin.config.yaml.document import YamlModel
from tocsin.model.delivery import Delivery
from tocsin.notify.channels.base import Message, Notification
from tocsin.notify.channels.http import Call, File, HttpChannel, Url
from tocsin.notify.render import people

PRIORITIES: Mapping[str, int] = {"critical": 5, "error": 4, "warning": 3, "informational": 2, "verbose": 1}
TAGS: Mapping[str, str] = {
    "critical": "rotating_light",
    "error": "red_circle",
    "warning": "warning",
    "informational": "information_source",
    "verbose": "speech_balloon",
}
LONGEST = 3500
"""Characters of a message; ntfy makes an attachment of what is longer than 4,096 bytes."""


class NtfyModel(YamlModel):
    """A topic of an ntfy server."""

    url: Url = Field(default="https://ntfy.sh", description="The server.", examples=["https://ntfy.example.org"])
    topic_file: File | None = Field(
        default=None, description="File of the topic, which is the password.", examples=["ntfy.topic"]
    )
    topic: str = Field(default="", description="The topic, where the server is yours.", examples=["training"])
    token_file: File | None = Field(default=None, description="File of an access token.", examples=["ntfy.token"])

    @model_validator(mode="after")
    def _one(self) -> NtfyModel:
        if bool(self.topic) == bool(self.topic_file):
            raise ValueError("needs topic: or topic_file:; write one of them")
        return self


class Ntfy(HttpChannel[NtfyModel]):
    """One push a message. The topic is added when it is sent: where it is the password, it lies in no outbox."""

    key = "ntfy"
    Options = NtfyModel
    example: ClassVar[object] = {"topic_file": "ntfy.topic"}

    def render(self, notification: Notification) -> Message:
        """The push, without its topic."""
        seen, over = notification.seen, people.over(notification)
        links = people.links(seen)
        made: dict[str, object] = {
            "title": people.fit(notification.delivery.subject, 250),
            "message": _fit_bytes("\n".join([*people.lines(notification), *people.log(seen)])) or seen.reader.because,
            "priority": 3 if over else PRIORITIES[seen.alert.severity],
            "tags": ["white_check_mark" if over else TAGS[seen.alert.severity], seen.alert.rule],
            "click": links[0][1] if links else "",
            "actions": [{"action": "view", "label": words, "url": url} for words, url in links[:3]],
        }
        body = json.dumps({name: value for name, value in made.items() if value}, ensure_ascii=False)
        return Message(body=body.encode("utf-8", "replace"), subject=notification.delivery.subject)

    def call(self, delivery: Delivery) -> Call:
        """To the server's root, with the topic."""
        topic = self._options.topic or self.setting.secret(self._options.topic_file or "").strip()
        headers = {"Content-Type": "application/json"}
        if self._options.token_file is not None:
            headers["Authorization"] = f"Bearer {self.setting.secret(self._options.token_file).strip()}"
        body = json.dumps({"topic": topic, **json.loads(delivery.message)}, ensure_ascii=False)
        return Call(url=self._options.url, body=body.encode("utf-8", "replace"), headers=headers)


def _fit_bytes(text: str) -> str:
    return (
        text
        if len(text.encode("utf-8", "replace")) <= LONGEST
        else text.encode("utf-8", "replace")[: LONGEST - 3].decode("utf-8", "ignore") + "…"
    )

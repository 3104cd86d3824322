"""Slack: a bot's token, which can thread and edit, or an incoming webhook, which cannot.

Facts of the interface: https://docs.slack.dev/reference/methods/chat.postMessage
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from tocsin.config.yaml.document import YamlModel
from tocsin.model.delivery import Delivery
from tocsin.notify.channels.base import Message, Notification, Outcome, Reply
from tocsin.notify.channels.http import Answer, Call, Client, File, HttpChannel, Url, meaning
from tocsin.notify.render import people

LATER = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
"""Errors of the API that pass."""


class SlackModel(YamlModel):
    """A bot's token, which can thread and edit, or an incoming webhook, which cannot."""

    token_file: File | None = Field(default=None, description="File of the bot's token.", examples=["slack.token"])
    channel: str = Field(default="", description="Channel of the token form.", examples=["#training"])
    url_file: File | None = Field(
        default=None, description="File of the incoming webhook's URL, which is a secret.", examples=["slack.url"]
    )
    api: Url = Field(
        default="https://slack.com/api",
        description="Where the API of the token form is.",
        examples=["https://slack-gov.com/api"],
    )

    @model_validator(mode="after")
    def _one(self) -> SlackModel:
        if (self.token_file is None) == (self.url_file is None):
            raise ValueError("needs token_file: with channel:, or url_file:; write one of them")
        if self.token_file is not None and not self.channel:
            raise ValueError("token_file: stands without channel:; write channel: '#training' beside it")
        return self


class Slack(HttpChannel[SlackModel]):
    """Posts to one channel. With a token an end edits the message that it ends, and answers it in its thread."""

    key = "slack"
    Options = SlackModel
    example: ClassVar[object] = {"url_file": "slack.url"}

    workers = 1
    """One: Slack takes about one message a second and channel, and they stay in order."""

    def render(self, notification: Notification) -> Message:
        """The message, and with a token which one it answers."""
        made: dict[str, object] = {"message": _message(notification)}
        if notification.thread is not None:
            made |= {"answers": _delivery_of(notification.thread[0]), "edits": people.over(notification)}
        body = json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")
        return Message(body=body, subject=notification.delivery.subject)

    def call(self, delivery: Delivery) -> Call:
        """A new message to the incoming webhook."""
        assert self._options.url_file is not None
        return self._post(self.setting.secret(self._options.url_file).strip(), json.loads(delivery.message)["message"])

    def _post(self, url: str, body: Mapping[str, object], token: str = "") -> Call:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return Call(url=url, body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), headers=headers)

    async def deliver(self, client: Client, delivery: Delivery) -> Reply:
        """By a token: edit what it ends, then post, in the thread where there is one."""
        if self._options.token_file is None:
            return await super().deliver(client, delivery)
        token, made = self.setting.secret(self._options.token_file).strip(), json.loads(delivery.message)
        message = made["message"]
        target: dict[str, object] = {"channel": self._options.channel}
        first = await self.setting.handle(made["answers"]) if "answers" in made else ""
        channel, _, ts = first.partition(" ")
        if ts:
            target = {"channel": channel, "thread_ts": ts}
            if made.get("edits"):
                edited = self._post(
                    f"{self._options.api}/chat.update", {"channel": channel, "ts": ts, **message}, token
                )
                reply = await self._api(client, edited)
                if reply.outcome not in (Outcome.ACCEPTED, Outcome.NEVER):  # one that was deleted cannot be edited
                    return reply
        return await self._api(
            client, self._post(f"{self._options.api}/chat.postMessage", {**target, **message}, token)
        )

    async def _api(self, client: Client, call: Call) -> Reply:
        answer = await client.post(call)
        return answer if isinstance(answer, Reply) else _api_meaning(answer)


def _delivery_of(message_id: str) -> str:
    return message_id.lstrip("<").partition("@")[0]


def _api_meaning(answer: Answer) -> Reply:
    """The API answers 200 also where it refuses."""
    if answer.status != 200:
        return meaning(answer)
    said = answer.json()
    if said.get("ok") is True:
        return Reply(
            outcome=Outcome.ACCEPTED, text=f"ok {said.get('ts', '')}", handle=f"{said.get('channel')} {said.get('ts')}"
        )
    error = str(said.get("error") or "")
    if not error:
        return Reply(outcome=Outcome.LATER, text=f"no answer of Slack's: {answer.text}")
    return Reply(outcome=Outcome.LATER if error in LATER else Outcome.NEVER, text=error, after=answer.after())


def escape(text: str) -> str:
    """``text`` so that Slack reads no markup of links or mentions in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _message(notification: Notification) -> Mapping[str, object]:
    seen, subject = notification.seen, notification.delivery.subject
    text = "\n".join(escape(line) for line in people.lines(notification))
    if log := people.log(seen):
        inside = escape("\n".join(log)).replace("```", "'''")
        text += f"\n```{people.fit(inside, 2500)}```"
    attachment: dict[str, object] = {
        "color": people.colour(notification),
        "title": people.fit(
            escape(f"{seen.alert.severity.upper()}: {subject}" if _urgent(notification) else subject), 300
        ),
        "title_link": seen.links.run or seen.links.rule,
        "text": people.fit(text, 3500),
        "fallback": people.fit(escape(subject), 300),
        "mrkdwn_in": ["text"],
        "footer": escape(seen.reader.because),
        "ts": int(notification.at.timestamp()),
        "actions": [{"type": "button", "text": words, "url": url} for words, url in people.links(seen)[:5]],
    }
    return {"attachments": [{name: value for name, value in attachment.items() if value}]}


def _urgent(notification: Notification) -> bool:
    return notification.seen.alert.severity == "critical" and not people.over(notification)

"""Alertmanager as a mirror: every alert that is active and routed to it, each minute and on each change, to every URL.

    12:00:00  fires      → all members: endsAt 12:04:00
    12:01:00  each minute → all members: endsAt 12:05:00
    12:07:30  resolved   → all members: endsAt 12:07:30, and so for five minutes more
    tocsin down           → Alertmanager lets it end by itself at the last endsAt

Members of a cluster do not share alerts, so one that is down misses nothing that the next minute does not bring.
Alertmanager never notifies of what ends before its `group_wait`, so an event alert stays for five minutes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import structlog
from pydantic import Field

from tocsin.config.yaml.document import YamlModel
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.notify.channels.base import DirectChannel, Message, Notification, Outcome, Reply, Setting, Unreachable
from tocsin.notify.channels.http import SECONDS, Call, Client, Urls, meaning
from tocsin.notify.render import alerts
from tocsin.notify.text import moment

log = structlog.get_logger(__name__)

AHEAD = timedelta(minutes=4)
"""How far ahead the end of an active alert is put."""
STAYS = timedelta(minutes=5)
"""How long an event alert is active here, and how long an end is repeated."""
CHUNK = 500
"""Alerts of one call."""


class AlertmanagerModel(YamlModel):
    """Mirrors active alerts to Alertmanagers."""

    urls: Urls = Field(description="Every member of the cluster.", examples=[["http://127.0.0.1:9093"]])
    allow_private: bool = Field(
        default=True, description="Whether they may be private or loopback addresses.", examples=[False]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mirrored:
    alert: dict[str, Any]  # without endsAt
    ended: datetime | None  # None while it is active

    def at(self, now: datetime) -> dict[str, Any]:
        """As it is sent at ``now``."""
        over = self.ended is not None and self.ended <= now
        return {**self.alert, "endsAt": alerts.rfc3339(self.ended if over and self.ended is not None else now + AHEAD)}

    def gone(self, now: datetime) -> bool:
        return self.ended is not None and self.ended + STAYS <= now


class Alertmanager(DirectChannel):
    """One receiver's members, and what they are sent."""

    key = "alertmanager"
    Options = AlertmanagerModel
    example: ClassVar[object] = {"urls": ["http://127.0.0.1:9093"]}
    people = False
    each = True
    mirror = True

    workers = 1
    """One, so that a start and an end stay in order."""

    def __init__(self, options: AlertmanagerModel, setting: Setting) -> None:
        super().__init__(options, setting)
        self._options = options
        self._mirrored: dict[str, _Mirrored] | None = None  # by episode; None before it is read
        self._turns = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]()

    def render(self, notification: Notification) -> Message:
        """One alert, its key and its end."""
        intent, info = notification.alerts[0]
        alert = alerts.alert_v2(intent, info, notification.seen, self.setting.base_url, first=True)
        del alert["endsAt"]
        is_event = moment(intent.occurrence) is None
        ended = intent.at if alerts.resolved(intent) else intent.at + STAYS if is_event else None
        made = {
            "key": alerts.episode(intent),
            "alert": alert,
            "ended": alerts.rfc3339(ended) if ended is not None else None,
        }
        body = json.dumps(made, ensure_ascii=False, default=str).encode("utf-8", "replace")
        return Message(body=body, subject=notification.delivery.subject)

    async def send(self, delivery: Delivery) -> Reply:
        """A change: this alert to every member, at once."""
        key, one = _mirrored(delivery)
        async with self._turn():
            (await self._read())[key] = one
            return await self._post([one])

    async def tend(self) -> None:
        """All of it to every member."""
        async with self._turn():
            mirrored, now = await self._read(), self.setting.now()
            for key in [key for key, one in mirrored.items() if one.gone(now)]:
                del mirrored[key]
            keys = list(mirrored)
        for n in range(0, len(keys), CHUNK):
            try:
                async with self._turn():
                    reply = await self._post([mirrored[key] for key in keys[n : n + CHUNK]])
            except Unreachable as e:
                log.warning("alertmanager_unreachable", receiver=self.setting.receiver, error=str(e))
                return
            if reply.outcome is not Outcome.ACCEPTED:
                log.warning("alertmanager_refuses", receiver=self.setting.receiver, reply=reply.text)

    def _turn(self) -> asyncio.Lock:
        """One call at a time: what a round sends must not arrive behind a change that came meanwhile."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _read(self) -> dict[str, _Mirrored]:
        """What is mirrored; after a start what was sent before, its newest word each."""
        if self._mirrored is None:
            now, found = self.setting.now(), dict[str, _Mirrored]()
            for delivery in await self.setting.past(f"{self.key}:{self.setting.receiver}"):  # newest first
                if delivery.state in (DeliveryState.HELD, DeliveryState.DROPPED):
                    continue  # it never left, and its message may be only a line of a list
                key, one = _mirrored(delivery)
                found.setdefault(key, one)
            self._mirrored = {key: one for key, one in found.items() if not one.gone(now)}
        return self._mirrored

    async def _post(self, some: Sequence[_Mirrored]) -> Reply:
        """To every member. Accepted where one has it: the others get it within a minute. Raises Unreachable where none
        can be reached.
        """
        now = self.setting.now()
        body = json.dumps([one.at(now) for one in some], ensure_ascii=False).encode("utf-8", "replace")
        replies: list[Reply] = []
        away: list[str] = []
        client = Client(private=self._options.allow_private, seconds=SECONDS)
        try:
            for url in self._options.urls:
                call = Call(
                    url=f"{url.rstrip('/')}/api/v2/alerts", body=body, headers={"Content-Type": "application/json"}
                )
                try:
                    answer = await client.post(call)
                except Unreachable as e:
                    away.append(str(e))
                    continue
                replies.append(answer if isinstance(answer, Reply) else meaning(answer))
        finally:
            await client.close()
        if not replies:
            raise Unreachable("; ".join(away))
        return _best(replies, away)


def _best(replies: Iterable[Reply], away: Sequence[str]) -> Reply:
    order = [Outcome.ACCEPTED, Outcome.LATER, Outcome.TIMEOUT, Outcome.NETWORK, Outcome.NEVER]
    best = min(replies, key=lambda reply: order.index(reply.outcome))
    if best.outcome is Outcome.NEVER and away:
        return Reply(outcome=Outcome.LATER, text="; ".join(away))
    return best


def _mirrored(delivery: Delivery) -> tuple[str, _Mirrored]:
    made = json.loads(delivery.message)
    return made["key"], _Mirrored(alert=made["alert"], ended=moment(made["ended"]))

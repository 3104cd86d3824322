"""What delivery reads from the state before routing, and writes to it after attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.model.alert import instance_key
from tocsin.model.delivery import Delivery, Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.notify.channels.base import Setting
from tocsin.state.interface import Attempted, State

_KEEP = 20_000


class Reading:
    """Reads presentations of rules (they never change under a version, so they are kept) and who was notified."""

    def __init__(self, state: State, infos: dict[str, RuleInfo]) -> None:
        self._state, self._infos = state, infos

    def of(self, intents: Sequence[Intent]) -> tuple[Mapping[str, RuleInfo], Mapping[str, Sequence[Notified]]]:
        """(presentation, who got the firing mail where one repeats or resolves), both by intent id."""
        infos = {i.id: self.info(i) for i in intents}
        notified = {
            i.id: self._state.notified_addresses(i.rule, instance_key(i.instance), i.occurrence)
            for i in intents
            if i.kind in (IntentKind.RESOLVED, IntentKind.REPEATED)
        }
        return infos, notified

    def info(self, intent: Intent) -> RuleInfo:
        """The presentation of an intent's rule."""
        version = intent.rule_version
        if version not in self._infos:
            found = self._state.info(version)
            if found is None:
                return RuleInfo(name=intent.rule, version=version, summary="")
            if len(self._infos) >= _KEEP:
                self._infos.clear()
            self._infos[version] = found
        return self._infos[version]


_MIRRORED = 200_000
"""Deliveries of a mirror that are read at a start."""


def with_outbox(setting: Setting, state: State, clock: Clock) -> Setting:
    """``setting`` for channels that ask what was sent before."""

    async def handle(delivery: str) -> str:
        found = await asyncio.to_thread(state.delivery, delivery)
        return found.handle if found is not None else ""

    async def past(address: str) -> Sequence[Delivery]:
        return await asyncio.to_thread(lambda: state.deliveries(address=address, limit=_MIRRORED))

    return replace(setting, clock=clock, handle=handle, past=past)


log = structlog.get_logger(__name__)


class Marks:
    """Lives on one event loop. ``write`` may raise StoreError: then it is tried again until it works."""

    def __init__(self, write: Callable[[Sequence[Attempted]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Attempted, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, result: Attempted) -> None:
        """Return when ``result`` is durable."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((result, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                results = [result for result, _ in batch]
                wait = 0.1
                while True:
                    try:
                        await self._write(results)
                        break
                    except StoreError as e:
                        # The other side has the messages: nothing but writing that down will do.
                        log.error("sent_mark_not_written", error=str(e), messages=len(results))
                        await asyncio.sleep(wait)
                        wait = min(wait * 2, 10.0)
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._writing = None

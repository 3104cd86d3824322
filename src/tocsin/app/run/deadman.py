"""The dead-man's switch: a URL is pinged while a probe goes the whole way through tocsin, so that its silence is noticed
elsewhere. The forms are healthchecks.io's.

    probe ─► intake's queue ─► commit ─► a turn of evaluation, up to the last commit ─► a pass of notify
          ─► nothing old in the outbox ─► ping URL
                                        one of them stands still ─► POST URL/fail, saying which

The probe is a commit without rows: it costs what a commit costs and leaves nothing in the store. Decision 10 says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from tocsin.clock import Clock
from tocsin.errors import TocsinError
from tocsin.model.event import Batch, Receipt

if TYPE_CHECKING:
    import httpx  # a fifteenth of a start's imports, for what few have set

log = structlog.get_logger(__name__)

PATIENCE = timedelta(seconds=45)
"""How long each part has for the probe."""
OLDEST = timedelta(minutes=15)
"""Age from which on a message that waits means that nobody can be reached."""
SECONDS = 10.0
"""How long the other side has to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the probe passes. Each may block, and be called from any thread; may raise TocsinError."""

    put: Callable[[Batch], Future[Receipt]]
    head: Callable[[], int]  # the last commit
    evaluate: Callable[[], None]  # has the evaluation make a turn
    turned: Callable[[], datetime | None]  # when its last turn began; UTC
    evaluated: Callable[[], int]  # up to which commit everything is evaluated
    wake: Callable[[], None]  # has notify make a pass
    notified: Callable[[], datetime | None]  # when its last pass began; UTC
    oldest: Callable[[], datetime | None]  # since when the oldest message waits; UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinged:
    """What came of the last round."""

    at: datetime  # UTC
    fault: str  # what stands still; '' for nothing
    answered: bool  # the other side took the ping


class DeadMan:
    """Pings ``url`` every ``every`` while all parts work."""

    def __init__(self, url: str, every: timedelta, parts: Parts, clock: Clock, patience: timedelta = PATIENCE) -> None:
        """``patience`` is for each part."""
        self.last: Pinged | None = None
        self._url, self._every, self._parts, self._clock, self._patience = (
            url.rstrip("/"),
            every,
            parts,
            clock,
            patience,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set; raises nothing for what the other side does."""
        import httpx

        async with httpx.AsyncClient(timeout=SECONDS, trust_env=False, follow_redirects=False) as client:
            while not stop.is_set():
                await self.round(client)
                try:
                    async with asyncio.timeout(self._every.total_seconds()):
                        await stop.wait()
                except TimeoutError:
                    pass

    async def round(self, client: httpx.AsyncClient) -> str:
        """One probe and its ping; returns what stands still, '' for nothing."""
        import httpx

        fault, answered = await self.probe(), False
        if fault:
            log.error("dead_man_probe_failed", reason=fault)
        try:
            answer = await client.post(f"{self._url}/fail" if fault else self._url, content=fault.encode())
            answered = answer.status_code < 300
            if not answered:
                log.warning("dead_man_not_pinged", answer=answer.status_code)
        except httpx.HTTPError as e:
            log.warning("dead_man_not_pinged", error=type(e).__name__)  # its text may hold the URL, which is a secret
        self.last = Pinged(at=self._clock.now(), fault=fault, answered=answered)
        return fault

    async def probe(self) -> str:
        """What the probe finds to stand still; '' for nothing."""
        parts, seconds = self._parts, self._patience.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(await asyncio.to_thread(parts.put, Batch()))
        except (TimeoutError, TocsinError) as e:
            return f"intake cannot be made durable: {str(e) or 'no commit in time'}"
        try:
            head = await asyncio.to_thread(parts.head)
            began = self._clock.now()
            parts.evaluate()
            if not await self._comes(lambda: _since(parts.turned(), began)):
                return "rules are not evaluated: their thread stands still"
            if not await self._comes(lambda: parts.evaluated() >= head):
                return "rules are not evaluated: commits wait"
            began = self._clock.now()
            parts.wake()
            if not await self._comes(lambda: _since(parts.notified(), began)):
                return "notifications are not decided: notify makes no pass"
            oldest = await asyncio.to_thread(parts.oldest)
        except TocsinError as e:
            return f"a store is away: {e}"
        waited = self._clock.now() - oldest if oldest is not None else timedelta(0)
        return f"messages cannot be sent: one waits since {oldest:%H:%M} UTC" if waited > OLDEST else ""

    async def _comes(self, true: Callable[[], bool]) -> bool:
        """Whether it comes true in time."""
        end = self._clock.monotonic() + self._patience.total_seconds()
        while not await asyncio.to_thread(true):
            if self._clock.monotonic() >= end:
                return False
            await asyncio.sleep(0.1)
        return True


def _since(at: datetime | None, began: datetime) -> bool:
    return at is not None and at >= began

"""The outbox's far end: a sender for each endpoint that has something to be sent, so that none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.metrics.registry import Metrics
from tocsin.model.delivery import Delivery, Endpoint
from tocsin.notify.channels.registry import Channels, Configured
from tocsin.notify.delivery.circuit import FIRST_PROBE, FIRST_RETRY, Backoff, Retry
from tocsin.notify.delivery.endpoint import POLL_SECONDS, EndpointSender, Failed, Outbox
from tocsin.notify.delivery.read import Marks
from tocsin.state.interface import MAILS, Attempted, State

log = structlog.get_logger(__name__)


class Sender:
    """Sends what the state has ready. Lives on one event loop."""

    def __init__(
        self, channels: Channels[Configured], state: State, metrics: Metrics, clock: Clock, failed: Failed,
        retry: Retry = FIRST_RETRY, circuit: Backoff = FIRST_PROBE,
    ) -> None:  # fmt: skip
        self._threads = ThreadPoolExecutor(2, "tocsin-sender")
        self._outbox = Outbox(
            state=state, channels=channels, metrics=metrics, clock=clock, failed=failed, marks=Marks(self._write),
            retry=retry, circuit=circuit, threads=self._threads,
        )  # fmt: skip
        self._endpoints: dict[Endpoint, EndpointSender] = {MAILS: EndpointSender(MAILS, self._outbox)}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for each in self._endpoints.values():
                tasks.create_task(each.run())
            while True:
                # What another process put there has an endpoint that nobody here was offered.
                await self._find()
                await asyncio.sleep(POLL_SECONDS)

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take new messages that the state holds already; from the loop's thread."""
        by_endpoint: dict[Endpoint, list[Delivery]] = {}
        for each in deliveries:
            by_endpoint.setdefault(each.endpoint, []).append(each)
        for endpoint, some in by_endpoint.items():
            self._of(endpoint).offer(some)

    def failures(self) -> list[str]:
        """Channels that cannot be reached, and why."""
        return [
            f"{endpoint.receiver or endpoint.channel}: {each.failure}"
            for endpoint, each in list(self._endpoints.items())
            if each.failure
        ]

    async def settled(self) -> None:
        """Return when nothing is due, queued or under way."""
        await self._find()
        while True:
            for each in list(self._endpoints.values()):
                await each.settled()
            if all(each.quiet for each in self._endpoints.values()):  # a delivery that failed may have made another
                return

    async def finish(self, patience: float) -> None:
        """Take no further message; return when those under way have their marks, or after ``patience`` seconds."""
        await asyncio.gather(*(each.finish(patience) for each in self._endpoints.values()))

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False)

    async def _find(self) -> None:
        try:
            found: Iterable[Endpoint] = await self._outbox.call(self._outbox.state.endpoints)
        except StoreError as e:
            log.warning("outbox_unreadable", error=str(e))
            return
        for endpoint in [*found, *self._outbox.channels.mirrors()]:
            self._of(endpoint)

    def _of(self, endpoint: Endpoint) -> EndpointSender:
        if endpoint not in self._endpoints:
            self._endpoints[endpoint] = EndpointSender(endpoint, self._outbox)
            if self._tasks is not None:
                self._tasks.create_task(self._endpoints[endpoint].run())
        return self._endpoints[endpoint]

    async def _write(self, results: Sequence[Attempted]) -> None:
        await self._outbox.call(lambda: self._outbox.state.attempted(results))

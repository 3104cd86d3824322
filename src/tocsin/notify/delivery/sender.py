"""The outbox's far end: takes what is due, sends it over a few connections, and writes down what came of it.

A connection takes its next mail only after the mark of the last one is durable, so a crash can repeat at most one
mail a
connection, and that one byte for byte:

    lane 1   take A ── send ── 250 ──┐ mark A ┐
    lane 2   take B ── send ── 250 ──┴────────┴─ one transaction ── take C …

Marks of all lanes that wait are written together. A server that cannot be reached costs no mail an attempt: the circuit
opens, everything waits, one lane knocks.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.metrics.registry import Metrics
from tocsin.model.crash import point
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.notify.channels.base import Connection, Outcome, Reply, Transport, Unreachable
from tocsin.notify.delivery.circuit import Backoff, Circuit
from tocsin.state.interface import Attempted, State

log = structlog.get_logger(__name__)
T = TypeVar("T")

QUEUE = 400
"""Mails kept in memory; more wait in the state."""
IDLE = 20.0
"""Seconds after which a connection without work is closed."""
LOOK = 30.0
"""Seconds after which the state is asked again, whatever happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a deferred mail is tried again: first × 2ⁿ, at most ``longest``, up to a fifth more or less."""

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(minutes=15)

    def after(self, attempt: int, spread: float) -> timedelta:
        """The wait after try ``attempt`` (1, 2, …); ``spread`` in [0, 1) is the jitter."""
        wait: timedelta = min(self.first * 2 ** min(attempt - 1, 20), self.longest)
        return wait * (0.8 + 0.4 * spread)


FIRST_RETRY, FIRST_PROBE = Retry(), Backoff()

Failed = Callable[[Delivery, str], Awaitable[None]]
"""Notified before a mail is marked as failed."""


class Sender:
    """Sends what the state has ready. Lives on one event loop."""

    def __init__(
        self, transport: Transport, state: State, metrics: Metrics, clock: Clock, failed: Failed,
        retry: Retry = FIRST_RETRY, circuit: Backoff = FIRST_PROBE,
    ) -> None:  # fmt: skip
        self._transport, self._state, self._metrics, self._clock = transport, state, metrics, clock
        self._failed, self._retry = failed, retry
        self._circuit = Circuit(circuit)
        self._queue: list[tuple[datetime, int, Delivery]] = []  # oldest first, of equals in the order of coming
        self._known: dict[str, int] = {}  # queued or under way, in the order of coming
        self._count = itertools.count()
        self._done: set[str] = set()  # finished while the state was being read
        self._more = True  # the state may hold due mails that are not queued
        self._wake = asyncio.Event()
        self._ending = False
        self._sending = 0  # lanes with a mail in hand
        self._ended = asyncio.Event()
        self._arrived = asyncio.Event()
        self._reading = False
        self._idle = asyncio.Event()
        self._connected = 0
        self._marks: list[tuple[Attempted, asyncio.Future[None]]] = []
        self._marking: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(2, "tocsin-sender")

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            for _ in range(self._transport.workers):
                tasks.create_task(self._worker())

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take new mails that the state holds already; from the loop's thread."""
        if self._more or len(self._queue) + len(deliveries) > QUEUE:
            self._more = True
            self._wake.set()
            return
        self._push(deliveries)

    async def settled(self) -> None:
        """Return when nothing is due, queued or under way."""
        while True:
            self._more = True
            self._idle.clear()
            self._wake.set()
            await self._idle.wait()
            if not self._known and not self._more:
                return

    async def finish(self, patience: float) -> None:
        """Take no further mail; return when those under way have their marks, or after ``patience`` seconds."""
        self._ending = True
        self._arrived.set()
        if self._sending:
            self._ended.clear()
            await _within(self._ended.wait(), patience)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False)

    # -- what is due -------------------------------------------------------------------------------------------------

    def _push(self, deliveries: Sequence[Delivery]) -> None:
        for d in deliveries:
            if d.id not in self._known and d.id not in self._done:
                self._known[d.id] = next(self._count)
                self._put_back(d)

    async def _feed(self) -> None:
        """Keep the queue filled from the state."""
        while True:
            self._wake.clear()
            wait = LOOK
            try:
                if self._more and len(self._queue) <= QUEUE // 2:
                    await self._read()
                if not self._more:
                    wait = await self._until_next()
            except StoreError as e:
                log.warning("outbox_unreadable", error=str(e))
                wait = 1.0
            await self._expire()
            if not self._known and not self._more:
                self._idle.set()
            if not (self._more and len(self._queue) <= QUEUE // 2 and wait == LOOK):
                await _within(self._wake.wait(), wait)

    async def _read(self) -> None:
        room = QUEUE - len(self._queue)
        known, now = frozenset(self._known), self._clock.now()
        self._reading = True
        try:
            found = await self._call(lambda: self._state.due(now, room, known))
            self._more = len(found) >= room
            self._push(found)
        finally:
            self._reading = False
            self._done.clear()

    async def _until_next(self) -> float:
        known = frozenset(self._known)
        due = await self._call(lambda: self._state.next_due(known))
        if due is None:
            return LOOK
        wait = (due - self._clock.now()).total_seconds()
        if wait <= 0:
            self._more = True
            return 0.0
        self._more = False
        if wait < LOOK:
            asyncio.get_running_loop().call_later(wait, self._due_now)
        return min(wait, LOOK)

    def _due_now(self) -> None:
        self._more = True
        self._wake.set()

    async def _expire(self) -> None:
        """While nothing can be sent, fail what is past its deadline."""
        if self._circuit.closed:
            return
        now = self._clock.now()
        late = [d for _, _, d in self._queue if d.deadline <= now]
        if late:
            gone = {d.id for d in late}
            self._queue = [entry for entry in self._queue if entry[2].id not in gone]
            heapq.heapify(self._queue)
            for d in late:
                await self._finish(d, DeliveryState.FAILED, f"not delivered in time: {self._circuit.why}", d.attempt)

    # -- lanes -------------------------------------------------------------------------------------------------------

    async def _worker(self) -> None:
        connection: Connection | None = None
        try:
            while not self._ending:
                delivery = await self._take(IDLE if connection is not None else None)
                if delivery is None:
                    await self._dropped(connection)
                    connection = None
                    continue
                fresh = connection is None or not connection.alive
                if fresh:
                    await self._dropped(connection)
                    connection = await self._connect(delivery)
                while connection is not None:
                    reply = await self._exchange(connection, delivery, fresh)
                    if reply.closed:
                        await self._dropped(connection)
                        connection = None
                    if reply.outcome is not Outcome.NETWORK or fresh:
                        break
                    # The server hung up between two mails, as servers do: that was no attempt.
                    await self._dropped(connection)
                    connection, fresh = await self._connect(delivery), True
        finally:
            if connection is not None:
                await asyncio.shield(self._dropped(connection))

    async def _exchange(self, connection: Connection, delivery: Delivery, fresh: bool) -> Reply:
        """One attempt and its mark; no mark where a used connection turns out to be cut."""
        self._sending += 1
        try:
            reply = await self._attempt(connection, delivery)
            if fresh or reply.outcome is not Outcome.NETWORK:
                await self._settle(delivery, reply)
        finally:
            self._sending -= 1
            if self._sending == 0:
                self._ended.set()
        return reply

    async def _take(self, patience: float | None) -> Delivery | None:
        """The oldest mail in the queue; None after ``patience`` seconds without one."""
        deadline = None if patience is None else asyncio.get_running_loop().time() + patience
        while not self._queue:
            if self._ending:
                return None
            if self._more:
                self._wake.set()
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        _, _, delivery = heapq.heappop(self._queue)
        if self._more and len(self._queue) <= QUEUE // 2:
            self._wake.set()
        return delivery

    def _put_back(self, delivery: Delivery) -> None:
        heapq.heappush(self._queue, (delivery.created_at, self._known[delivery.id], delivery))
        self._arrived.set()

    async def _connect(self, delivery: Delivery) -> Connection | None:
        """A connection, or None: then ``delivery`` is back in the queue, or past its deadline and failed, and this
        lane has waited.
        """
        try:
            async with self._circuit.passage():
                connection = await self._transport.connect()
        except Unreachable as e:
            # Where lanes wait for a mail it lies in the queue for a moment only, so ``_expire`` may never see it.
            if delivery.deadline <= self._clock.now():
                await self._finish(delivery, DeliveryState.FAILED, f"not delivered in time: {e}", delivery.attempt)
            else:
                self._put_back(delivery)
            self._metrics.inc("tocsin_notify_attempts_total", outcome=Outcome.NETWORK.value)
            wait = self._circuit.failed(str(e), alone=self._connected == 0, spread=random.random())
            log.warning("mail_server_unreachable", error=str(e), seconds=round(wait, 1), others=self._connected)
            self._wake.set()
            await asyncio.sleep(wait)
            return None
        self._circuit.worked()
        self._connected += 1
        return connection

    async def _dropped(self, connection: Connection | None) -> None:
        """Close what was open."""
        if connection is not None:
            self._connected -= 1
            await connection.close()

    async def _attempt(self, connection: Connection, delivery: Delivery) -> Reply:
        began = self._clock.monotonic()
        reply = await connection.send(delivery)
        self._metrics.observe("tocsin_notify_send_seconds", max(self._clock.monotonic() - began, 0))
        self._metrics.inc("tocsin_notify_attempts_total", outcome=reply.outcome.value)
        return reply

    # -- what came of it ---------------------------------------------------------------------------------------------

    async def _settle(self, delivery: Delivery, reply: Reply) -> None:
        attempt = delivery.attempt + 1
        if reply.outcome is Outcome.ACCEPTED:
            point("after_250")
            if delivery.ingested_at is not None:
                took = (self._clock.now() - delivery.ingested_at).total_seconds()
                self._metrics.observe("tocsin_notification_latency_seconds", max(took, 0))
            await self._finish(delivery, DeliveryState.SENT, reply.text, attempt)
            point("after_sent")
            return
        now = self._clock.now()
        again = now + self._retry.after(attempt, random.random())
        if reply.outcome is Outcome.REFUSED:
            log.warning("mail_refused", delivery=delivery.id, reply=reply.text)
            await self._finish(delivery, DeliveryState.FAILED, reply.text, attempt)
        elif again > delivery.deadline:
            log.warning("mail_expired", delivery=delivery.id, reply=reply.text)
            await self._finish(delivery, DeliveryState.FAILED, f"not delivered in time: {reply.text}", attempt)
        else:
            log.info("mail_deferred", delivery=delivery.id, attempt=attempt, reply=reply.text)
            await self._mark(
                Attempted(
                    id=delivery.id, state=DeliveryState.READY, attempt=attempt, reply=reply.text, next_at=again, at=now
                )
            )
            self._forget(delivery)
            self._wake.set()

    async def _finish(self, delivery: Delivery, state: DeliveryState, reply: str, attempt: int) -> None:
        if state is DeliveryState.FAILED:
            await self._failed(replace(delivery, attempt=attempt), reply)
        now = self._clock.now()
        await self._mark(Attempted(id=delivery.id, state=state, attempt=attempt, reply=reply, next_at=now, at=now))
        self._metrics.inc("tocsin_notify_mails_total", state=state.value)
        self._forget(delivery)

    def _forget(self, delivery: Delivery) -> None:
        self._known.pop(delivery.id, None)
        if self._reading:
            self._done.add(delivery.id)
        if not self._known:
            self._wake.set()

    async def _mark(self, result: Attempted) -> None:
        """Return when ``result`` is durable."""
        done = asyncio.get_running_loop().create_future()
        self._marks.append((result, done))
        if self._marking is None:
            self._marking = asyncio.create_task(self._write_marks())
        await done

    async def _write_marks(self) -> None:
        try:
            while self._marks:
                batch, self._marks = self._marks, []
                results = [result for result, _ in batch]
                wait = 0.1
                while True:
                    try:
                        await self._call(lambda results=results: self._state.attempted(results))  # type: ignore[misc]
                        break
                    except StoreError as e:
                        # The server has the mails: nothing but writing that down will do.
                        log.error("sent_mark_not_written", error=str(e), mails=len(results))
                        await asyncio.sleep(wait)
                        wait = min(wait * 2, 10.0)
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._marking = None

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _within(work: Awaitable[object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass

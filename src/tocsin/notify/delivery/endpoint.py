"""One endpoint's part of the outbox: takes what is due to it, sends it over a few connections, and marks what came of
it.

A connection takes its next message only after the mark of the last one is durable, so a crash can repeat at most one
message a connection, and that one byte for byte:

    worker 1   take A ── send ── 250 ──┐ mark A ┐
    worker 2   take B ── send ── 250 ──┴────────┴─ one transaction ── take C …

A server that cannot be reached costs no message an attempt: the circuit opens, everything to it waits, one worker
probes. Other endpoints go on: nothing of theirs waits in the same queue.
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
from typing import NamedTuple, TypeVar

import structlog

from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.metrics.registry import Metrics
from tocsin.model.crash import point
from tocsin.model.delivery import Delivery, DeliveryState, Endpoint
from tocsin.model.statuses import Severity
from tocsin.notify.channels.base import Channel, Connection, DirectChannel, Outcome, Reply, Unreachable
from tocsin.notify.channels.registry import Channels, Configured
from tocsin.notify.delivery.circuit import Backoff, Circuit, Retry, Workers
from tocsin.notify.delivery.read import Marks
from tocsin.state.interface import MAILS, Attempted, State

log = structlog.get_logger(__name__)
T = TypeVar("T")

QUEUE = 400
"""Messages to one endpoint kept in memory; more wait in the state."""
IDLE = 20.0
"""Seconds after which a connection without work is closed."""
TEND = 60.0
"""Seconds between the rounds of a mirror."""
MOST_LOGGED = 20
"""Ids of intents in a log line."""
POLL_SECONDS = 30.0
"""Seconds after which the state is asked again, whatever happened."""


Failed = Callable[[Delivery, str], Awaitable[None]]
"""Notified before a message is marked as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """What all endpoints share."""

    state: State
    channels: Channels[Configured]
    metrics: Metrics
    clock: Clock
    failed: Failed
    marks: Marks
    retry: Retry
    circuit: Backoff
    threads: ThreadPoolExecutor

    async def call(self, work: Callable[[], T]) -> T:
        """``work`` in a thread: what it returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)


class _Line(NamedTuple):
    """An open connection and whose it is."""

    channel: Channel
    connection: Connection


class EndpointSender:
    """Sends what the state has ready for one endpoint. Lives on one event loop."""

    def __init__(self, endpoint: Endpoint, outbox: Outbox) -> None:
        self._endpoint, self._outbox = endpoint, outbox
        self._state, self._metrics, self._clock = outbox.state, outbox.metrics, outbox.clock
        self._circuit = Circuit(outbox.circuit)
        self._queue: list[tuple[bool, datetime, int, Delivery]] = []  # see ``_put_back``
        self._known: dict[str, int] = {}  # queued or under way, in the order of coming
        self._count = itertools.count()
        self._done: set[str] = set()  # finished while the state was being read
        self._more = True  # the state may hold due messages that are not queued
        self._wake = asyncio.Event()
        self._ending = False
        self._sending = 0  # workers with a message in hand
        self._ended = asyncio.Event()
        self._arrived = asyncio.Event()
        self._reading = False
        self._idle = asyncio.Event()
        self._connected = 0
        self._workers = Workers(1, lambda: None)  # until it runs
        self._up: bool | None = None  # as the metric shows it
        self._rest_until = 0.0  # by the loop's clock: the other side asked for a pause

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            tasks.create_task(self._tend())
            channel = self._outbox.channels(self._endpoint)
            workers = channel.workers if channel is not None else 1
            self._workers = Workers(workers, lambda: tasks.create_task(self._worker()))
            self._workers.fill()

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take new messages that the state holds already; from the loop's thread."""
        if self._more or len(self._queue) + len(deliveries) > QUEUE:
            self._more = True
            self._wake.set()
            deliveries = [d for d in deliveries if self._urgent(d)]  # few: ten an address, then one a minute
        self._push(deliveries)

    async def settled(self) -> None:
        """Return when nothing is due, queued or under way."""
        while True:
            self._more = True
            self._idle.clear()
            self._wake.set()
            await self._idle.wait()
            if self.quiet:
                return

    @property
    def failure(self) -> str:
        """Why the other side could not be reached the last time; '' where it was."""
        return self._circuit.why

    @property
    def quiet(self) -> bool:
        """Whether nothing is due, queued or under way, as far as it has read."""
        return not self._known and not self._more

    async def finish(self, patience: float) -> None:
        """Take no further message; return when those under way have their marks, or after ``patience`` seconds."""
        self._ending = True
        self._arrived.set()
        if self._sending:
            self._ended.clear()
            await _within(self._ended.wait(), patience)

    # -- what is due -------------------------------------------------------------------------------------------------

    def _urgent(self, delivery: Delivery) -> bool:
        return self._endpoint == MAILS and delivery.severity == Severity.CRITICAL.word

    def _push(self, deliveries: Sequence[Delivery]) -> None:
        for d in deliveries:
            if d.id not in self._known and d.id not in self._done:
                self._known[d.id] = next(self._count)
                self._put_back(d)

    async def _feed(self) -> None:
        """Keep the queue filled from the state."""
        while True:
            self._wake.clear()
            wait = POLL_SECONDS
            try:
                if self._more and len(self._queue) <= QUEUE // 2:
                    await self._read()
                if not self._more:
                    wait = await self._until_next()
            except StoreError as e:
                log.warning("outbox_unreadable", error=str(e))
                wait = 1.0
            await self._expire()
            if self.quiet:
                self._idle.set()
            if not (self._more and len(self._queue) <= QUEUE // 2 and wait == POLL_SECONDS):
                await _within(self._wake.wait(), wait)

    async def _read(self) -> None:
        room = QUEUE - len(self._queue)
        known, now = frozenset(self._known), self._clock.now()
        self._reading = True
        try:
            found = await self._outbox.call(lambda: self._state.due(now, room, known, to=self._endpoint))
            self._more = len(found) >= room
            self._push(found)
        finally:
            self._reading = False
            self._done.clear()

    async def _until_next(self) -> float:
        known = frozenset(self._known)
        due = await self._outbox.call(lambda: self._state.next_due(known, to=self._endpoint))
        if due is None:
            return POLL_SECONDS
        wait = (due - self._clock.now()).total_seconds()
        if wait <= 0:
            self._more = True
            return 0.0
        self._more = False
        if wait < POLL_SECONDS:
            asyncio.get_running_loop().call_later(wait, self._due_now)
        return min(wait, POLL_SECONDS)

    def _due_now(self) -> None:
        self._more = True
        self._wake.set()

    async def _expire(self) -> None:
        """While nothing can be sent, fail what is past its deadline."""
        if self._circuit.closed:
            return
        now = self._clock.now()
        late = [entry[-1] for entry in self._queue if entry[-1].deadline <= now]
        if late:
            gone = {d.id for d in late}
            self._queue = [entry for entry in self._queue if entry[-1].id not in gone]
            heapq.heapify(self._queue)
            for d in late:
                await self._failed(d, f"not delivered in time: {self._circuit.why}", d.attempt, "expired")

    async def _tend(self) -> None:
        """What a mirror does each minute."""
        while True:
            channel = self._outbox.channels(self._endpoint)
            if channel is not None and channel.mirror:
                try:
                    await channel.tend()
                except Exception as e:
                    log.exception("mirror_not_tended", receiver=self._endpoint.receiver, kind=type(e).__name__)
            await asyncio.sleep(TEND)

    # -- workers -----------------------------------------------------------------------------------------------------

    async def _worker(self) -> None:
        line: _Line | None = None
        try:
            while not self._ending and not self._workers.too_many:
                delivery = await self._take(IDLE if line is not None else None)
                if delivery is None:
                    await self._dropped(line)
                    line = None
                    self._workers.idle()
                    continue
                channel = self._outbox.channels(self._endpoint)
                if channel is None:
                    gone = f"receiver {self._endpoint.receiver} has no {self._endpoint.channel} any more"
                    await self._failed(delivery, gone, delivery.attempt, "no_channel")
                    continue
                if channel.each and await self._waits(delivery, channel):
                    continue
                if line is not None and (line.channel is not channel or not line.connection.alive):
                    await self._dropped(line)
                    line = None
                began = self._clock.monotonic()
                line = await self._deliver(line, channel, delivery)
                if line is not None:
                    self._workers.finished(self._clock.monotonic() - began, len(self._queue))
        finally:
            self._workers.ended()
            if line is not None:
                await asyncio.shield(self._dropped(line))

    async def _waits(self, delivery: Delivery, channel: Channel) -> bool:
        """Whether an earlier message about the same alert has to go first. One that was never attempted, and that this
        one ends, is dropped instead: nobody is paged for what is over.
        """
        waiting = await self._outbox.call(lambda: self._state.ready_with(delivery.id))
        now, first = self._clock.now(), waiting[0] if waiting else delivery
        end = next((n for n, each in enumerate(waiting) if channel.ends(each)), 0)
        if first.attempt == 0 and end > 0 and not channel.ends(first):
            gone = waiting[: end + 1]
            ids = {each.id for each in gone}
            self._queue = [entry for entry in self._queue if entry[-1].id not in ids]
            heapq.heapify(self._queue)
            for each in gone:
                await self._finish(each, DeliveryState.DROPPED, "it was over before it could be sent", each.attempt)
            if delivery.id not in ids:
                self._put_back(delivery)
            return True
        if first.id == delivery.id:
            return False
        after = max(first.next_at, now) + timedelta(milliseconds=1)
        await self._outbox.marks.put(
            Attempted(
                id=delivery.id, state=DeliveryState.READY, attempt=delivery.attempt, reply=delivery.reply,
                next_at=after, at=now,
            )
        )  # fmt: skip
        self._forget(delivery)
        self._wake.set()
        return True

    async def _deliver(self, line: _Line | None, channel: Channel, delivery: Delivery) -> _Line | None:
        """One attempt, over a new connection where ``line`` is None; returns the connection for the next."""
        fresh = line is None
        while True:
            if line is None:
                line = await self._connect(channel, delivery)
                if line is None:
                    return None
            try:
                reply = await self._exchange(line.connection, delivery, fresh)
            except Unreachable as e:
                await self._dropped(line)
                await self._unreachable(delivery, str(e), alone=True)
                return None
            if reply.closed:
                await self._dropped(line)
                line = None
            if reply.outcome is not Outcome.NETWORK or fresh:
                return line
            # The server hung up between two messages, as servers do: that was no attempt.
            await self._dropped(line)
            line, fresh = None, True

    async def _exchange(self, connection: Connection, delivery: Delivery, fresh: bool) -> Reply:
        """One attempt and its mark; no mark where a used connection turns out to be cut. Raises Unreachable."""
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
        """The oldest message in the queue; None after ``patience`` seconds without one."""
        loop = asyncio.get_running_loop()
        while (rest := self._rest_until - loop.time()) > 0:
            await asyncio.sleep(rest)
        deadline = None if patience is None else loop.time() + patience
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
        delivery = heapq.heappop(self._queue)[-1]
        if self._more and len(self._queue) <= QUEUE // 2:
            self._wake.set()
        return delivery

    def _put_back(self, delivery: Delivery) -> None:
        """Critical mails first, then the oldest, of equals in the order of coming. What a program gets stays in order."""
        place = (not self._urgent(delivery), delivery.created_at, self._known[delivery.id])
        heapq.heappush(self._queue, (*place, delivery))
        self._arrived.set()

    async def _connect(self, channel: Channel, delivery: Delivery) -> _Line | None:
        """A connection, or None: then ``delivery`` is back in the queue, or past its deadline and failed, and this
        worker has waited.
        """
        try:
            async with self._circuit.passage():
                connection = await channel.connect()
        except Unreachable as e:
            await self._unreachable(delivery, str(e), alone=self._connected == 0)
            return None
        if not isinstance(channel, DirectChannel):  # which has reached nobody yet
            self._reached()
        self._connected += 1
        return _Line(channel, connection)

    def _reached(self) -> None:
        """The other side is there."""
        self._circuit.worked()
        self._show_up(True)

    def _show_up(self, up: bool) -> None:
        if up is not self._up:
            self._up = up
            self._metrics.set("tocsin_channel_up", int(up), receiver=self._endpoint.receiver or self._endpoint.channel)

    async def _unreachable(self, delivery: Delivery, why: str, *, alone: bool) -> None:
        """Nothing was handed over: ``delivery`` waits, or fails where it is past its deadline; so does this worker."""
        # Where workers wait for a message it lies in the queue for a moment only, so ``_expire`` may never see it.
        if delivery.deadline <= self._clock.now():
            await self._failed(delivery, f"not delivered in time: {why}", delivery.attempt, "expired")
        else:
            self._put_back(delivery)
        self._metrics.inc("tocsin_notify_attempts_total", outcome=Outcome.NETWORK.value)
        wait = self._circuit.failed(why, alone=alone, spread=random.random())
        self._show_up(self._circuit.closed)
        log.warning(
            "endpoint_unreachable", channel=self._endpoint.channel, receiver=self._endpoint.receiver, error=why,
            seconds=round(wait, 1), alone=alone,
        )  # fmt: skip
        self._wake.set()
        if not alone:
            self._workers.refuse()
        if not self._workers.too_many:
            await asyncio.sleep(wait)

    async def _dropped(self, line: _Line | None) -> None:
        """Close what was open."""
        if line is not None:
            self._connected -= 1
            await line.connection.close()

    async def _attempt(self, connection: Connection, delivery: Delivery) -> Reply:
        began = self._clock.monotonic()
        try:
            reply = await connection.send(delivery)
        except Unreachable:
            raise
        except Exception as e:
            # A fault in one channel must not stop the others.
            log.exception("channel_failed", channel=delivery.channel, delivery=delivery.id)
            reply = Reply(outcome=Outcome.LATER, text=f"{type(e).__name__} in the channel itself", closed=True)
        if reply.outcome not in (Outcome.NETWORK, Outcome.TIMEOUT):
            self._reached()
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
            await self._finish(delivery, DeliveryState.SENT, reply.text, attempt, reply.handle)
            self._metrics.inc("tocsin_notifications_total", channel=self._endpoint.channel)
            log.info(
                "delivery_sent", delivery=delivery.id, channel=delivery.channel, receiver=delivery.receiver,
                message_id=delivery.message_id, attempt=attempt, intents=delivery.intents[:MOST_LOGGED],
                people={"address": delivery.address, "subject": delivery.subject},
            )  # fmt: skip
            point("after_sent")
            return
        now = self._clock.now()
        again = now + max(self._outbox.retry.after(attempt, random.random()), reply.after or timedelta(0))
        if reply.after is not None:
            self._rest_until = asyncio.get_running_loop().time() + reply.after.total_seconds()
        if reply.outcome is Outcome.NEVER:
            log.warning("delivery_refused", delivery=delivery.id, reply=reply.text)
            await self._failed(delivery, reply.text, attempt, "refused")
        elif again > delivery.deadline:
            log.warning("delivery_expired", delivery=delivery.id, reply=reply.text)
            await self._failed(delivery, f"not delivered in time: {reply.text}", attempt, "expired")
        else:
            log.info("delivery_deferred", delivery=delivery.id, attempt=attempt, reply=reply.text)
            ready = DeliveryState.READY
            later = Attempted(id=delivery.id, state=ready, attempt=attempt, reply=reply.text, next_at=again, at=now)
            await self._outbox.marks.put(later)
            self._forget(delivery)
            self._wake.set()

    async def _failed(self, delivery: Delivery, why: str, attempt: int, reason: str) -> None:
        """Give it up; ``reason`` is one of the table's of ``tocsin_notifications_failed_total``."""
        await self._outbox.failed(replace(delivery, attempt=attempt), why)
        await self._finish(delivery, DeliveryState.FAILED, why, attempt)
        self._metrics.inc("tocsin_notifications_failed_total", channel=self._endpoint.channel, reason=reason)

    async def _finish(
        self, delivery: Delivery, state: DeliveryState, reply: str, attempt: int, handle: str = ""
    ) -> None:
        now = self._clock.now()
        await self._outbox.marks.put(
            Attempted(id=delivery.id, state=state, attempt=attempt, reply=reply, next_at=now, at=now, handle=handle)
        )
        self._metrics.inc("tocsin_notify_mails_total", state=state.value)
        self._forget(delivery)

    def _forget(self, delivery: Delivery) -> None:
        self._known.pop(delivery.id, None)
        if self._reading:
            self._done.add(delivery.id)
        if not self._known:
            self._wake.set()


async def _within(work: Awaitable[object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass

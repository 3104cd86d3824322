"""HTTP: ``POST /intake/<consumer>``. 202 says that what came is durable, dead letters included.

Tokens, origins and the size of what comes over the wire are the server's guard's business (``web.guard``); here are the
content's. Every refusal is an ``application/problem+json`` that says what would be right.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from tocsin.clock import Clock
from tocsin.config.yaml.document import suggest
from tocsin.errors import StoreError, StoreFull, StoreGone
from tocsin.intake.bound import ANY, Bound
from tocsin.intake.connectors.base import Sink
from tocsin.intake.connectors.http_body import Refused, event_of_headers, read_body, validation_code
from tocsin.intake.consumer import Consumer, Decoded, Message, TooMany
from tocsin.intake.formats import MAX_VALUES, is_json, too_many_values
from tocsin.intake.watermark import GraceWatermark, StallWatch
from tocsin.metrics.registry import Metrics
from tocsin.model.event import MOST_DEAD, UNKNOWN_NAMES, Batch, DeadLetter, DeadReason, Receipt, merged
from tocsin.turns import turn

log = structlog.get_logger(__name__)

LARGE = 64 << 10
"""Bytes of a body that is decoded on a thread of its own, so that others need not wait for it."""
AT_ONCE = 1
"""Bodies so large that are decoded at once. It is Python, of which one thread runs at a time: several would only keep it
from those who write events and send mails, and each takes several times its bytes.
"""
MANY_DEAD = 1_000
"""Dead messages of a body for which its sender waits."""
PENALTY = 1.0
"""Seconds for which the sender of a body that is all work and no events waits for its answer, so that it sends fewer."""
PART = 5_000
"""Events of a body that are one commit. A larger one would need more memory than the store has, and hold up others."""
FIRST_PART = 10
"""Events of a body's first part, where more than ``MANY`` come at once: their mails leave while the rest is written. Few,
since what is sent of them takes from what the rest needs. As many critical alerts go to an address one by one, so that the
message that lists the others lists all of them.
"""
MANY = 400
"""Up to so many events are written and evaluated so soon that a part of them would not be sooner."""
FIRED = 10
"""Dead letters that an answer describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of one request."""

    max_body: int = 8 << 20  # bytes, also after decompression
    max_messages: int = 100_000
    full_wait: timedelta = timedelta(seconds=1)  # how long to wait for room in the queue before 429
    commit_wait: timedelta = timedelta(seconds=10)  # how long to wait for the commit before 503


class HttpIntake:
    """The intake of all HTTP consumers: their endpoint, and when each reported."""

    def __init__(
        self,
        consumers: Callable[[], Mapping[str, Consumer]],
        sink: Sink,
        metrics: Metrics,
        clock: Clock,
        limits: Callable[[], HttpLimits] = HttpLimits,
    ) -> None:
        """``consumers`` and ``limits`` are asked at each request, so that a reload counts at once."""
        self._consumers, self._sink, self._metrics, self._clock, self._limits = consumers, sink, metrics, clock, limits
        self.apart: Callable[[], bool] = lambda: False  # may events of one body be notified one before the other?
        self._started = clock.now()
        self._large: CapacityLimiter | None = None  # belongs to the loop in which it is first used
        self._source_progress: dict[str, datetime] = {}

    def routes(self) -> list[BaseRoute]:
        """``/intake/<consumer>``."""
        return [Route("/intake/{consumer}", self)]

    def silence(self, name: str) -> StallWatch:
        """How the source of consumer ``name`` keeps its word."""
        consumer = self._consumers().get(name)
        watch = StallWatch(consumer.event_every if consumer else None, self._started)
        if name in self._source_progress:
            watch.source_progress(self._source_progress[name])
        return watch

    def watermark(self, name: str, grace: GraceWatermark) -> datetime | None:
        """Up to when all has reported that the source of consumer ``name`` had to say; None: unknown."""
        now = self._clock.now()
        return self.silence(name).hold(grace.at(now), now)

    # --- one request ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            response = await self._answer(scope, receive)
        except Refused as e:
            if e.status == 413:
                await asyncio.sleep(PENALTY)
            response = answer_refused(e, self._metrics)
        await response(scope, receive, send)

    # --- one event of our own ---

    @property
    def metrics(self) -> Metrics:
        """Where it counts."""
        return self._metrics

    @property
    def max_body(self) -> int:
        """Bytes of the largest body."""
        return self._limits().max_body

    async def take(self, event: bytes, most: int = 1) -> Receipt:
        """Take a canonical event, or an array of at most ``most``, through the first consumer for such, ``ping`` before all others, and wait until it is
        durable. Raises Refused.
        """
        found = [c for c in self._consumers().values() if c.connector == "http" and c.file.enabled and c.mapper is None]
        if not found:
            raise Refused(
                404, "unknown_consumer", "No consumer takes it", "declare one with connector: http and canonical: true"
            )
        consumer = min(found, key=lambda c: (c.name != "ping", c.name != "events", c.name))
        return await self._commit(await self._decode(consumer, event, most), self._limits())

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = Headers(scope=scope)
        consumer = self._find(scope["path_params"]["consumer"])
        if scope["method"] == "OPTIONS":
            return _agree(headers)
        if scope["method"] != "POST":
            raise Refused(
                405, "method", "Events are sent by POST", f"this was {scope['method']}", {"Allow": "POST, OPTIONS"}
            )
        limits = self._limits()
        body = await read_body(headers, receive, limits.max_body)
        if headers.get("ce-specversion"):
            body = event_of_headers(headers, body)
        code = validation_code(body)
        if code is not None:
            log.info("event_grid_validated", consumer=consumer.name)
            return _json(200, {"validationResponse": code})
        if headers.get("x-amz-sns-message-type") == "SubscriptionConfirmation":
            decoded = Decoded(dead=(_unconfirmed(consumer.name, body),))
        else:
            decoded = await self._decode(consumer, body, limits.max_messages, scope.get("tocsin.bound", ANY))
        if not decoded.raw and not decoded.mapped and not decoded.dead:
            return self._accepted(consumer, decoded, Receipt(accepted=0, duplicate=0, heartbeats=0))
        receipt = await self._commit(decoded, limits)
        if sum(letter.count for letter in receipt.dead) > MANY_DEAD:
            await asyncio.sleep(PENALTY)
        return self._accepted(consumer, decoded, receipt)

    def _find(self, name: str) -> Consumer:
        consumers = {n: c for n, c in self._consumers().items() if c.connector == "http" and c.file.enabled}
        if name not in consumers:
            hint = suggest(name, consumers) or "there are none"
            raise Refused(
                404, "unknown_consumer", "There is no such consumer", f"'{name[:100]}' takes no events; {hint}"
            )
        return consumers[name]

    async def _decode(self, consumer: Consumer, body: bytes, most: int, bound: Bound = ANY) -> Decoded:
        now = self._clock.now()
        if too_many_values(body):
            raise Refused(413, "messages", "The body holds too much", f"at most {MAX_VALUES} values are read at once")

        def decode() -> Decoded:
            decoded = consumer.decode([Message(payload=body)], now, most=most, bound=bound)
            if decoded.no_json and not is_json(body):
                raise Refused(
                    400, "no_json", "The body is no JSON", "send one event, an array of events, or one a line"
                )
            return decoded

        def decode_large() -> Decoded:
            with turn():
                return decode()

        if self._large is None:
            self._large = CapacityLimiter(AT_ONCE)
        try:
            decoded = await run_sync(decode_large, limiter=self._large) if len(body) > LARGE else decode()
        except TooMany as e:
            raise Refused(413, "messages", "Too many events in one body", f"{e}; send them in several") from e
        self._source_progress[consumer.name] = now
        return decoded

    async def _commit(self, decoded: Decoded, limits: HttpLimits) -> Receipt:
        """Put it, part by part, and wait until each is durable. Raises Refused; with 503 it may have been stored."""
        kept: list[DeadLetter] = []
        carried: DeadLetter | None = None
        accepted = duplicate = heartbeats = misnamed = 0
        unknown: dict[str, None] = {}
        unmapped: dict[str, None] = {}
        first = FIRST_PART if decoded.events > MANY and self.apart() else 0
        for n, part in enumerate(decoded.parts(PART, first)):
            batch = replace(part, most_dead=MOST_DEAD - len(kept), carried=carried)
            receipt = await self._put(batch, limits, limits.commit_wait if n else limits.full_wait)
            accepted += receipt.accepted
            duplicate += receipt.duplicate
            heartbeats += receipt.heartbeats
            misnamed += receipt.misnamed
            unknown |= dict.fromkeys(receipt.unknown)
            unmapped |= dict.fromkeys(receipt.unmapped)
            kept += [letter for letter in receipt.dead if not letter.rest]
            carried = merged(carried, next((letter for letter in receipt.dead if letter.rest), None))
        dead = (*kept, carried) if carried is not None else tuple(kept)
        return Receipt(
            accepted=accepted, duplicate=duplicate, heartbeats=heartbeats, dead=dead, misnamed=misnamed,
            unknown=tuple(unknown)[:UNKNOWN_NAMES], unmapped=tuple(unmapped)[:UNKNOWN_NAMES],
        )  # fmt: skip

    async def _put(self, batch: Batch, limits: HttpLimits, full_wait: timedelta) -> Receipt:
        try:
            future = await self._when_room(lambda: self._sink.put(batch, timeout=0), full_wait)
            receipt = await _durable(future, limits.commit_wait)
        except StoreFull as e:
            title = "The store's file is gone" if isinstance(e, StoreGone) else "The store is full"
            raise Refused(503, "store_full", title, str(e), {"Retry-After": "30"}) from e
        except StoreError as e:
            raise Refused(503, "store_lost", "The store is away", f"{e}; send it again", {"Retry-After": "5"}) from e
        if receipt is None:
            raise Refused(
                503, "slow_commit", "Not confirmed in time",
                "it may have been stored; send it again, what came twice is recognised", {"Retry-After": "5"},
            )  # fmt: skip
        return receipt

    async def _when_room(self, put: Callable[[], Future[Receipt]], wait: timedelta) -> Future[Receipt]:
        pause, left = 0.01, wait.total_seconds()
        while True:
            try:
                return put()
            except TimeoutError:
                if left <= 0:
                    raise Refused(
                        429,
                        "queue_full",
                        "Too many events wait to be stored",
                        "send it again later",
                        {"Retry-After": "2"},
                    ) from None
            await asyncio.sleep(min(pause, left))
            left -= pause
            pause *= 2

    def _accepted(self, consumer: Consumer, decoded: Decoded, receipt: Receipt) -> Response:
        if decoded.filtered:
            self._metrics.inc(
                "tocsin_intake_messages_total", decoded.filtered, consumer=consumer.name, outcome="filtered"
            )
        answer: dict[str, object] = {
            "accepted": receipt.accepted,
            "duplicate": receipt.duplicate,
            "heartbeats": receipt.heartbeats,
            "dead": sum(letter.count for letter in receipt.dead),
            "filtered": decoded.filtered,
        }
        if receipt.unknown:
            answer["unknown_columns"] = list(receipt.unknown)
        if receipt.unmapped:
            answer["unknown_statuses"] = list(receipt.unmapped)
        if receipt.dead:
            answer["dead_letters"] = [{"reason": d.reason, "detail": d.detail} for d in receipt.dead[:FIRED]]
        return _json(202, answer)


def intake_routes(
    consumers: Callable[[], Mapping[str, Consumer]],
    sink: Sink,
    metrics: Metrics,
    clock: Clock,
    limits: Callable[[], HttpLimits] = HttpLimits,
) -> list[BaseRoute]:
    """Routes of the HTTP intake, for who needs nothing else of it."""
    return HttpIntake(consumers, sink, metrics, clock, limits).routes()


def answer_refused(e: Refused, metrics: Metrics) -> Response:
    """Says why, and counts it."""
    metrics.inc("tocsin_intake_refused_total", reason=e.reason)
    return _problem(e)


def _unconfirmed(consumer: str, body: bytes) -> DeadLetter:
    """Kept for a person to confirm: fetching an address that a request names is what an intake must not do."""
    return DeadLetter(
        consumer=consumer,
        reason=DeadReason.NOT_AN_EVENT,
        detail="Amazon SNS asks to confirm its subscription: open the SubscribeURL of this payload once",
        payload=body,
    )


def _durable(future: Future[Receipt], wait: timedelta) -> Awaitable[Receipt | None]:
    """The receipt, or None after ``wait``. The writer's future is only watched: nothing here can cancel it."""
    loop = asyncio.get_running_loop()
    ours: asyncio.Future[Receipt | None] = loop.create_future()

    def settle() -> None:
        if ours.done():
            return
        error = future.exception() if future.done() else None
        if error is not None:
            ours.set_exception(error)
        else:
            ours.set_result(future.result() if future.done() else None)

    def done(_: Future[Receipt]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    timer = loop.call_later(wait.total_seconds(), settle)
    ours.add_done_callback(lambda _: timer.cancel())
    future.add_done_callback(done)
    return ours


def _agree(headers: Headers) -> Response:
    """CloudEvents' handshake: whoever asks may send, at any rate."""
    origin = headers.get("webhook-request-origin")
    allow = {"Allow": "POST, OPTIONS"}
    if origin:
        allow |= {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": headers.get("webhook-request-rate", "*")}
    return Response(status_code=200, headers=allow)


def _json(status: int, value: Mapping[str, object]) -> Response:
    return Response(json.dumps(value, separators=(",", ":")), status, media_type="application/json")


def _problem(e: Refused) -> Response:
    body = {"type": "about:blank", "title": e.title, "status": e.status, "detail": e.detail}
    return Response(json.dumps(body), e.status, dict(e.headers), media_type="application/problem+json")

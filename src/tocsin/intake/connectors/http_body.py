"""A request's body: within limits, decompressed, with CloudEvents' headers put back into it.

What many large bodies take at once is bounded too: their bytes while they come in, and how many are read at the same time.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from tocsin.errors import TocsinError
from tocsin.intake.expressions import any_case
from tocsin.intake.formats import write
from tocsin.model.event import MAX_PAYLOAD
from tocsin.model.strictjson import ReadError, read_json

TYPES = frozenset({
    "", "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson",
    "application/ndjson", "application/jsonl", "application/json-lines", "application/jsonlines", "text/json", "text/plain",
    "application/x-www-form-urlencoded",  # what curl -d says of everything
})  # fmt: skip
"""Content types that may hold JSON; any other that ends in +json is taken too."""
VALIDATION = "microsoft.eventgrid.subscriptionvalidationevent"
_VALIDATION = re.compile(VALIDATION.replace(".", r"\.").encode(), re.IGNORECASE)
_LARGEST_VALIDATION = 64 << 10
LARGE = 64 << 10
"""Bytes of a body, unpacked, beyond which it takes its turn among others of its kind and is decoded on a thread of its own, so
that small ones need not wait for it."""
_BODIES = 4  # times the largest body: what may be held of large bodies while they come in
_AT_ONCE = 2  # large bodies that are decoded and stored at the same time
_MEMBERS = 64  # of a gzip body; the rest is copied for each of them


class Refused(TocsinError):
    """A request is refused. ``reason`` is one word, for the metric."""

    def __init__(
        self, status: int, reason: str, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.reason, self.title, self.detail, self.headers = status, reason, title, detail, headers or {}
        super().__init__(f"{title}: {detail}")


class Bodies:
    """The large bodies that are under way."""

    def __init__(self) -> None:
        self._held = 0
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @contextmanager
    def holding(self, limit: int) -> Iterator[Callable[[int], None]]:
        """Gives what is to be called with the number of each bytes of one body that came. It raises Refused (429) where they and those of
        other large bodies are too many; ``limit`` is that of one body.
        """
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            before = max(mine - LARGE, 0)
            mine += size
            self._held += max(mine - LARGE, 0) - before
            if self._held > _BODIES * limit and mine > LARGE:
                raise _too_busy()

        try:
            yield take
        finally:
            self._held -= max(mine - LARGE, 0)

    @asynccontextmanager
    async def turn(self, wait: timedelta) -> AsyncIterator[None]:
        """While a large body is decoded and stored. Raises Refused (429) where its turn does not come in ``wait``."""
        try:
            await asyncio.wait_for(self._turns.acquire(), wait.total_seconds())
        except TimeoutError:
            raise _too_busy() from None
        try:
            yield
        finally:
            self._turns.release()


def _too_busy() -> Refused:
    return Refused(
        429, "bodies", "Too many large bodies at once", "send it again later, or in smaller ones",
        {"Retry-After": "5", "Connection": "close"},
    )  # fmt: skip


def check_kind(headers: Headers) -> None:
    """Raises Refused (415) for a type or an encoding that is not taken."""
    kind, _, parameters = headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind not in TYPES and not kind.endswith("+json"):
        raise Refused(415, "type", "The body's type is not known", f"'{kind[:100]}' is not JSON; send application/json")
    charset = re.search(r'charset="?([^";\s]+)', parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Refused(415, "type", "The body's charset is not known", f"'{charset[1][:40]}' is not utf-8")
    encoding = _encoding(headers)
    if encoding not in ("identity", "gzip", ""):
        raise Refused(
            415,
            "type",
            "The body's encoding is not known",
            f"'{encoding[:40]}' is not gzip",
            {"Accept-Encoding": "gzip"},
        )


def _encoding(headers: Headers) -> str:
    return headers.get("content-encoding", "identity").strip().lower()


async def received(receive: Receive, limit: int, take: Callable[[int], None]) -> bytes:
    """The body as it came; ``take`` is called with the size of each part. Raises Refused: 413 past ``limit``."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        take(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def unpacked(headers: Headers, body: bytes, limit: int) -> bytes:
    """The body, decompressed. Raises Refused: 413 past ``limit``, 400 where it is empty or no gzip."""
    if _encoding(headers) == "gzip":
        body = _unzipped(body, limit)
    elif len(body) > limit:
        raise _too_large(limit)
    if not body or body.isspace():
        raise Refused(400, "no_json", "The body is empty", "send one event, an array of events, or one a line")
    return body


def _unzipped(body: bytes, limit: int) -> bytes:
    """Every member of a gzip body; a bomb goes no further than ``limit``."""
    out: list[bytes] = []
    left = limit
    for _ in range(_MEMBERS):
        inflate = zlib.decompressobj(wbits=31)
        try:
            out.append(inflate.decompress(body, left + 1))
        except zlib.error as e:
            raise Refused(400, "no_json", "The body is no gzip", str(e)) from e
        left -= len(out[-1])
        if left < 0:
            raise _too_large(limit)
        if not inflate.eof:
            raise Refused(400, "no_json", "The body is no gzip", "it ends too early")
        body = inflate.unused_data
        if not body:
            return out[0] if len(out) == 1 else b"".join(out)
    raise Refused(400, "no_json", "The body is no gzip", f"it has more than {_MEMBERS} members")


def _too_large(limit: int) -> Refused:
    return Refused(413, "size", "The body is too large", f"at most {limit} bytes", {"Connection": "close"})


def event_of_headers(headers: Headers, body: bytes) -> bytes:
    """CloudEvents' binary mode: the event whose attributes are in ``ce-`` headers and whose data is the body.

    Raises Refused: 413 past the size of one event, which is never built.
    """
    if len(body) > MAX_PAYLOAD:
        raise _too_large(MAX_PAYLOAD)
    event: dict[str, object] = {
        name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-") and len(name) > 3
    }
    try:
        event["data"] = read_json(body, limit=len(body))
    except ReadError:
        return body  # goes the way of every body that cannot be read
    return write(event)


def validation_code(body: bytes) -> str | None:
    """The code of Event Grid's subscription validation, in either schema and any case; None for any other body."""
    if len(body) > _LARGEST_VALIDATION or not _VALIDATION.search(body):
        return None
    try:
        event = read_json(body)
    except ReadError:
        return None
    if isinstance(event, list):
        event = event[0] if event else None
    if not isinstance(event, dict):
        return None
    kind = any_case(event, "eventType") or any_case(event, "type")
    data = any_case(event, "data")
    if not isinstance(kind, str) or kind.lower() != VALIDATION or not isinstance(data, dict):
        return None
    code = any_case(data, "validationCode")
    return code if isinstance(code, str) else None

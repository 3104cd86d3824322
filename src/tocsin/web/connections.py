"""Bounds of connections: how long and large a request's head and body may be, and how many may wait for their client.

uvicorn bounds a head only with h11, and knows no deadline but that of keep-alive, which each received byte puts off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tocsin.metrics.table import CLOSINGS
from tocsin.web.answers import problem

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # it needs httptools
    HttpToolsProtocol = None  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    _Base = HttpToolsProtocol
else:
    _Base = object

HEAD: Final = 32 << 10
"""Bytes of the largest request head, and of the largest trailer."""
PIPELINED: Final = 64
"""Requests that one connection may send before the first is answered."""
LINGER: Final = 2.0
"""Seconds for which a refused client is read further, so that it sees the answer; then the connection is cut."""
LINGER_BYTES: Final = 1 << 20
ROOM: Final = 16
"""Connections that are closed at once where there is no room."""
HEALTH: Final = frozenset({"/healthz", "/readyz"})

REASONS: Final = CLOSINGS
"""Why a connection is closed by these bounds."""


LIVE: Final = "/live/"
"""Below it answers go on until the client, or tocsin, ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of all connections."""

    head: float = 10.0  # seconds for a whole head
    body: float = 60.0  # seconds for a whole body, and for a client to read on
    connections: int = 1000
    per_address: int = 64  # connections without a whole head
    reserved: int = 32  # connections past the bound, for HEALTH only


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()  # the client, for a whole head
    BODY = auto()  # the client, for a whole body
    ANSWER = auto()  # tocsin
    IDLE = auto()  # the client, for its next request; uvicorn's keep-alive closes it
    CLOSING = auto()  # its end


class Connections:
    """All connections of one server. Everything happens in the server's event loop."""

    def __init__(self, bounds: Bounds, closed: Callable[[str], None]) -> None:
        """``closed`` is called with one of REASONS for each connection that a bound closes."""
        self.bounds, self.closed = bounds, closed
        self._all: dict[Bounded, None] = {}
        self._heads: dict[str, dict[Bounded, None]] = {}  # by address; without a whole head, oldest first

    def __len__(self) -> int:
        return len(self._all)

    def add(self, new: Bounded) -> None:
        """Take a new connection; others may have to go for it."""
        bounds = self.bounds
        heads = self._heads.setdefault(new.address, {})
        if len(heads) >= bounds.per_address:
            next(iter(heads)).cut("address_limit")
        if len(self._all) >= bounds.connections:
            self._make_room()
        self._all[new] = None
        self.moved(new)
        over = len(self._all) - bounds.connections
        if over > bounds.reserved:
            new.cut("connection_limit")
        elif over > 0:
            new.app = cast(Any, only_health(cast(ASGIApp, new.app)))

    def moved(self, one: Bounded) -> None:
        """The phase of a connection is another."""
        if one.phase is Phase.HEAD:
            self._heads.setdefault(one.address, {})[one] = None
        elif (heads := self._heads.get(one.address)) is not None and one in heads:
            del heads[one]
            if not heads:
                del self._heads[one.address]

    def remove(self, one: Bounded) -> None:
        """Forget a connection. Nothing happens where it is forgotten already."""
        self._all.pop(one, None)
        heads = self._heads.get(one.address, {})
        heads.pop(one, None)
        if not heads:
            self._heads.pop(one.address, None)

    def close_idle(self, now: float) -> None:
        """End what is past its deadline. ``now`` is the loop's time."""
        for one in list(self._all):
            one.check(now)

    def _make_room(self) -> None:
        """Close those that have waited longest for their client, of the address that has the most of them."""
        waiting = [c for c in self._all if c.waits_for_client]
        if not waiting:
            return
        ((address, _),) = Counter(c.address for c in waiting).most_common(1)
        for one in sorted((c for c in waiting if c.address == address), key=lambda c: c.since)[:ROOM]:
            one.cut("connection_limit")


class Bounded(_Base):
    """Mixed into a protocol of uvicorn. A subclass says what its parser holds and whether it is inside a body."""

    def __init__(self, connections: Connections, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._connections = connections
        self._lingered = 0  # bytes thrown away
        self._unsent, self._read_at = 0, 0.0  # bytes of an answer that the client has not read, and when it last read
        self.address = ""
        self.phase, self.since = Phase.HEAD, 0.0

    # -- of the parser -------------------------------------------------------------------------------------------------

    def held(self) -> int:
        """Bytes that the parser holds of a head or trailer that is not whole; 0: none begun."""
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        """Give ``data`` to the parser."""
        super().data_received(data)

    def in_body(self) -> bool:
        """Whether a head was whole and its body is not."""
        raise NotImplementedError

    # -- events --------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = _address(self.client)
        self.since = self.loop.time()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more at once than a head may have, so that it holds no more."""
        if self.phase is Phase.CLOSING:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abort()
            return
        rest = memoryview(data)
        held = 0
        while rest:
            room = max(1, HEAD - self.held())
            self.feed(bytes(rest[:room]))
            rest = rest[room:]
            if self.transport.is_closing():
                return
            held = self.held()
            if held >= HEAD:
                self.refuse("head_size", 431, "The head of the request is too large", f"at most {HEAD} bytes")
                return
        self._turn(held)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.phase is not Phase.CLOSING:
            self._turn(self.held())

    def shutdown(self) -> None:
        """As uvicorn's, but a body that is not whole has only a moment left."""
        super().shutdown()
        request = self._request()
        if request is not None and request.scope["path"].startswith(LIVE):
            self.transport.close()  # its answer would go on
        if self.phase is Phase.BODY:
            self.loop.call_later(LINGER, self.transport.abort)

    # -- bounds --------------------------------------------------------------------------------------------------------

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to do something."""
        return self.phase is not Phase.ANSWER or self._unsent > 0

    def _turn(self, held: int) -> None:
        if self.in_body():
            phase = Phase.BODY
        elif (cycle := self._request()) is not None and not cycle.response_complete:
            phase = Phase.ANSWER
        else:
            phase = Phase.HEAD if cycle is None or held else Phase.IDLE
        if phase is not self.phase:
            self.phase, self.since = phase, self.loop.time()
            self._connections.moved(self)

    def check(self, now: float) -> None:
        """End what is past its deadline."""
        bounds, waited = self._connections.bounds, now - self.since
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._read_at = unsent, now
        if self.phase is Phase.CLOSING:
            if waited > LINGER:
                self.transport.abort()
        elif now - self._read_at > bounds.body:
            self.cut("unread")
        elif self.transport.is_closing():
            pass  # what it owes is still on its way
        elif self.phase is Phase.HEAD and waited > bounds.head:
            self.refuse(
                "head_timeout", 408, "The head of the request did not come in time", f"within {bounds.head:g} s"
            )
        elif self.phase is Phase.BODY and self.flow.read_paused:
            self.since = now  # tocsin does not read: the client cannot send
        elif self.phase is Phase.BODY and waited > bounds.body:
            self.refuse(
                "body_timeout", 408, "The body of the request did not come in time", f"within {bounds.body:g} s"
            )

    def cut(self, reason: str) -> None:
        """Close at once."""
        self._connections.closed(reason)
        self._close(self.loop.time())
        self._connections.remove(self)
        self.transport.abort()

    def refuse(self, reason: str, status: int, title: str, detail: str) -> None:
        """Answer ``status`` where an answer is still owed and no other has begun, and close."""
        asked, cycle = self.phase is Phase.BODY or self.held() > 0, self._request()
        begun = cycle is not None and not cycle.response_complete and (cycle.response_started or self._queued())
        answered = self.phase is Phase.BODY and cycle is not None and cycle.response_complete
        if not asked or begun or answered:
            self.cut(reason)
            return
        self._connections.closed(reason)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        response = problem(status, title, detail, headers={"Connection": "close"})
        head = [*self.server_state.default_headers, *response.raw_headers]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in head)
        phrase = HTTPStatus(status).phrase.encode()
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, phrase, lines, bytes(response.body)))
        self._close(self.loop.time())

    def _request(self) -> Any | None:
        """The newest request whose head is whole; uvicorn does not say that there may be none."""
        return self.cycle

    def _queued(self) -> bool:
        """Whether earlier requests of the connection wait for their answers."""
        return False

    def _close(self, now: float) -> None:
        self.phase, self.since = Phase.CLOSING, now
        self._connections.moved(self)


class BoundedH11(Bounded, H11Protocol):  # type: ignore[misc]
    """uvicorn's h11 protocol, bounded. Without httptools."""

    def held(self) -> int:
        """As h11 has it. What came beyond a request that is being answered is no head yet: nothing more is read then."""
        connection = self.conn
        return 0 if connection.their_state.__name__ == "DONE" else len(connection.trailing_data[0])

    def in_body(self) -> bool:
        """As h11 has it."""
        return self.conn.their_state.__name__ == "SEND_BODY"


def protocol(connections: Connections, parser: str = "") -> Callable[..., asyncio.Protocol]:
    """What makes a protocol for each connection; with ``parser`` (httptools or h11), by default the fastest there is."""
    h11 = parser == "h11" or HttpToolsProtocol is None
    return partial(BoundedH11 if h11 else BoundedHttpTools, connections)


if HttpToolsProtocol is not None:

    class BoundedHttpTools(Bounded, HttpToolsProtocol):
        """uvicorn's httptools protocol, bounded. The parser says nothing of what it holds, so fed bytes are counted."""

        _held, _in_body = 0, False

        def held(self) -> int:
            """Bytes fed since the parser last gave a head, a part of a body or an end."""
            return self._held

        def feed(self, data: bytes) -> None:
            """Count first: callbacks start the count again."""
            self._held += len(data)
            super().feed(data)

        def in_body(self) -> bool:
            """By the parser's callbacks."""
            return self._in_body

        def on_headers_complete(self) -> None:
            self._held, self._in_body = 0, True
            super().on_headers_complete()
            if len(self.pipeline) > PIPELINED and not self.transport.is_closing():
                self.cut("pipelined")

        def on_body(self, body: bytes) -> None:
            self._held = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._held, self._in_body = 0, False
            super().on_message_complete()

        def _queued(self) -> bool:
            return bool(self.pipeline)


def only_health(app: ASGIApp) -> ASGIApp:
    """``app`` for a connection past the bound: only HEALTH is answered, once."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        if scope["type"] == "http" and scope["path"] not in HEALTH:
            busy = problem(503, "Too many connections", "send it again later", headers={"Retry-After": "2"})
            await busy(scope, receive, closing)
        else:
            await app(scope, receive, closing)

    return asgi


def _address(client: tuple[str, int] | None) -> str:
    """Whom a connection counts for: an IPv4 address, or the /64 of an IPv6 address, which one host has whole."""
    host = client[0] if client else ""
    if ":" not in host:
        return host
    address = ip_address(host.partition("%")[0])
    assert isinstance(address, IPv6Address)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))

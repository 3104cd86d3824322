"""Bodies that their senders sign: a webhook of GitHub, Slack or PagerDuty proves that it has the token without sending it.

GitHub: X-Hub-Signature-256 is ``sha256=`` and the HMAC of the body.
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
Slack: X-Slack-Signature is ``v0=`` and the HMAC of ``v0:TIME:BODY``, X-Slack-Request-Timestamp is TIME.
https://docs.slack.dev/authentication/verifying-requests-from-slack
PagerDuty: X-PagerDuty-Signature is a list of ``v1=`` and the HMAC of the body, one for each of its secrets.
https://developer.pagerduty.com/docs/verifying-webhook-signatures
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from anyio import CancelScope
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from tocsin.config.project.tokens import Signature, Token

LARGEST: Final = 1 << 20
"""Bytes of the largest signed body: it is held before anybody knows who sent it. One event has no more either."""
MOST: Final = 32 << 20
"""Bytes of all signed bodies that are held so; with more, the one that came first is given up."""
MAX_AGE: Final = 300
"""Seconds for which a signature of Slack holds, in both directions, as Slack asks for."""
_HEADERS: Final = {
    Signature.GITHUB: "x-hub-signature-256",
    Signature.SLACK: "x-slack-signature",
    Signature.PAGERDUTY: "x-pagerduty-signature",
}
_MOST_GIVEN: Final = 10
"""Signatures of one body that are compared."""


def signature_of(headers: Headers) -> Signature | None:
    """How a request says that it is signed."""
    return next((signature for signature, name in _HEADERS.items() if name in headers), None)


def is_signed(token: Token, headers: Headers, body: bytes, now: datetime) -> bool:
    """Whether ``body`` is signed with ``token``, and not long ago where the signature says when."""
    assert token.signature is not None
    given = headers.get(_HEADERS[token.signature], "").strip()
    if token.signature is Signature.GITHUB:
        return _equal(given, "sha256=", token, body)
    if token.signature is Signature.PAGERDUTY:
        return any(_equal(each.strip(), "v1=", token, body) for each in given.split(",", _MOST_GIVEN)[:_MOST_GIVEN])
    at = headers.get("x-slack-request-timestamp", "")
    if not (at.isascii() and at.isdecimal() and len(at) < 12) or abs(now.timestamp() - int(at)) > MAX_AGE:
        return False
    return _equal(given, "v0=", token, b"v0:%b:%b" % (at.encode(), body))


def _equal(given: str, prefix: str, token: Token, signed: bytes) -> bool:
    key = token.token.get_secret_value().encode() if token.token is not None else b""
    right = prefix + hmac.new(key, signed, "sha256").hexdigest()
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


@dataclass(eq=False, slots=True)
class _Held:
    """A body that is being received."""

    scope: CancelScope
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Held:
    """The signed bodies that are being received, within ``MOST`` bytes. Everything happens in the server's event loop."""

    def __init__(self) -> None:
        self._all: dict[_Held, None] = {}  # oldest first

    async def receive(self, receive: Receive) -> bytes | None:
        """The whole body; None where it is too large, or had to make room for others."""
        with CancelScope() as scope:
            one = _Held(scope)
            self._all[one] = None
            try:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    part = message.get("body", b"")
                    one.parts.append(part)
                    one.size += len(part)
                    if one.size > LARGEST:
                        return None
                    self._make_room()
                    if not message.get("more_body", False):
                        return b"".join(one.parts)
            finally:
                del self._all[one]
        return None

    def _make_room(self) -> None:
        held = sum(one.size for one in self._all)
        for one in self._all:
            if held <= MOST:
                return
            held -= one.size
            one.parts.clear()
            one.scope.cancel()


def replayed(body: bytes, receive: Receive) -> Receive:
    """What gives ``body`` to who reads a request, and then what still comes."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving

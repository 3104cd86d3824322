"""Signed links: who has one may take care of one alert, or unsubscribe from one rule, until it expires, without a token.

    base64url(JSON of what it permits) . base64url(HMAC-SHA256 of that)

A GET shows what it would do, a POST does it: scanners of mail that fetch links acknowledge nothing. Keys rotate: a link is
signed by the newest and read by any of the keys that are kept.

No library: itsdangerous stamps when a link was made, and the reader decides how old it may be. Here the link says when it
expires.
"""

from __future__ import annotations

import binascii
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.clock import from_micros, micros
from tocsin.errors import TocsinError
from tocsin.model.active import ActionKind

LASTS = timedelta(days=7)
"""How long a link in a message works."""
UNSUBSCRIBES = timedelta(days=60)
"""How long the link works by which a reader unsubscribes."""
KEPT = 2
"""Keys by which links are read; the newest signs."""
_LONGEST = 2000


class BadLink(TocsinError):
    """A link was not signed by us, or has expired; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What a link permits."""

    alert: str  # its id
    kind: ActionKind
    by: str  # as whom: the address of the message
    expires: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """A link that permits its reader to be mailed no more, or again, about one rule or one experiment."""

    rule: str
    experiment: str = ""  # of the run that it is about; '' of none
    by: str  # the address of the message
    expires: datetime  # UTC


_UNSUBSCRIBE = "unsubscribe"  # where the kind of action stands


class Signer:
    """Signs and reads links. ``keys`` are secret, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("links need a key")
        self._keys = tuple(keys)

    def sign(self, permit: Permit | Unsubscribe) -> str:
        """The link's token."""
        about = (permit.rule, _UNSUBSCRIBE) if isinstance(permit, Unsubscribe) else (permit.alert, permit.kind.value)
        more = [permit.experiment] if isinstance(permit, Unsubscribe) and permit.experiment else []
        said = [*about, permit.by, micros(permit.expires), *more]
        body = urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).rstrip(b"=")
        return f"{body.decode()}.{_signature(self._keys[0], body)}"

    def read(self, token: str, now: datetime) -> Permit | Unsubscribe:
        """What ``token`` permits. Raises BadLink."""
        body, dot, signature = token[:_LONGEST].partition(".")
        right = any(
            hmac.compare_digest(_signature(key, body.encode()).encode(), signature.encode()) for key in self._keys
        )
        if not dot or not right:
            raise BadLink("this link was not made here, or is older than the keys that are kept")
        try:
            about, kind, by, expires, *more = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            permit: Permit | Unsubscribe
            if kind == _UNSUBSCRIBE:
                experiment = str(more[0]) if more else ""
                permit = Unsubscribe(rule=about, by=by, expires=from_micros(expires), experiment=experiment)
            else:
                permit = Permit(alert=about, kind=ActionKind(kind), by=by, expires=from_micros(expires))
        except (ValueError, TypeError, binascii.Error) as e:
            raise BadLink("this link cannot be read") from e
        if now >= permit.expires:
            raise BadLink("this link has expired")
        return permit


def _signature(key: bytes, body: bytes) -> str:
    return urlsafe_b64encode(hmac.digest(key, body, "sha256")).rstrip(b"=").decode()


def new_key() -> bytes:
    """A fresh one."""
    return secrets.token_bytes(32)

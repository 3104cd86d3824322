"""What a request shows to say who sends it: a token in a header or an address, or the word of a session in a cookie."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from enum import Enum, auto
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import Scope

from tocsin.web.access.roles import PING

COOKIE: Final = "tocsin_session"


class How(Enum):
    """By which way a request shows it."""

    NOT = auto()
    BEARER = auto()  # a program says so each time
    BASIC = auto()  # a program, or a browser of its own accord
    ADDRESS = auto()  # the path of a ping, or the query of a webhook that can send no header, as Event Grid
    SESSION = auto()  # a browser of its own accord


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows."""

    how: How
    word: str = ""

    @property
    def by_itself(self) -> bool:
        """Whether a browser sends it unasked, for another site's page too."""
        return self.how in (How.BASIC, How.SESSION)


def shown(scope: Scope, headers: Headers) -> Shown:
    """What a request shows, the header first."""
    kind, _, word = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and word.strip():
        return Shown(How.BEARER, word.strip())
    if kind.lower() == "basic" and (word := _password(word.strip())):
        return Shown(How.BASIC, word)
    path = scope["path"]
    if path.startswith(PING):
        return Shown(How.ADDRESS, str(path.removeprefix(PING).partition("/")[0]))
    if path.startswith("/intake/"):
        try:
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=50)
        except ValueError:
            return Shown(How.NOT)
        word = str((query.get("token") or query.get("code") or [""])[0])
        return Shown(How.ADDRESS, word) if word else Shown(How.NOT)
    word = session_word(headers)
    return Shown(How.SESSION, word) if word else Shown(How.NOT)


def session_word(headers: Headers) -> str:
    """The word of a browser's session; '' where it has none."""
    try:
        cookie: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return str(cookie[COOKIE].value) if COOKIE in cookie else ""


def _password(word: str) -> str:
    """The password of Basic authentication, which is the token; the name is whatever its sender wants."""
    try:
        return b64decode(word, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""

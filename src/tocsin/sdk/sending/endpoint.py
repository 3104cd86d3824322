"""Which tocsin gets events, and the one HTTP request that brings them there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import http.client

DEFAULT_URL = "http://127.0.0.1:8700"
"""Where `tocsin up` listens when nothing else is said."""


class Answer(StrEnum):
    """What became of a request with events."""

    TAKEN = "taken"
    AWAY = "away"  # nobody answered, or the server asks to wait: try later
    TOO_LARGE = "too large"  # fewer at once may do
    REFUSED = "refused"  # a person has to change something, for example the token


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A tocsin. ``named`` says that a person named it: events for it are kept until it takes them."""

    url: str
    token: str = field(default="", repr=False)
    named: bool = False

    @classmethod
    def find(cls, settings: Mapping[str, Any] | None = None, folder: Path | None = None) -> Endpoint | None:
        """TOCSIN_URL, else the workspace's ``url``, else a tocsin that runs on TOCSIN_HOME or ``folder``, else the default.

        TOCSIN_URL or ``url`` of '' means none: events go nowhere.
        """
        settings = settings or {}
        token = os.environ.get("TOCSIN_TOKEN") or _token_of(settings, folder)
        given = os.environ.get("TOCSIN_URL", settings.get("url"))
        if given is not None:
            url = str(given).strip().rstrip("/")
            return cls(url=url, token=token, named=True) if url else None
        for home in (os.environ.get("TOCSIN_HOME"), folder):
            if home and (running := _running(Path(home))):
                return cls(url=running[0], token=token or running[1], named=True)
        return cls(url=DEFAULT_URL, token=token)


def _token_of(settings: Mapping[str, Any], folder: Path | None) -> str:
    name = settings.get("token_file")
    if not name:
        return ""
    try:
        return ((folder or Path()) / str(name)).expanduser().read_text().strip()
    except OSError:
        return ""


def _running(home: Path) -> tuple[str, str] | None:
    """Where the tocsin of a project directory answers; it writes this file when it starts."""
    try:
        found = json.loads((home / "data" / "running.json").read_bytes())
        return str(found["url"]).rstrip("/"), str(found.get("token", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Poster:
    """Posts events over one kept connection. Not for several threads at once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._parts = urlsplit(endpoint.url)
        self._connection: http.client.HTTPConnection | None = None
        self._pid = os.getpid()
        self.said = ""  # the server's last words, or the network's

    def post(self, body: bytes, timeout: float) -> Answer:
        """Post a JSON array of events. ``timeout`` in seconds for each step of the network. Raises nothing."""
        import http.client

        if self._pid != os.getpid():  # a forked child: the connection is its parent's
            self._pid, self._connection = os.getpid(), None
        headers = {"Content-Type": "application/json"}
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        for again in (True, False):
            fresh = self._connection is None
            try:
                connection = self._connection or self._connect(timeout)
                if connection.sock is not None:
                    connection.sock.settimeout(timeout)
                connection.request("POST", f"{self._parts.path}/intake/events", body, headers)
                answer = connection.getresponse()
                text = answer.read(65536)
                return self._answer(answer.status, text)
            except (OSError, http.client.HTTPException, ValueError) as e:
                self.close()
                self.said = str(e) or type(e).__name__
                if fresh or not again:
                    return Answer.AWAY
        return Answer.AWAY

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        import http.client

        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise ValueError(f"{self.endpoint.url!r} is no http(s) URL")
        self._connection = kind(self._parts.hostname, self._parts.port, timeout=timeout)
        return self._connection

    def _answer(self, status: int, text: bytes) -> Answer:
        if status == 202:
            return Answer.TAKEN
        self.said = f"{status} {_detail(text)}".strip()
        if status == 413:
            self.close()
            return Answer.TOO_LARGE
        return Answer.AWAY if status in (408, 429) or status >= 500 else Answer.REFUSED

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _detail(text: bytes) -> str:
    try:
        return str(json.loads(text).get("detail", ""))[:200]
    except (ValueError, AttributeError):
        return ""

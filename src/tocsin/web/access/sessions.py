"""Who is logged in: sessions are kept here, a browser has only a random word. And how often a login may be tried.

A session ends by logout, after ``LASTS``, and when its token is revoked, expires or is replaced. The file holds digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from tocsin.config.project.tokens import Token, Tokens

LASTS: Final = timedelta(days=7)
MOST: Final = 1000
"""Sessions at once; the oldest goes."""
FREE: Final = 5
"""Failed logins of one address that cost it no time."""
LONGEST: Final = 60.0
"""Seconds that an address waits at most between two tries."""
FORGOTTEN: Final = 900.0
"""Seconds after which failed logins of an address are forgotten."""
ADDRESSES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login."""

    token: str  # its name
    of: str  # digest of the token's digest: a token that is replaced ends its sessions
    until: float  # epoch seconds


class Sessions:
    """All sessions, in ``path``. Everything happens in the server's event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: dict[str, Session] = {}
        with suppress(OSError, ValueError, TypeError):  # a broken file: people log in again
            self._all = {key: Session(**each) for key, each in json.loads(path.read_text()).items()}

    def begin(self, token: Token, now: datetime) -> str:
        """A session of the holder of ``token``; its word, which only the browser gets."""
        word = secrets.token_urlsafe(32)
        alive = {key: each for key, each in self._all.items() if each.until > now.timestamp()}
        for key in list(alive)[: max(0, len(alive) - MOST + 1)]:
            del alive[key]
        alive[_digest(word.encode())] = Session(
            token=token.name, of=_digest(token.digest), until=(now + LASTS).timestamp()
        )
        self._all = alive
        self._write()
        return word

    def token(self, word: str, tokens: Tokens, now: datetime) -> Token | None:
        """The token of the session ``word``, None where it has ended."""
        found = self._all.get(_digest(word.encode("utf-8", "surrogatepass")))
        if found is None or found.until <= now.timestamp():
            return None
        token = tokens.named(found.token)
        return token if token is not None and _digest(token.digest) == found.of else None

    def end(self, word: str) -> None:
        """Log out."""
        if self._all.pop(_digest(word.encode("utf-8", "surrogatepass")), None) is not None:
            self._write()

    def _write(self) -> None:
        write_json(self._path, {key: asdict(each) for key, each in self._all.items()})


class Logins:
    """Failed logins by address. The first few are free, then each doubles the wait, up to a minute."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # tries, and when the last was

    def wait(self, address: str, now: float) -> float:
        """Seconds until ``address`` may try again. ``now`` is Clock.monotonic."""
        tries, last = self._failed.get(address, (0, 0.0))
        if tries < FREE or now - last > FORGOTTEN:
            return 0.0
        return max(0.0, last + min(2.0 ** (tries - FREE), LONGEST) - now)

    def failed(self, address: str, now: float) -> None:
        """It was no token."""
        tries, last = self._failed.pop(address, (0, now))
        self._failed[address] = (1 if now - last > FORGOTTEN else min(tries + 1, 1000), now)
        while len(self._failed) > ADDRESSES:
            self._failed.popitem(last=False)

    def done(self, address: str) -> None:
        """It was one."""
        self._failed.pop(address, None)


def write_json(path: Path, value: object) -> None:
    """Replace a small file of the server's own, for its user's eyes only. What cannot be written is not kept."""
    fresh = path.with_name(f".{path.name}.new")
    with suppress(OSError):
        fresh.write_text(json.dumps(value))
        fresh.chmod(0o600)
        os.replace(fresh, path)


def _digest(word: bytes) -> str:
    return hashlib.sha256(word).hexdigest()

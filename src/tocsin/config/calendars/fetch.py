"""Small files from http(s) URLs that operators name: fetched once a day, the last good copy kept.

    asked      day 1    day 2          day 3             day 4
    answer     good     500, timeout   good, other       a page instead
    in use     day 1    day 1 (says)   day 3 (changed)   day 3 (says)

A URL may hold a secret (private calendars do): what is said of it names its host only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from tocsin.clock import Clock, SystemClock
from tocsin.model.alert import fingerprint

FRESH = timedelta(days=1)
"""A copy younger than this is not asked for again."""
SECONDS = 10.0
"""How long a fetch may take as a whole."""
REDIRECTS = 3
_HEADERS = {"Accept": "text/calendar, */*;q=0.1", "Accept-Encoding": "identity"}  # so that little cannot become much


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What is known of a URL."""

    content: bytes | None  # the last good copy
    at: datetime | None = None  # when that was fetched; UTC
    fault: str = ""  # why there is no newer one
    changed: bool = False  # this call fetched something else than was there before


def is_url(text: str) -> bool:
    """Whether ``text`` is one that can be fetched."""
    return text.startswith(("http://", "https://"))


def get(
    url: str, cache: Path, now: datetime, check: Callable[[bytes], object], most: int, fresh: timedelta = FRESH
) -> Fetched:
    """The content at ``url``, from ``cache`` where that is younger than ``fresh`` at ``now``. ``check`` raises
    ValueError for what is not good; ``most`` bytes are taken. Never raises for what a server does, nor where the cache cannot be written.
    """
    path = cache / fingerprint(url)
    known, at = _kept(path, check)
    if at is not None and timedelta(0) <= now - at < fresh:
        return Fetched(content=known, at=at)
    host = urlsplit(url).hostname or "it"
    try:
        raw = _fetch(url, most, SystemClock())
        check(raw)
    except ValueError as e:
        return Fetched(content=known, at=at, fault=f"what {host} answers {e}")
    except OSError as e:
        return Fetched(content=known, at=at, fault=f"{host} gives no answer that can be used: {e}")
    _keep(path, raw, now)
    return Fetched(content=raw, at=now, changed=raw != known)


def _kept(path: Path, check: Callable[[bytes], object]) -> tuple[bytes | None, datetime | None]:
    try:
        raw = path.read_bytes()
        check(raw)
        return raw, datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError):
        return None, None


def _keep(path: Path, raw: bytes, now: datetime) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(raw)
        os.utime(file.name, (now.timestamp(), now.timestamp()))
        os.replace(file.name, path)
    except OSError:
        pass  # it is fetched again next time


def _fetch(url: str, most: int, clock: Clock) -> bytes:
    """The body of a 200 answer. Raises OSError with what happened instead, without the URL."""
    import httpx  # takes a while; only a project directory with such a URL pays for it

    until = clock.monotonic() + SECONDS
    found = bytearray()
    try:
        with (
            httpx.Client(follow_redirects=True, max_redirects=REDIRECTS, timeout=SECONDS / 2) as client,
            client.stream("GET", url, headers=_HEADERS) as answer,
        ):
            if answer.status_code != 200:
                raise OSError(f"status {answer.status_code}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise OSError("it is compressed, which was not asked for")
            for piece in answer.iter_bytes(65536):
                found += piece
                if len(found) > most:
                    raise OSError(f"more than {most // 1024} KiB")
                if clock.monotonic() > until:
                    raise OSError(f"not done after {SECONDS:.0f} s")
    except httpx.TimeoutException:
        raise OSError("it takes too long") from None
    except httpx.TooManyRedirects:
        raise OSError("it redirects too often") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
        raise OSError(type(e).__name__) from None
    return bytes(found)

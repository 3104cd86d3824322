"""When a message is tried again; when a server that could not be reached is, and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits between tries to connect: first × 2ⁿ, at most ``longest``, up to a fifth more or less."""

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(seconds=60)

    def after(self, failures: int, spread: float) -> float:
        """Seconds after so many failures in a row; ``spread`` in [0, 1) is the jitter."""
        wait: timedelta = min(self.first * 2 ** min(failures - 1, 20), self.longest)
        return wait.total_seconds() * (0.8 + 0.4 * spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a deferred message is tried again: first × 2ⁿ, at most ``longest``, up to a fifth more or less."""

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(minutes=15)

    def after(self, attempt: int, spread: float) -> timedelta:
        """The wait after attempt ``attempt`` (1, 2, …); ``spread`` in [0, 1) is the jitter."""
        wait: timedelta = min(self.first * 2 ** min(attempt - 1, 20), self.longest)
        return wait * (0.8 + 0.4 * spread)


FIRST_RETRY, FIRST_PROBE = Retry(), Backoff()


class Circuit:
    """Closed while connecting works. Open, it lets one probe through at a time, after a wait that grows."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._until = 0.0
        self._probing = asyncio.Lock()
        self.why = ""

    @property
    def closed(self) -> bool:
        """Whether connecting worked the last time."""
        return self._failures == 0

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[None]:
        """Inside it one may connect. While the circuit is open, one at a time, and not before its wait is over."""
        if self._failures == 0:
            yield
            return
        async with self._probing:
            if self._failures and (wait := self._until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(wait)
            yield

    def failed(self, why: str, *, alone: bool, spread: float) -> float:
        """Connecting failed; returns how long that worker shall wait. ``alone``: no other connection is open.

        Where others are open the server is there and only takes no more: the circuit stays closed.
        """
        self.why = why
        if not alone:
            return self._backoff.after(4, spread)
        self._failures += 1
        wait = self._backoff.after(self._failures, spread)
        self._until = asyncio.get_running_loop().time() + wait
        return wait

    def worked(self) -> None:
        """Connecting worked: everybody may."""
        self._failures = 0
        self.why = ""

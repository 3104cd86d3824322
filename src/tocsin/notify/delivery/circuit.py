"""The pace at which one endpoint is sent to: when a message or a server is tried again, and by how many workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
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


FEW = 4
"""Workers that stay."""
WAITING = 0.01
"""Seconds of a message after which its worker has waited rather than worked."""


class Workers:
    """Grows as TCP does: by one for each message that took long, and, once a connection was refused, by one for as many
    messages as there are workers.
    """

    def __init__(self, most: int, spawn: Callable[[], object]) -> None:
        """``spawn`` starts a worker, which says `ended` when it ends."""
        self._most, self._few, self._spawn = most, min(FEW, most), spawn
        self._allowed = self._few
        self._running = 0
        self._credit = 0.0
        self._refused = False

    def fill(self) -> None:
        """Start the workers that may run."""
        while self._running < self._allowed:
            self._running += 1
            self._spawn()

    @property
    def too_many(self) -> bool:
        """Whether a worker has to end."""
        return self._running > self._allowed

    def finished(self, seconds: float, waiting: int) -> None:
        """A message took so long, and so many wait for a worker."""
        if seconds < WAITING or waiting <= self._running or self._allowed >= self._most:
            return
        self._credit += 1 / self._allowed if self._refused else 1
        grown = int(self._credit)
        self._credit -= grown
        self._allowed = min(self._most, self._allowed + grown)
        self.fill()

    def refuse(self) -> None:
        """The other side, which others are connected to, takes no further connection."""
        self._refused = True
        self._allowed = max(1, self._running // 2)

    def idle(self) -> None:
        """A worker had nothing to do for a while."""
        self._allowed = max(self._few, min(self._allowed, self._running - 1))

    def ended(self) -> None:
        """A worker has ended."""
        self._running -= 1

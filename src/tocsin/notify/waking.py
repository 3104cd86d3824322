"""Wakes the loop that notifies, from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CHANGES_SECONDS = 0.5
"""How long events wait that may supersede alerts: all that come meanwhile share one pass."""


class Waker:
    """Nothing happens while no loop is ``open``."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._soon = False  # a pass comes within CHANGES_SECONDS

    def open(self) -> None:
        """The running loop is the one that waits, until ``close``."""
        self._loop, self._event, self._soon = asyncio.get_running_loop(), asyncio.Event(), False

    def close(self) -> None:
        """Nobody waits any more."""
        self._loop = None

    def wake(self, first: Callable[[], object] = lambda: None) -> None:
        """End the wait, after ``first`` has run in the loop. Safe from any thread."""

        def end(_: asyncio.AbstractEventLoop) -> None:
            first()
            self._event.set()

        self._call(end)

    def wake_soon(self) -> None:
        """End the wait within CHANGES_SECONDS. Safe from any thread; a call before that costs nothing."""
        if not self._soon:
            self._soon = True
            self._call(lambda loop: loop.call_later(CHANGES_SECONDS, self._event.set))

    def clear(self) -> None:
        """A pass begins: what comes from now on is for the next one."""
        self._event.clear()
        self._soon = False

    async def wait(self, seconds: float) -> None:
        """Until it is woken, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass

    def _call(self, work: Callable[[asyncio.AbstractEventLoop], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(work, loop)
            except RuntimeError:
                pass  # closed in between: then nobody listens

"""Writes down what attempts came to: those that wait at the same time in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tocsin.errors import StoreError
from tocsin.state.interface import Attempted

log = structlog.get_logger(__name__)


class Marks:
    """Lives on one event loop. ``write`` may raise StoreError: then it is tried again until it works."""

    def __init__(self, write: Callable[[Sequence[Attempted]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Attempted, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, result: Attempted) -> None:
        """Return when ``result`` is durable."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((result, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                results = [result for result, _ in batch]
                wait = 0.1
                while True:
                    try:
                        await self._write(results)
                        break
                    except StoreError as e:
                        # The other side has the messages: nothing but writing that down will do.
                        log.error("sent_mark_not_written", error=str(e), messages=len(results))
                        await asyncio.sleep(wait)
                        wait = min(wait * 2, 10.0)
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._writing = None

"""Looks up facts about intents beside what else a pass does: as soon as they are decided, where they are few.

evaluator   decides ─── writes the state ─┐
facts          └─ the log store is asked ─┼───────────┐
notify                                    └─ stages ──┴─ renders
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import structlog

from tocsin.model.intent import Intent, IntentKind
from tocsin.model.text.causes import one_line
from tocsin.notify.render.facts import FactsReader
from tocsin.notify.values import Facts

log = structlog.get_logger(__name__)

MOST_AHEAD = 20
"""Intents about which is asked before they are written. More are a burst, whose first portion is asked about alone."""


class FactsLookup:
    """One lookup at a time."""

    def __init__(self, reader: FactsReader, seconds: float) -> None:
        """``seconds``: how long a mail waits for it."""
        self._reader, self._seconds = reader, seconds
        self._thread = ThreadPoolExecutor(1, "tocsin-facts")
        self._ahead: tuple[frozenset[str], Future[Facts]] = frozenset(), Future()  # about which intents, and the work
        self._running: asyncio.Task[Facts] | None = None

    def expect(self, intents: Sequence[Intent]) -> None:
        """These are about to be written: begin, unless others are looked up like this. Safe from any thread."""
        about = [
            intent for intent in intents if intent.kind is not IntentKind.SUMMARY
        ]  # what is its own is written yet
        ids, work = self._ahead
        if about and len(about) <= MOST_AHEAD and not (ids and not work.done()):
            with suppress(RuntimeError):  # it is being closed
                self._ahead = frozenset(intent.id for intent in about), self._ask(about)

    async def of(self, intents: Sequence[Intent]) -> Facts:
        """Facts, or none where they take too long or fail: a mail goes out without them rather than late."""
        if not intents or (self._running is not None and not self._running.done()):
            return {}
        self._running = work = asyncio.create_task(self._find(intents))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(work)
        except TimeoutError:
            log.warning("facts_too_slow", seconds=self._seconds, intents=len(intents))
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
        except Exception as e:  # noqa: BLE001 - the mail matters more than what else it could have said
            log.warning("facts_failed", error=one_line(str(e), 200), kind=type(e).__name__)
        return {}

    async def also(self, first: asyncio.Task[Facts], intents: Sequence[Intent]) -> Facts:
        """Those that ``first`` finds, and those of ``intents``."""
        return {**await first, **await self.of(intents)}

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False)

    async def _find(self, intents: Sequence[Intent]) -> Facts:
        ids, ahead = self._ahead
        left = [intent for intent in intents if intent.id not in ids]
        known: Facts = {}
        if len(left) < len(intents):
            self._ahead = frozenset(), ahead  # what is said once more is looked up again
            known = await asyncio.wrap_future(ahead)
        if not left:
            return known
        others: Facts = await asyncio.wrap_future(self._ask(left))
        return {**known, **others}

    def _ask(self, intents: Sequence[Intent]) -> Future[Facts]:
        return self._thread.submit(self._reader.facts, list(intents), self._seconds)

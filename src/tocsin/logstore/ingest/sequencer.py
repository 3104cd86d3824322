"""The one sequencer: it stamps commits, and fences timers off from them.

timer due at D ──fence(D)──►  every later stamp > D; a commit stamped before D that is still being written is waited for
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from tocsin.clock import Clock, from_micros, micros


class Sequencer:
    """Stamps strictly increase: max(previous + 1 µs, clock, fence + 1 µs). Safe from any thread."""

    def __init__(self, clock: Clock, last: datetime) -> None:
        self._clock = clock
        self._last = micros(last)
        self._in_flight: int | None = None
        self._changed = threading.Condition()

    def stamp(self) -> datetime:
        """The IngestedAt of a commit that begins; ``done`` must follow."""
        with self._changed:
            self._last = max(self._last + 1, micros(self._clock.now()))
            self._in_flight = self._last
            return from_micros(self._last)

    def done(self, publish: Callable[[], None] | None = None) -> None:
        """The commit is durable or given up. ``publish`` runs before anybody who waits goes on."""
        with self._changed:
            if publish is not None:
                publish()
            self._in_flight = None
            self._changed.notify_all()

    def fence(self, at: datetime) -> None:
        """Every later stamp is after ``at``; returns when no commit stamped at or before it is being written."""
        us = micros(at)
        with self._changed:
            self._last = max(self._last, us)
            self._changed.wait_for(lambda: self._in_flight is None or self._in_flight > us)

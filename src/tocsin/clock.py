"""The only place that reads the wall clock, so that every decision can be replayed with another one."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(ABC):
    """Notifies UTC time. Every ``datetime`` inside tocsin is timezone-aware UTC, cut to microseconds."""

    @abstractmethod
    def now(self) -> datetime:
        """The current time, UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; for measuring lengths only."""


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock(Clock):
    """A clock that stands until it is moved: for tests, ``rules test`` and ``rules backtest``."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        return (self.now() - EPOCH).total_seconds()

    def advance(self, by: timedelta) -> datetime:
        """Move the clock by ``by`` (it may be negative: a clock set back) and return the new time."""
        with self._lock:
            self._now += by
            return self._now

    def set(self, to: datetime) -> None:
        """Set the clock to ``to``."""
        with self._lock:
            self._now = to


def micros(t: datetime) -> int:
    """Microseconds since the epoch, exactly (no float on the way)."""
    return (t - EPOCH) // timedelta(microseconds=1)


def from_micros(us: int) -> datetime:
    """The UTC time at ``us`` microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=us)

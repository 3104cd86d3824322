"""What has to be done now and then: gauges, signs of life of the consumers, retention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from tocsin.app.engine.allocator import give_back
from tocsin.app.engine.rounds import Rounds
from tocsin.app.run.measuring import Measuring
from tocsin.clock import Clock
from tocsin.logstore.interface import LogStore

log = structlog.get_logger(__name__)

TRIM_ROUNDS = 6
"""Rounds between which memory that is free is given back."""


class Housekeeping(Rounds):
    """What it does in each round stands in ``round``."""

    name, every = "housekeeping", 5.0

    def __init__(
        self,
        store: LogStore,
        measuring: Measuring,
        clock: Clock,
        *,
        consumers: Callable[[], list[str]],
        keep: Mapping[str, timedelta],
        extra: Callable[[], None],
    ) -> None:
        super().__init__()
        self._store, self._measuring, self._clock = store, measuring, clock
        self._consumers, self._keep, self._extra = consumers, keep, extra
        self._retained_on: datetime | None = None
        self._rounds = 0

    def round(self) -> None:
        """One round: signs of life, gauges, and retention once a day."""
        now = self._clock.now()
        self._store.alive(self._consumers(), now)
        self._measuring.measure()
        self._extra()
        self._rounds += 1
        if self._rounds % TRIM_ROUNDS == 0:
            give_back()
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self._retained_on != today:
            deleted = self._store.retain(now, self._keep)
            self._retained_on = today
            self._measuring.rank()
            if any(deleted.values()):
                log.info("retention", **{k: v for k, v in deleted.items() if v})

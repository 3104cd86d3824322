"""What has to be done now and then: gauges, signs of life of the consumers, retention."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from tocsin.app.engine.allocator import give_back
from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.metrics.table import TABLE
from tocsin.state.interface import State

log = structlog.get_logger(__name__)

EVERY = 5.0
"""Seconds between rounds."""
TRIM_ROUNDS = 6
"""Rounds between which memory that is free is given back."""

_ACTIVE = (
    "SELECT Status, count(*) AS n FROM Runs WHERE Status NOT IN ('Completed', 'Failed', 'Canceled') GROUP BY Status"
)
_FRESH = """
SELECT Status, CommitSeq, DurationMs FROM Runs
WHERE CommitSeq > $after AND CommitSeq <= $upto AND Status IN ('Completed', 'Failed', 'Canceled') AND DurationMs IS NOT NULL
"""
_LATENESS = """
SELECT Consumer, bucket, count(*) AS n, avg(late) AS late FROM (
    SELECT Consumer, late, len(list_filter($bounds::DOUBLE[], lambda b: b < late)) AS bucket FROM (
        SELECT Consumer, greatest(0, epoch_us(IngestedAt) - epoch_us(TimeGenerated)) / 1e6 AS late
        FROM RunStatusChanged WHERE CommitSeq > $after AND CommitSeq <= $upto
    )
) GROUP BY Consumer, bucket
"""
_BOUNDS = next(m.buckets for m in TABLE if m.name == "tocsin_intake_lateness_seconds")


class Housekeeping:
    """A thread that looks every few seconds. Whatever fails is logged and tried again in the next round."""

    def __init__(
        self,
        store: LogStore,
        state: State,
        metrics: Metrics,
        clock: Clock,
        *,
        consumers: Callable[[], list[str]],
        keep: Mapping[str, timedelta],
        extra: Callable[[], None],
    ) -> None:
        self._store, self._state, self._metrics, self._clock = store, state, metrics, clock
        self._consumers, self._keep, self._extra = consumers, keep, extra
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._retained_on: datetime | None = None
        self._measured_seq = store.head().seq
        self._rounds = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self.round()
            except StoreError as e:
                log.warning("housekeeping_failed", error=str(e))
            if self._stop.wait(EVERY):
                return

    def round(self) -> None:
        """One round: signs of life, gauges, and retention once a day."""
        now = self._clock.now()
        self._store.alive(self._consumers(), now)
        self.measure()
        self._extra()
        self._rounds += 1
        if self._rounds % TRIM_ROUNDS == 0:
            give_back()
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self._retained_on != today:
            deleted = self._store.retain(now, self._keep)
            self._retained_on = today
            if any(deleted.values()):
                log.info("retention", **{k: v for k, v in deleted.items() if v})

    def measure(self) -> None:
        """Set the gauges that are read off the stores."""
        m = self._metrics
        m.set("tocsin_store_size_bytes", self._store.size())
        active = {r["Status"]: r["n"] for r in self._store.select(_ACTIVE).to_pylist()}
        m.clear("tocsin_runs_active")
        for status, n in active.items():
            m.set("tocsin_runs_active", n, status=status)
        head = self._store.head().seq
        if head > self._measured_seq:
            rows = self._store.select(_FRESH, {"after": self._measured_seq, "upto": head}).to_pylist()
            for row in rows:
                m.observe("tocsin_runs_duration_seconds", row["DurationMs"] / 1000, status=row["Status"])
            span = {"after": self._measured_seq, "upto": head}
            for row in self._store.select(_LATENESS, {**span, "bounds": list(_BOUNDS)}).to_pylist():
                m.observe_many("tocsin_intake_lateness_seconds", row["late"], row["n"], consumer=row["Consumer"])
            self._measured_seq = head
        stats = self._state.outbox_stats()
        m.set("tocsin_notify_outbox_mails", stats.get("ready", 0))
        oldest = stats.get("oldest") or 0
        m.set("tocsin_notify_outbox_age_seconds", max(0.0, self._clock.now().timestamp() - oldest) if oldest else 0.0)

"""Metrics that are read off the stores: active runs, ended ones, waiting in queues, lateness, sizes, the outbox.

``Housekeeping`` does what is due now and then: these gauges, signs of life of the consumers, retention.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from tocsin.app.engine.allocator import give_back
from tocsin.app.engine.rounds import Rounds
from tocsin.clock import Clock
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.metrics.table import ALIVE, TABLE
from tocsin.model.statuses import Reason
from tocsin.state.interface import State

OTHER = "other"
"""Label value of the runs that have no series of their own."""
REMEMBERED = 20_000
"""Runs that are remembered as counted, so that a second event of the same end is not counted."""

_ACTIVE = (
    "SELECT Status, count(*) AS n FROM Runs WHERE Status NOT IN ('Completed', 'Failed', 'Canceled') GROUP BY Status"
)
_MOVED = """
SELECT RunId, Attempt, Status, Reason, DurationMs, StartTime, FirstTime, EndTime, ExperimentName, WorkspaceName, Target,
    ended, started
FROM Runs JOIN (
    SELECT RunId, bool_or(Status IN ('Completed', 'Failed', 'Canceled')) AS ended, bool_or(Status = 'Running') AS started
    FROM RunStatusChanged
    WHERE CommitSeq > $after AND CommitSeq <= $upto
    GROUP BY RunId
) USING (RunId)
"""
_LATENESS = """
SELECT Consumer, bucket, count(*) AS n, avg(late) AS late FROM (
    SELECT Consumer, late, len(list_filter($bounds::DOUBLE[], lambda b: b < late)) AS bucket FROM (
        SELECT Consumer, greatest(0, epoch_us(IngestedAt) - epoch_us(TimeGenerated)) / 1e6 AS late
        FROM RunStatusChanged WHERE CommitSeq > $after AND CommitSeq <= $upto
    )
) GROUP BY Consumer, bucket
"""
_BUSIEST = """
SELECT {columns}, count(*) AS n, max(CASE WHEN Status = 'Completed' THEN coalesce(EndTime, LastTime) END) AS success
FROM Runs GROUP BY ALL ORDER BY n DESC
"""
_BOUNDS = next(m.buckets for m in TABLE if m.name == "tocsin_intake_lateness_seconds")
_OF_RUNS = tuple(m.name for m in TABLE if m.of_runs)
_COLUMNS = {"experiment": "ExperimentName", "workspace": "WorkspaceName", "target": "Target"}
_ENDINGS = {
    "Completed": ("",),
    "Failed": tuple(reason.value for reason in Reason),
    "Canceled": ("", Reason.USER_CANCELED.value),
}
_TERMINAL = ("Completed", "Failed", "Canceled")


class Busiest:
    """Which values of the labels of runs have series of their own: the ones with the most runs, at most ``most``.

    Newcomers take what places are left; all others count as ``other``.
    """

    def __init__(self, names: Sequence[str], most: int) -> None:
        self._names, self._most = tuple(names), most
        self._kept: set[tuple[str, ...]] = set()

    def rank(self, by_runs: Sequence[tuple[str, ...]]) -> set[tuple[str, ...]]:
        """Keep the first ``most`` of ``by_runs``; returns those that have lost their place."""
        before, self._kept = self._kept, set(by_runs[: self._most])
        return before - self._kept

    def keeps(self, values: tuple[str, ...]) -> bool:
        """Whether these values have series of their own, or just got them; others share those of ``other``."""
        if values not in self._kept and len(self._kept) < self._most:
            self._kept.add(values)
        return values in self._kept

    def labels(self, values: tuple[str, ...]) -> dict[str, str]:
        """The labels of a run with these values."""
        kept = values if self.keeps(values) else (OTHER,) * len(self._names)
        return dict(zip(self._names, kept, strict=True))


class Measuring:
    """Sets what is read off the stores. One thread."""

    def __init__(
        self, store: LogStore, state: State, metrics: Metrics, clock: Clock, *, directory: Path, most: int
    ) -> None:
        """``directory`` holds the log store; ``most`` bounds the series of the labels of runs."""
        self._store, self._state, self._metrics, self._clock = store, state, metrics, clock
        self._directory = directory
        self._columns = [_COLUMNS[name] for name in metrics.run_labels]
        self._busiest = Busiest(metrics.run_labels, most)
        self._counted: OrderedDict[tuple[str, int, str], None] = OrderedDict()
        self._success: dict[tuple[str, ...], float] = {}
        self._presented: set[tuple[str, ...]] = set()
        self._upto = store.head().seq
        self.rank()

    def rank(self) -> None:
        """Find the busiest experiments, workspaces, targets, and when each last succeeded."""
        columns = ", ".join(self._columns) or "'' AS everything"
        rows = self._store.select(_BUSIEST.format(columns=columns)).to_pylist()
        for values in self._busiest.rank([self._values(row) for row in rows]):
            self._presented.discard(values)
            gone = dict(zip(self._metrics.run_labels, values, strict=True))
            for name in _OF_RUNS:
                self._metrics.forget(name, **gone)
        for row in rows:
            self._present(self._busiest.labels(self._values(row)))
            if row["success"] is not None:
                self._succeeded(self._values(row), row["success"])

    def measure(self) -> None:
        """Set everything as of now."""
        m = self._metrics
        m.set("tocsin_store_size_bytes", self._store.size())
        disk = os.statvfs(self._directory)
        m.set("tocsin_store_disk_free_bytes", disk.f_bavail * disk.f_frsize)
        active = {r["Status"]: r["n"] for r in self._store.select(_ACTIVE).to_pylist()}
        for status in ALIVE:
            m.set("tocsin_runs_active", active.get(status, 0), status=status)
        head = self._store.head().seq
        if head > self._upto:
            span = {"after": self._upto, "upto": head}
            for row in self._store.select(_MOVED, span).to_pylist():
                self._moved(row)
            for row in self._store.select(_LATENESS, {**span, "bounds": list(_BOUNDS)}).to_pylist():
                m.observe_many("tocsin_intake_lateness_seconds", row["late"], row["n"], consumer=row["Consumer"])
            self._upto = head
        stats = self._state.outbox_stats()
        m.set("tocsin_notify_outbox_mails", stats.get("ready", 0))
        oldest = stats.get("oldest") or 0
        m.set("tocsin_notify_outbox_age_seconds", max(0.0, self._clock.now().timestamp() - oldest) if oldest else 0.0)

    def _moved(self, row: dict[str, Any]) -> None:
        """Count a run that started or ended, once an attempt."""
        m, values = self._metrics, self._values(row)
        self._present(self._busiest.labels(values))
        if row["started"] and row["StartTime"] is not None and self._new(row, "Running"):
            queued = (row["StartTime"] - row["FirstTime"]).total_seconds()
            m.observe("tocsin_runs_queue_seconds", max(0.0, queued), **self._busiest.labels(values))
        if not (row["ended"] and row["Status"] in _TERMINAL and self._new(row, row["Status"])):
            return
        labels = self._busiest.labels(values)
        m.inc("tocsin_runs_ended_total", 1, status=row["Status"], reason=row["Reason"], **labels)
        if row["DurationMs"] is not None:
            m.observe("tocsin_runs_duration_seconds", row["DurationMs"] / 1000, status=row["Status"], **labels)
        if row["Status"] == "Completed":
            self._succeeded(values, row["EndTime"] or self._clock.now())

    def _present(self, labels: dict[str, str]) -> None:
        """The counters of an experiment exist before its first run ends."""
        key = tuple(labels.values())
        if key not in self._presented:
            self._presented.add(key)
            only = {name: [value] for name, value in labels.items()}
            for status, reasons in _ENDINGS.items():
                self._metrics.present("tocsin_runs_ended_total", status=[status], reason=reasons, **only)

    def _new(self, row: dict[str, Any], what: str) -> bool:
        key = (row["RunId"], row["Attempt"], what)
        if key in self._counted:
            return False
        self._counted[key] = None
        if len(self._counted) > REMEMBERED:
            self._counted.popitem(last=False)
        return True

    def _succeeded(self, values: tuple[str, ...], at: datetime) -> None:
        labels = self._busiest.labels(values)
        key = tuple(labels.values())
        self._success[key] = max(self._success.get(key, 0.0), at.replace(tzinfo=UTC).timestamp())
        self._metrics.set("tocsin_runs_last_success_timestamp_seconds", self._success[key], **labels)

    def _values(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(row[column] for column in self._columns)


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

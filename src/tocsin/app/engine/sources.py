"""Runs the connectors: a thread for each Kafka consumer, the web server's endpoint for HTTP ones; says what reported."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from tocsin.app.engine.known_series import present_consumers
from tocsin.app.engine.stalled import SourceState
from tocsin.app.engine.watermarks import Notes, SourceOutages
from tocsin.clock import Clock
from tocsin.config.settings import Settings
from tocsin.intake.connectors.base import Sink
from tocsin.intake.connectors.http import HttpIntake, HttpLimits
from tocsin.intake.consumer import Consumer
from tocsin.intake.watermark import GraceWatermark
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.watermarks import SourceProgress

if TYPE_CHECKING:
    from tocsin.intake.connectors.kafka import KafkaConnector

log = structlog.get_logger(__name__)


class _Running:
    """A connector on its thread."""

    def __init__(self, connector: KafkaConnector, sink: Sink) -> None:
        self.connector = connector
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=connector.run, args=(sink, self._stop.is_set), name=f"kafka-{connector.consumer.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._thread.join(10)


class Sources:
    """All consumers that are to run."""

    def __init__(
        self,
        settings: Settings,
        store: LogStore,
        sink: Sink,
        metrics: Metrics,
        clock: Clock,
        notes: Notes,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """``notes`` keeps when nobody reported. ``moved`` is called, on any thread, when a watermark has moved on."""
        self._moved = moved
        self._notes = notes
        self._source_outages: dict[str, SourceOutages] = {}
        self._noting = threading.Lock()
        self._taken = False
        self._settings, self._store, self._sink, self._metrics, self._clock = settings, store, sink, metrics, clock
        self._instance = store.pair_id[:16]  # a stable name of this project directory for Kafka's static membership
        self._consumers: dict[str, Consumer] = {}
        self._kafka: dict[str, _Running] = {}
        self._graces: dict[str, GraceWatermark] = {}
        self._first_starts: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self.http = HttpIntake(lambda: self._consumers, sink, metrics, clock, self._limits)

    def _limits(self) -> HttpLimits:
        intake = self._settings.intake
        return HttpLimits(max_body=intake.max_body, max_messages=intake.max_messages, commit_wait=intake.queue_wait)

    @property
    def names(self) -> list[str]:
        """Names of the consumers that run."""
        return list(self._consumers)

    @property
    def consumers(self) -> Mapping[str, Consumer]:
        """The consumers that run."""
        return self._consumers

    def take(self, consumers: Mapping[str, Consumer]) -> None:
        """Bring ``consumers`` into force: start new ones, restart changed ones, stop those that are gone."""
        with self._lock:
            now = self._clock.now()
            first = dict(self._first_starts)
            stopped = []
            for name, running in list(self._kafka.items()):
                if name not in consumers or consumers[name].file != running.connector.consumer.file:
                    running.stop()
                    stopped.append(self._kafka.pop(name))
            for running in stopped:
                running.join()
            for name in consumers:
                if name not in self._consumers:
                    info = self._store.start_consumer(name, now)
                    first[name] = info.first_start
                    self._graces[name] = GraceWatermark(now, info.last_alive)
                    self._source_outages[name] = SourceOutages(name, self._notes, info.last_alive)
            present_consumers(self._metrics, consumers)
            self._first_starts = {n: t for n, t in first.items() if n in consumers}
            self._consumers = dict(consumers)
            self._taken = True
            for name, consumer in consumers.items():
                if consumer.connector == "kafka" and name not in self._kafka:
                    self._kafka[name] = _Running(self._connector(consumer), self._sink)
                    log.info("consumer_started", consumer=name)

    def _connector(self, consumer: Consumer) -> KafkaConnector:
        from tocsin.intake.connectors.kafka import (
            KafkaConnector,
        )  # only project directories that use Kafka pay for its client

        kafka = self._settings.kafka
        assert kafka is not None
        return KafkaConnector(
            consumer,
            kafka.client(),
            instance=self._instance,
            metrics=self._metrics,
            clock=self._clock,
            moved=self._moved,
        )

    def stop(self) -> None:
        """Stop all connectors."""
        with self._lock:
            for running in self._kafka.values():
                running.stop()
            for running in self._kafka.values():
                running.join()
            self._kafka.clear()

    def source_progress(self) -> SourceProgress:
        """What is known of the consumers now."""
        consumers = self._consumers
        marks = {}
        for name, consumer in consumers.items():
            if consumer.connector == "kafka":
                running = self._kafka.get(name)
                marks[name] = running.connector.watermark() if running else None
            else:
                marks[name] = self.http.watermark(name, self._graces[name])
        now, outages = self._clock.now(), {}
        with self._noting:
            for name, mark in marks.items():
                self._source_outages[name].note(now, mark)
                outages[name] = self._source_outages[name].spans
        return SourceProgress(
            watermarks=marks,
            outages=outages,
            complete=self._taken,
            first_starts=self._first_starts,
            kinds={name: c.connector for name, c in consumers.items()},
        )

    def expect(self, times: Sequence[datetime]) -> None:
        """For these times watermarks are waited for, or will be: Kafka is asked when they come, not at the next
        second.
        """
        for running in list(self._kafka.values()):
            running.connector.wanted.expect(times)

    def silences(self) -> Mapping[str, SourceState]:
        """How the sources that promised ``event_every`` keep their word."""
        now = self._clock.now()
        found = {}
        for name, consumer in self._consumers.items():
            if consumer.event_every is None:
                continue
            running = self._kafka.get(name)
            watch = running.connector.silence if running else self.http.silence(name)
            found[name] = SourceState(
                silent=watch.silent(now), spoke=watch.spoke, last_event=watch.last_event, every=consumer.event_every
            )
        return found

    def measure(self) -> None:
        """Set the gauges of the consumers."""
        now = self._clock.now()
        for name, mark in self.source_progress().watermarks.items():
            if mark is not None:
                self._metrics.set(
                    "tocsin_intake_watermark_lag_seconds", max(0.0, (now - mark).total_seconds()), consumer=name
                )

    def status(self) -> dict[str, dict[str, object]]:
        """For /readyz: how each consumer is."""
        out: dict[str, dict[str, object]] = {}
        for name, consumer in self._consumers.items():
            running = self._kafka.get(name)
            out[name] = (
                dict(running.connector.status()) if running else {"consumer": name, "connector": consumer.connector}
            )
        return out

    def failures(self) -> list[str]:
        """Consumers that are not connected."""
        return [
            f"{name}: {running.connector.status()['last_error'] or 'not connected yet'}"
            for name, running in self._kafka.items()
            if not running.connector.status()["connected"]
        ]

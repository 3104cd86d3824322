"""Kafka: one thread polls, positions live in the log store, the group only knows them for lag tools.

What may be lost or doubled, and why it is not. A batch carries the range [start, next) of each partition; the store
moves
its position in the same commit, skips what lies below it and refuses what starts beyond it::

    poll ── records 10..14 ──► put(start 10, next 15) ──┐ queue │ ──► commit: rows and position 15 together
    poll ── records 15..19 ──► put(start 15, next 20) ──┘       │
                                                        kill -9 here: the position is 15; the next start seeks there
    commit of 10..14 fails: the batch from 15 would leave a hole, so it is refused (PositionGap); both are read again

On every assignment, and whenever a batch fails, the client is sent back to the stored positions: reading twice is
harmless. The rebalance listener runs on the client's own thread, but only while the poll thread waits inside ``poll``.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from tocsin.clock import Clock
from tocsin.errors import TocsinError
from tocsin.intake.connectors.base import Connector, Sink
from tocsin.intake.connectors.kafka_session import KafkaSource, Session
from tocsin.intake.consumer import Consumer
from tocsin.intake.watermark import StallWatch, Wanted
from tocsin.metrics.registry import Metrics

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts to connect."""
_POLL_SECONDS = 0.1  # seconds between checks of ``stopping``

DEFAULTS: Mapping[str, Any] = {
    "client_id": "tocsin",
    "max_poll_records": 5000,
    "metadata_max_age_ms": 5000,  # how soon a topic recreated or a new partition is noticed
    "reconnect_backoff_max_ms": 1000,
    "bootstrap_timeout_ms": 5000,
    "metrics_enabled": False,  # kafka-python's own, which nobody reads
}
"""Where we differ from kafka-python and tocsin.yaml may differ again."""
FIXED: Mapping[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",  # an offset out of range is ours to decide
    "allow_auto_create_topics": False,
}


def client_settings(consumer: Consumer, home: Mapping[str, Any], instance: str) -> dict[str, Any]:
    """Arguments of KafkaConsumer: tocsin.yaml's section under the consumer file's, under what must be so.

    ``instance`` names this installation and stays the same over restarts: a restarted member takes its partitions back
    at once, where a new one would wait for the session of the killed one to end.
    """
    part = consumer.file.kafka
    assert part is not None
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{instance}-{consumer.name}")[:249]
    return {**DEFAULTS, **home, **part.settings, **FIXED, "group_id": part.group_id, "group_instance_id": name}


class KafkaConnector(Connector):
    """Reads the topics of one consumer."""

    def __init__(
        self,
        consumer: Consumer,
        home: Mapping[str, Any],
        *,
        instance: str,
        metrics: Metrics,
        clock: Clock,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """``home`` are tocsin.yaml's settings as kafka-python takes them (``KafkaSettings.client()``); ``moved`` is
        called when the watermark has moved on.
        """
        self._consumer = consumer
        own = consumer.file.kafka.settings if consumer.file.kafka else {}
        self._source = KafkaSource(
            consumer=consumer,
            settings=client_settings(consumer, home, instance),
            from_end={**home, **own}.get("auto_offset_reset") == "latest",
            reached=self._note_reached,
            silence=StallWatch(consumer.event_every, clock.now()),
        )
        self._metrics = metrics
        self._clock = clock
        self._moved = moved
        self._reached: datetime | None = None
        self._marking = threading.Lock()
        self._session: Session | None = None
        self._error = ""

    @property
    def consumer(self) -> Consumer:
        """Whose topics it reads."""
        return self._consumer

    @property
    def wanted(self) -> Wanted:
        """For which times end offsets are asked for."""
        return self._source.wanted

    def run(self, sink: Sink, stopping: Callable[[], bool]) -> None:
        """See ``Connector.run``. Never raises SourceLost: a broker that is away comes back some day."""
        quiet_library()
        pause = FIRST_PAUSE
        while not stopping():
            session: Session | None = None
            try:
                session = Session(self._source, sink, self._metrics, self._clock, stopping)
                self._session, self._error = session, ""
                session.run()
            except Exception as e:  # the source must be read again, whatever the client stumbled over
                if stopping():
                    return
                self._error = f"{type(e).__name__}: {e}"[:500]
                log.warning(
                    "kafka_interrupted", consumer=self._consumer.name, error=self._error, retry_in_s=round(pause, 2),
                    exc_info=not isinstance(e, TocsinError) and not _is_kafka(e),
                )  # fmt: skip
                if session is not None and session.progressed:
                    pause = FIRST_PAUSE
                wait(pause, stopping)
                pause = min(pause * 2, LONGEST_PAUSE)
            finally:
                self._session = None
                if session is not None:
                    session.close()

    def _note_reached(self, at: datetime | None) -> None:
        """From the session's thread or the writer's, in any order."""
        with self._marking:
            moved = at is not None and (self._reached is None or at > self._reached)
            if moved:
                self._reached = at
        if moved:
            self._moved()

    def watermark(self) -> datetime | None:
        return self._source.silence.hold(self._reached, self._clock.now())

    @property
    def silence(self) -> StallWatch:
        """How the source keeps its word."""
        return self._source.silence

    def status(self) -> Mapping[str, object]:
        session = self._session
        error = self._error or (session.error if session else "")
        return {
            "consumer": self._consumer.name,
            "connected": session is not None and session.connected,
            "partitions": sorted(session.partitions) if session else [],
            "missing_topics": session.missing if session else [],
            "lag": sum(session.lag.values()) if session else None,
            "last_error": error,
        }


def wait(seconds: float, stopping: Callable[[], bool]) -> None:
    """Wait, but no longer than until ``stopping()``."""
    never = threading.Event()
    left = seconds
    while left > 0 and not stopping():
        never.wait(min(_POLL_SECONDS, left))
        left -= _POLL_SECONDS


def quiet_library() -> None:
    """kafka-python reports every failed attempt as an error, many a second; we report the state once."""
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def _is_kafka(e: BaseException) -> bool:
    with suppress(ImportError):
        from kafka.errors import KafkaError

        return isinstance(e, KafkaError)
    return False

"""The contract of connectors. One contract suite in tests runs over each of them.

A connector runs on its own thread (http: inside the web server) and hands batches to the sink, which makes them durable
in order. It never blocks on a bad message: what cannot be read becomes a dead letter of the same batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime

from tocsin.model.event import Batch, Receipt


class Sink(ABC):
    """Where connectors put batches; implemented by the app over the log store."""

    @abstractmethod
    def put(self, batch: Batch, timeout: float | None = None) -> Future[Receipt]:
        """Queue a batch. The future is done when it is durable; batches of one caller commit in the order of ``put``.

        Blocks while the queue is full (back-pressure); raises TimeoutError after ``timeout`` seconds, then nothing was
        taken. The future fails with PositionGap (seek to the stored positions and take again), StoreFull or StoreLost
        (unknown: read the stored positions again once the store is back).
        """

    @abstractmethod
    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        """Stored positions: partition → next offset."""

    @abstractmethod
    def topic_ids(self, cluster: str, topic: str) -> list[str]:
        """Ids under which positions of a topic are stored, newest last."""


class Connector(ABC):
    """A source of batches that polls (kafka, file, poll)."""

    @abstractmethod
    def run(self, sink: Sink, stopping: Callable[[], bool]) -> None:
        """Take and put batches until ``stopping()``; return promptly then (within a second).

        Reconnects by itself with backoff. Raises SourceLost only where going on makes no sense.
        """

    @abstractmethod
    def watermark(self) -> datetime | None:
        """Up to when all that the source had to say is stored; None: unknown."""

    @abstractmethod
    def status(self) -> Mapping[str, object]:
        """For /readyz and ``doctor``: connected, lag, last error."""

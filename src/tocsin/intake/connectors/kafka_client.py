"""kafka-python's client where its public face does not suffice. Its private parts are touched here and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaTimeoutError

from tocsin.clock import Clock
from tocsin.errors import SourceLost

FIRST_PATIENCE, LONGEST_PATIENCE = 5.0, 300.0
"""Seconds without any partition before joining again; other members may have them all, so the group is not pestered."""

LOGIN = "; a broker closes the connection where the login is wrong: are kafka's sasl_ settings right?"
"""kafka-python (3.0.12) takes a refused login for a connection that was lost, and reports that nobody answered in time."""


def open_client(settings: Mapping[str, Any], topics: Sequence[str], stopping: Callable[[], bool]) -> Any:
    """A connected KafkaConsumer that knows ``topics``, made on a thread of its own so that a stop need not wait for a
    broker that is away.

    It asks for the topics before it joins: a leader that joins first may assign nothing and not notice it later.
    Raises KafkaError, SourceLost where it was to stop meanwhile.
    """
    made: Future[Any] = Future()

    def make() -> None:
        client = KafkaConsumer.__new__(KafkaConsumer)
        try:
            client.__init__(**settings)
            for topic in topics:
                client.partitions_for_topic(topic)
        except Exception as e:  # noqa: BLE001 whoever waits gets it
            net = getattr(client, "_client", None)
            if net is not None:  # the constructor leaves its thread behind where it raises
                net.close()
            logs_in = settings.get("sasl_mechanism") and isinstance(e, KafkaTimeoutError)
            made.set_exception(SourceLost(f"{e}{LOGIN}") if logs_in else e)
            return
        if not made.set_running_or_notify_cancel():
            client.close(timeout_ms=0)
            return
        made.set_result(client)

    threading.Thread(target=make, name="kafka-connect", daemon=True).start()
    while True:
        try:
            return made.result(timeout=0.1)
        except TimeoutError:
            if stopping() and made.cancel():
                raise SourceLost("stopped while connecting") from None


def open_clients(settings: Mapping[str, Any], topics: Sequence[str], stopping: Callable[[], bool]) -> tuple[Any, Any]:
    """A client that reads, and one in no group that asks for offsets on a connection of its own. Raises as
    ``open_client``.

    A broker answers what comes on one connection in turn, and a fetch that finds nothing takes half a second: behind it
    the answer came after 440 ms on a quiet topic, 90 ms under ten batches a second, and 2 ms on another connection.
    """
    reader = open_client(settings, topics, stopping)
    try:
        return reader, open_client({**settings, "group_id": None, "group_instance_id": None}, topics, stopping)
    except BaseException:
        reader.close(timeout_ms=0)
        raise


class Broker:
    """What a client knows of its cluster and group."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def cluster(self) -> str:
        """The cluster's id, '' where the broker gives none."""
        return str(self._client._cluster.cluster_id or "")

    def topic_id(self, topic: str) -> str | None:
        """The broker's id of the topic; the name where the broker gives none; None while the topic is not there."""
        if self._client._cluster.partitions_for_topic(topic) is None:
            return None
        found = self._client._cluster.topic_id(topic)
        return str(found) if found is not None and found.int else topic

    def partitions(self, topics: Iterable[str]) -> dict[str, frozenset[int]]:
        """Partitions of those of ``topics`` that exist."""
        found = {topic: self._client._cluster.partitions_for_topic(topic) for topic in topics}
        return {topic: frozenset(numbers) for topic, numbers in found.items() if numbers}

    def finish_joining(self) -> None:
        """To be called before each poll.

        A leader that rejoins because partitions came, and whose poll ends between its assignment and the group's
        answer, believes itself joined at the next poll (kafka-python 3.0.12): its partitions would stay revoked for
        ever.
        """
        if self._client._coordinator.rejoining:
            self._client._coordinator.request_rejoin()

    def join_again(self) -> None:
        """Make the next poll join the group again."""
        self._client._coordinator.request_rejoin()


class GroupWatch:
    """Says when to join again because partitions came that the last assignment could not know of.

    The client does so by itself, but not after a static member came back, nor where it assigned before it knew a topic.
    """

    def __init__(self, broker: Broker, topics: Sequence[str], clock: Clock) -> None:
        self._broker, self._topics, self._clock = broker, topics, clock
        self._seen: dict[str, frozenset[int]] | None = None  # at the last assignment; None before the first
        self._idle_since: float | None = None  # since when partitions exist and none is ours; monotonic
        self._patience = FIRST_PATIENCE

    def assigned(self) -> None:
        """An assignment came."""
        self._seen = self._broker.partitions(self._topics)

    def why_join_again(self, *, assigned: bool) -> str:
        """The reason to join again now, '' for none. ``assigned``: whether we have any partition."""
        existing, now = self._broker.partitions(self._topics), self._clock.monotonic()
        if self._seen is None or not existing:
            return ""
        grown = any(not numbers <= self._seen.get(topic, frozenset()) for topic, numbers in existing.items())
        if assigned:
            self._idle_since, self._patience = None, FIRST_PATIENCE
        elif self._idle_since is None:
            self._idle_since = now
        idle = self._idle_since is not None and now - self._idle_since > self._patience
        if idle:
            self._idle_since, self._patience = now, min(self._patience * 4, LONGEST_PATIENCE)
        self._seen = existing
        return "partitions came" if grown else "none assigned" if idle else ""

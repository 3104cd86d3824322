"""Kafka as it really behaves: rebalances, brokers that go away, topics recreated, a consumer killed."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Gone, Tocsin
from tests.oracle.events import Event, Histories
from tests.oracle.oracle import differences, occurrences, status_is, stored
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import SmtpServer


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return kafka.new_topic(partitions=4)


@pytest.fixture
def tocsin(make_tocsin: MakeTocsin, smtp: SmtpServer, kafka: KafkaServer, topic: str) -> Iterator[Tocsin]:
    yield make_tocsin(smtp=smtp, kafka=kafka, topic=topic).start()


def pieces(count: int) -> list[list[Event]]:
    """Histories that happen from now on, in `count` pieces."""
    events = Histories(count, datetime.now(UTC)).runs(40 * count)
    size = -(-len(events) // count)
    return [events[n : n + size] for n in range(0, len(events), size)]


def produce(kafka: KafkaServer, topic: str, events: list[Event]) -> None:
    kafka.produce(topic, [event.bytes() for event in events])


def check(tocsin: Tocsin, sent: list[Event], within: float = 60) -> None:
    """All of it is stored once and notified once."""
    rows = len(stored(sent))

    def all_stored() -> bool:
        found = tocsin.count("RunStatusChanged")
        assert found >= rows, f"{found} of {rows} rows; {tocsin.get('/readyz')}\n{tocsin.said()}"
        return True

    eventually(all_stored, within)
    tocsin.idle()
    assert rows == tocsin.count("RunStatusChanged")
    assert [] == differences(occurrences(sent, status_is("Failed", final=True)), tocsin.notified())


def test_a_foreign_consumer_joins_commits_nothing_and_leaves(tocsin: Tocsin, kafka: KafkaServer, topic: str) -> None:
    """It takes partitions away, reads records and forgets them: every row is there once."""
    first, second, third = pieces(3)
    produce(kafka, topic, first)
    check(tocsin, first)
    with closing(kafka.consumer(topic, group=f"tocsin-{topic}")) as foreign:
        read = 0

        def took_over() -> bool:
            nonlocal read
            read += sum(len(batch) for batch in foreign.poll(timeout_ms=200).values())
            return bool(foreign.assignment())

        eventually(took_over, within=30)
        produce(kafka, topic, second)
        eventually(lambda: took_over() and read > 0, within=30)
    produce(kafka, topic, third)
    check(tocsin, [*first, *second, *third])


def test_a_broker_that_stops_and_starts(tocsin: Tocsin, kafka: KafkaServer, topic: str) -> None:
    """HTTP goes on meanwhile; Kafka is read on when it is back; nothing is missed or doubled."""
    first, second, third = pieces(3)
    produce(kafka, topic, first)
    check(tocsin, first)
    kafka.stop()
    tocsin.post(second)
    check(tocsin, [*first, *second])
    kafka.start()
    produce(kafka, topic, third)
    check(tocsin, [*first, *second, *third], within=40)


def test_a_topic_recreated(tocsin: Tocsin, kafka: KafkaServer, topic: str) -> None:
    """Another topic of that name is read from its start, and counted."""
    first, second = pieces(2)
    produce(kafka, topic, first)
    check(tocsin, first)
    kafka.delete_topic(topic)
    kafka.new_topic(partitions=4, name=topic)
    produce(kafka, topic, second)
    check(tocsin, [*first, *second], within=60)
    resets = [value for name, value in tocsin.metrics().items() if name.startswith("tocsin_intake_kafka_topic_resets")]
    assert sum(resets) >= 1


def test_killed_and_consuming_again_within_10_s(tocsin: Tocsin, kafka: KafkaServer, topic: str) -> None:
    """The group does not make the successor wait until the dead member's session has timed out."""
    first, second = pieces(2)
    produce(kafka, topic, first)
    check(tocsin, first)
    tocsin.kill()
    killed = time.monotonic()
    tocsin.begin()
    produce(kafka, topic, second)
    rows = len(stored([*first, *second]))

    def all_stored() -> bool:
        try:
            return tocsin.count("RunStatusChanged") >= rows
        except (Gone, AssertionError):
            return False

    eventually(all_stored, within=10)
    print(f"consuming again after {time.monotonic() - killed:.2f} s")
    check(tocsin, [*first, *second])

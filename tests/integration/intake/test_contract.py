"""The contract of connectors, over the real things."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.integration.intake.behind import Ask, Behind
from tests.integration.intake.contract import ConnectorContract, Deliver
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tocsin.clock import SystemClock
from tocsin.intake.connectors.kafka import KafkaConnector
from tocsin.intake.consumer import compile_consumer
from tocsin.intake.files import ConsumerFile, KafkaPart


class TestHttp(ConnectorContract):
    """A sender posts each message until it is taken."""

    @pytest.fixture
    def deliver(self, ask: Ask) -> Deliver:
        def post(messages: Sequence[bytes]) -> None:
            for message in messages:
                eventually(lambda message=message: ask("POST", "events", content=message).status_code == 202)  # type: ignore[misc]

        return post


class TestKafka(ConnectorContract):
    """A producer appends each message once; the connector reads."""

    @pytest.fixture
    def deliver(self, kafka: KafkaServer, behind: Behind) -> Iterator[Deliver]:
        topic = kafka.new_topic(2)
        file = ConsumerFile(connector="kafka", kafka=KafkaPart(topics=(topic,), group_id=topic), canonical=True)
        connector = KafkaConnector(
            compile_consumer("c", file),
            {"bootstrap_servers": [kafka.bootstrap]},
            instance="contract",
            metrics=behind.metrics,
            clock=SystemClock(),
        )
        stop = threading.Event()
        thread = threading.Thread(target=connector.run, args=(behind.writer, stop.is_set))
        thread.start()

        def produce(messages: Sequence[bytes]) -> None:
            kafka.produce(topic, messages)

        yield produce
        stop.set()
        thread.join(10)
        assert not thread.is_alive()

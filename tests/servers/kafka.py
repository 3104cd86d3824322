"""A real Apache Kafka broker: one KRaft node on loopback that can be stopped, killed and started again with its data."""

import base64
import itertools
import os
import secrets
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetSpec, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError

from tests.servers.eventually import eventually
from tests.servers.kafka_jars import classes_archive, fetch_jars, java
from tests.servers.process import end, free_port, spawn, tail

# Fast to start; a benchmark that wants the broker's full speed passes FULL_SPEED.
QUICK_START = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
FULL_SPEED = ("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC")

SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=8388608
log.segment.delete.delay.ms=1000
"""

LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.life.name = kafka.server.KafkaRaftServer
logger.life.level = info
"""

STARTED = "Kafka Server started"


def keep_classes() -> None:
    """Make the archive of what a broker loads, unless it is there: a later start takes half the CPU time."""
    there = classes_archive()
    if there.exists():
        return
    with tempfile.TemporaryDirectory(dir=there.parent, prefix="archiving-") as scratch:
        fresh = Path(scratch, "classes.jsa")
        recording = (f"-XX:ArchiveClassesAtExit={fresh}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
        KafkaServer(Path(scratch), (*QUICK_START, *recording)).start().stop()
        if fresh.exists():  # this Java may not be able to
            os.replace(fresh, there)


class KafkaServer:
    """One broker. Its ports and data stay the same over stop, kill and start.

    The helpers below wait for the broker's answer, so what they did is there when they return.
    """

    def __init__(self, directory: Path, jvm: Sequence[str] = QUICK_START) -> None:
        """Format a storage under `directory`. Raises ServerMissing; starts nothing yet."""
        self._java = java()
        self._jars = fetch_jars()
        self._jvm = list(jvm)
        self._directory = directory
        self._log = directory / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._admin_client: Any = None
        self._producer_client: Any = None
        self._names = itertools.count(1)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log4j2.properties").write_text(LOGGING)
        (directory / "server.properties").write_text(
            SETTINGS.format(port=self.port, controller=free_port(), data=directory / "data")
        )
        formatted = subprocess.run(
            self._command("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", self._settings),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if formatted.returncode != 0:
            raise RuntimeError(f"could not format Kafka's storage:\n{formatted.stdout}{formatted.stderr}")

    @property
    def _settings(self) -> str:
        return str(self._directory / "server.properties")

    def _command(self, main: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._directory / 'log4j2.properties'}"
        loaded = classes_archive()
        if "-XX:TieredStopAtLevel=1" in self._jvm and loaded.exists():  # half of a start is reading classes
            logging_of_java = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")  # one that does not fit is left alone
            jvm = [*self._jvm, f"-XX:SharedArchiveFile={loaded}", *logging_of_java]
        else:
            jvm = self._jvm
        return [self._java, *jvm, logging, "-cp", f"{self._jars}/*", main, *arguments]

    # --- life ---

    @property
    def pid(self) -> int:
        """The broker's process. Raises RuntimeError while it is stopped."""
        if self._process is None:
            raise RuntimeError("the broker is stopped")
        return self._process.pid

    def start(self, within: float = 60) -> Self:
        """Start the broker and wait until it serves; nothing happens where it runs already."""
        if self._process is not None:
            return self
        past = self._log.stat().st_size if self._log.exists() else 0
        process = spawn(self._command("kafka.Kafka", self._settings), self._log, self._directory)

        def started() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"Kafka ended with {process.returncode}:\n{tail(self._log)}")
            with self._log.open("rb") as log:
                log.seek(past)
                return STARTED.encode() in log.read()

        try:
            eventually(started, within, every=0.05)
        except BaseException:
            end(process, signal.SIGKILL)
            raise
        self._process = process
        return self

    def stop(self) -> None:
        """Shut the broker down in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        for client in (self._admin_client, self._producer_client):
            if client is not None:
                client.close()
        self._admin_client = self._producer_client = None
        if self._process is not None:
            end(self._process, how)
        self._process = None

    # --- topics ---

    @property
    def admin(self) -> Any:
        """A KafkaAdminClient of this broker, made when first asked for."""
        if self._admin_client is None:
            self._admin_client = KafkaAdminClient(bootstrap_servers=[self.bootstrap], client_id="tests-admin")
        return self._admin_client

    def new_topic(self, partitions: int = 1, *, name: str | None = None, **config: str) -> str:
        """Create a topic and return its name, unique unless given. `config`: cleanup_policy="compact" and the like."""
        topic = name or f"t{next(self._names)}-{secrets.token_hex(3)}"
        configs = {key.replace("_", "."): value for key, value in config.items()}
        wanted = {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
        self.admin.create_topics(wanted, wait_for_metadata=True)
        return topic

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until its name is free again."""
        self.admin.delete_topics([topic])
        eventually(lambda: topic not in self.admin.list_topics())

    def topic_id(self, topic: str) -> uuid.UUID:
        """Return the id the broker gave the topic. Raises UnknownTopicOrPartitionError."""
        found = self.admin.describe_topics([topic])[0]
        if found["error_code"] != 0:
            raise UnknownTopicOrPartitionError(topic)
        return uuid.UUID(str(found["topic_id"]))

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the topic's partitions in order."""
        found = self.admin.describe_topics([topic])[0]["partitions"]
        return [TopicPartition(topic, number) for number in sorted(p["partition_index"] for p in found)]

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset that its next record will get."""
        return self._offsets(topic, OffsetSpec.LATEST)

    def start_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the first offset that is still there."""
        return self._offsets(topic, OffsetSpec.EARLIEST)

    def _offsets(self, topic: str, which: OffsetSpec) -> dict[int, int]:
        found = self.admin.list_partition_offsets(dict.fromkeys(self.partitions(topic), which))
        return {partition.partition: at.offset for partition, at in sorted(found.items())}

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Drop the records below an offset in each partition, as retention would."""
        self.admin.delete_records({TopicPartition(topic, number): offset for number, offset in before.items()})

    # --- records ---

    def produce(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> list[tuple[int, int]]:
        """Append one record a value, in order, and return (partition, offset) of each once the broker has them.

        None is a tombstone. Without key and partition kafka-python spreads them as it likes.
        """
        if self._producer_client is None:
            self._producer_client = KafkaProducer(bootstrap_servers=[self.bootstrap], acks="all", linger_ms=2)
        sent = [
            self._producer_client.send(
                topic, value, key=key, partition=partition, headers=list(headers), timestamp_ms=timestamp_ms
            )
            for value in values
        ]
        self._producer_client.flush(timeout=30)
        stored = [future.get(timeout=30) for future in sent]
        return [(record.partition, record.offset) for record in stored]

    def produce_in_transaction(self, topic: str, values: Iterable[bytes], *, commit: bool, partition: int = 0) -> None:
        """Append values in one transaction, committed or aborted: its end takes an offset that no reader sees."""
        settings = {"bootstrap_servers": [self.bootstrap], "transactional_id": f"tests-{secrets.token_hex(4)}"}
        with closing(KafkaProducer(**settings)) as producer:
            producer.init_transactions()
            producer.begin_transaction()
            for value in values:
                producer.send(topic, value, partition=partition)
            producer.flush(timeout=30)
            if commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()

    def consumer(self, *topics: str, group: str | None = None, **settings: Any) -> Any:
        """Return a foreign KafkaConsumer from the start of `topics`; the caller closes it."""
        defaults = {
            "bootstrap_servers": [self.bootstrap],
            "group_id": group,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
        }
        return KafkaConsumer(*topics, **(defaults | settings))

    def consume(self, topic: str, count: int, within: float = 10) -> list[Any]:
        """Return the first `count` records of a topic, by partition and offset. Raises AssertionError after `within`
        s.
        """
        records: list[Any] = []
        deadline = time.monotonic() + within
        with closing(self.consumer()) as consumer:
            consumer.assign(self.partitions(topic))
            consumer.seek_to_beginning()
            while len(records) < count:
                assert time.monotonic() < deadline, f"{len(records)} of {count} records of {topic} within {within:g} s"
                for batch in consumer.poll(timeout_ms=200).values():
                    records += batch
        return sorted(records, key=lambda record: (record.partition, record.offset))[:count]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the offsets that a consumer group has committed for a topic."""
        found = self.admin.list_group_offsets({group: self.partitions(topic)})[group]
        return {partition.partition: at.offset for partition, at in sorted(found.items()) if at.offset >= 0}

"""Kafka: every record once, whatever happens to the broker, the group, the topic or us."""

import gc
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.structs import OffsetAndMetadata

from tests.integration.intake.behind import ROOT, Behind
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tocsin.clock import SystemClock
from tocsin.errors import PositionGap, StoreFull, StoreLost
from tocsin.intake.connectors.kafka import KafkaConnector
from tocsin.intake.consumer import compile_consumer
from tocsin.intake.files import ConsumerFile
from tocsin.model.event import Batch

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def event(n: int, **more: Any) -> bytes:
    data = {"RunId": f"r{n}", "Status": "Running"}
    return json.dumps({"type": "tocsin.run.status", "id": f"e{n}", "source": "s", "data": data, **more}).encode()


def events(numbers: Iterable[int]) -> list[bytes]:
    return [event(n, time="2026-11-23T12:00:00Z") for n in numbers]


class Running:
    """A connector on its thread."""

    def __init__(self, kafka: KafkaServer, behind: Behind, topics: Sequence[str], **keys: Any) -> None:
        part = {"topics": topics, "group_id": f"g-{topics[0]}", **keys.pop("part", {})}
        settings = {"bootstrap_servers": [kafka.bootstrap], "heartbeat_interval_ms": 300, **keys.pop("settings", {})}
        file = {
            "connector": "kafka",
            "kafka": part,
            "canonical": True,
            **keys,
        }
        consumer = compile_consumer("c", ConsumerFile(**file))
        self.group = f"g-{topics[0]}"
        self._stop = threading.Event()
        self.connector = KafkaConnector(
            consumer, settings, instance="tests", metrics=behind.metrics, clock=SystemClock()
        )
        self._thread = threading.Thread(target=self.connector.run, args=(behind.writer, self._stop.is_set))
        self._thread.start()

    def stop(self, within: float = 2) -> None:
        """A connector returns promptly."""
        self._stop.set()
        self._thread.join(within)
        assert not self._thread.is_alive(), "the connector did not stop"


Start = Callable[..., Running]


@pytest.fixture
def start(kafka: KafkaServer, behind: Behind) -> Iterator[Start]:
    """Start connectors; what still runs at the end is stopped."""
    made: list[Running] = []

    def begin(*topics: str, **keys: Any) -> Running:
        made.append(Running(kafka, behind, topics, **keys))
        return made[-1]

    yield begin
    for running in made:
        running.stop(10)
    gc.collect()  # kafka-python leaves the sockets of failed attempts to it


def stored(behind: Behind) -> list[str]:
    return sorted(row["EventId"] for row in behind.rows())


def names(numbers: Iterable[int]) -> list[str]:
    return sorted(f"e{n}" for n in numbers)


def positions(kafka: KafkaServer, behind: Behind, topic: str) -> dict[int, int]:
    return dict(behind.store.positions(kafka.cluster_id, str(kafka.topic_id(topic))))


def test_records_become_rows_and_the_group_receives_of_it(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """From the earliest offset, with CreateTime where the payload has no time; watermark, lag and group follow."""
    topic = kafka.new_topic(3)
    kafka.produce(topic, events(range(500)))
    kafka.produce(topic, [event(500), b"nonsense", None], key=b"k", timestamp_ms=1_700_000_000_123)
    began = SystemClock().now()
    running = start(topic)
    eventually(lambda: behind.count() == 501)
    assert names(range(501)) == stored(behind)
    late = next(row for row in behind.rows() if row["EventId"] == "e500")
    assert (datetime(2023, 11, 14, 22, 13, 20, 123000), True) == (late["TimeGenerated"], late["TimeGiven"])
    (letter,) = behind.rows("DeadLetters", "Time")
    assert ("not_json", topic, "nonsense") == (letter["Reason"], letter["Topic"], letter["Payload"])
    eventually(lambda: behind.metric("tocsin_intake_messages_total", consumer="c", outcome="filtered") >= 1)
    eventually(lambda: kafka.committed(running.group, topic) == kafka.end_offsets(topic))
    assert kafka.end_offsets(topic) == positions(kafka, behind, topic)
    eventually(lambda: (running.connector.watermark() or began) > began)
    eventually(lambda: running.connector.status()["lag"] == 0)
    assert (True, "") == tuple(running.connector.status()[k] for k in ("connected", "last_error"))


def test_batches_of_every_codec_are_read(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """Producers compress as they like: each codec that Kafka knows, batches of more than 1 MiB too."""
    topic = kafka.new_topic(1, max_message_bytes="8000000")
    codecs = (None, "gzip", "snappy", "lz4", "zstd")
    for n, codec in enumerate(codecs):
        more = {"batch_size": 4 << 20, "max_request_size": 8 << 20, "linger_ms": 200}
        with closing(KafkaProducer(bootstrap_servers=[kafka.bootstrap], compression_type=codec, **more)) as producer:
            for number in range(20):
                producer.send(topic, event(20 * n + number, time="2026-11-23T12:00:00Z", more="x" * 100_000))
            producer.flush(timeout=30)
    start(topic)
    eventually(lambda: behind.count() == 20 * len(codecs))
    assert names(range(20 * len(codecs))) == stored(behind)


def test_a_restart_goes_on_where_the_store_is(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """Not where the group is: a group that knows nothing, or too much, changes nothing."""
    topic = kafka.new_topic(2)
    kafka.produce(topic, events(range(100)))
    running = start(topic)
    eventually(lambda: behind.count() == 100)
    running.stop()
    kafka.produce(topic, events(range(100, 150)))
    wrong = OffsetAndMetadata(9999, "", -1)
    eventually(lambda: kafka.admin.alter_group_offsets(running.group, dict.fromkeys(kafka.partitions(topic), wrong)))
    again = start(topic)
    eventually(lambda: behind.count() == 150)
    assert names(range(150)) == stored(behind)
    assert 0 == behind.metric("tocsin_intake_messages_total", consumer="c", outcome="skipped")
    again.stop()


def test_positions_pass_control_records_and_compacted_gaps(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """What no reader sees takes offsets; the stored position and the watermark go past it."""
    topic = kafka.new_topic(1)
    running = start(topic)
    kafka.produce_in_transaction(topic, events([1]), commit=True)
    kafka.produce_in_transaction(topic, events([2]), commit=False)
    eventually(lambda: positions(kafka, behind, topic) == {0: 4})
    assert {0: 4} == kafka.end_offsets(topic)
    before = SystemClock().now()
    eventually(lambda: (running.connector.watermark() or before) > before)


def test_aborted_records_are_not_read_where_the_file_says_so(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """A consumer file's settings reach the client."""
    topic = kafka.new_topic(1)
    kafka.produce_in_transaction(topic, events([1]), commit=False)
    kafka.produce_in_transaction(topic, events([2]), commit=True)
    start(topic, part={"settings": {"isolation_level": "read_committed"}})
    eventually(lambda: positions(kafka, behind, topic) == {0: 4})
    assert ["e2"] == stored(behind)


def test_a_foreign_consumer_joins_commits_nothing_and_leaves(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """Every row is there once; its partitions hold the watermark while another has them."""
    topic = kafka.new_topic(4)
    running = start(topic)
    kafka.produce(topic, events(range(200)))
    eventually(lambda: behind.count() == 200)
    with closing(kafka.consumer(topic, group=running.group, heartbeat_interval_ms=300)) as foreign:
        eventually(lambda: foreign.poll(timeout_ms=100) is not None and 0 < len(foreign.assignment()) < 4, 30)
        kafka.produce(topic, events(range(200, 400)))
        taken = eventually(lambda: sum(map(len, foreign.poll(timeout_ms=200).values())))
        assert taken > 0
        held = SystemClock().now()
    eventually(lambda: behind.count() == 400, 30)
    assert names(range(400)) == stored(behind)
    eventually(lambda: (running.connector.watermark() or held) > held)


def test_a_broker_that_stops_and_starts(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """The watermark stands still meanwhile; nothing is lost or doubled."""
    topic = kafka.new_topic(2)
    running = start(topic)
    kafka.produce(topic, events(range(50)))
    eventually(lambda: behind.count() == 50)
    kafka.stop()
    eventually(lambda: not running.connector.status()["connected"])
    stood = running.connector.watermark()
    assert running.connector.status()["last_error"]
    kafka.start()
    kafka.produce(topic, events(range(50, 100)))
    eventually(lambda: behind.count() == 100, 30)
    assert names(range(100)) == stored(behind)
    eventually(lambda: (running.connector.watermark() or SystemClock().now()) != stood)


def test_a_start_without_a_broker_waits_for_it_and_stops_promptly(
    kafka: KafkaServer, behind: Behind, start: Start
) -> None:
    """Nobody has to restart us when Kafka comes."""
    topic = kafka.new_topic(1)
    kafka.produce(topic, events([1]))
    kafka.stop()
    gives_up = start(topic)
    eventually(lambda: gives_up.connector.status()["last_error"])
    gives_up.stop()
    start(topic)
    kafka.start()
    eventually(lambda: behind.count() == 1, 30)


@pytest.mark.parametrize("more", [5, 60])
def test_a_topic_recreated_is_read_from_its_start(kafka: KafkaServer, behind: Behind, start: Start, more: int) -> None:
    """While we run, whether it grew past our position meanwhile or not; logged and counted."""
    topic = kafka.new_topic(1)
    running = start(topic)
    kafka.produce(topic, events(range(30)))
    eventually(lambda: positions(kafka, behind, topic) == {0: 30})
    kafka.delete_topic(topic)
    kafka.new_topic(1, name=topic)
    kafka.produce(topic, events(range(100, 100 + more)))
    eventually(lambda: behind.count() == 30 + more, 30)
    assert names([*range(30), *range(100, 100 + more)]) == stored(behind)
    assert {0: more} == eventually(lambda: positions(kafka, behind, topic))
    assert 1 == behind.metric("tocsin_intake_kafka_topic_resets_total", consumer="c")
    running.stop()


def test_a_topic_recreated_while_we_were_away(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """Its new id has no position yet."""
    topic = kafka.new_topic(1)
    running = start(topic)
    kafka.produce(topic, events(range(5)))
    eventually(lambda: behind.count() == 5)
    running.stop()
    kafka.delete_topic(topic)
    kafka.new_topic(1, name=topic)
    kafka.produce(topic, events(range(10, 13)))
    start(topic)
    eventually(lambda: behind.count() == 8)
    assert 1 == behind.metric("tocsin_intake_kafka_topic_resets_total", consumer="c")


def test_a_topic_that_comes_later(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """It is waited for, and said to be missing."""
    topic = kafka.new_topic(1)
    kafka.delete_topic(topic)
    running = start(topic)
    eventually(lambda: running.connector.status()["missing_topics"] == [topic])
    assert None is running.connector.watermark()
    kafka.new_topic(1, name=topic)
    kafka.produce(topic, events([1]))
    eventually(lambda: behind.count() == 1, 30)
    eventually(lambda: running.connector.status()["missing_topics"] == [])


def test_partitions_that_come_later_are_read(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """Also by a member that came back, of which the library thinks that another leads."""
    topic = kafka.new_topic(1)
    start(topic).stop()
    start(topic)
    kafka.produce(topic, events([1]))
    eventually(lambda: behind.count() == 1)
    kafka.admin.create_partitions({topic: 3})
    eventually(lambda: len(kafka.partitions(topic)) == 3)
    with closing(KafkaProducer(bootstrap_servers=[kafka.bootstrap])) as producer:
        for number in (1, 2):
            producer.send(topic, *events([number * 10]), partition=number).get(10)
    eventually(lambda: behind.count() == 3, 30)


def test_records_lost_to_retention_are_a_gap(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """Counted; reading goes on with what is left."""
    topic = kafka.new_topic(1)
    running = start(topic)
    kafka.produce(topic, events(range(5)))
    eventually(lambda: behind.count() == 5)
    running.stop()
    kafka.produce(topic, events(range(5, 20)))
    kafka.delete_records(topic, {0: 12})
    start(topic)
    eventually(lambda: behind.count() == 13)
    assert names([*range(5), *range(12, 20)]) == stored(behind)
    assert 7 == behind.metric("tocsin_intake_kafka_gap_records_total", consumer="c")


def test_a_first_start_on_what_retention_left(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """No gap: nothing was promised yet."""
    topic = kafka.new_topic(1)
    kafka.produce(topic, events(range(20)))
    kafka.delete_records(topic, {0: 12})
    start(topic)
    eventually(lambda: behind.count() == 8)
    assert 0 == behind.metric("tocsin_intake_kafka_gap_records_total", consumer="c")


def test_a_mapped_consumer_reads_kafka(kafka: KafkaServer, behind: Behind, start: Start) -> None:
    """The same reading as by HTTP, with topic, partition and offset on dead letters."""
    topic = kafka.new_topic(1)
    kafka.produce(topic, [b'{"records": [{"run": "r1", "state": "OK"}, {"state": "OK"}]}', b"{"])
    start(topic, canonical=False, format="records[]", mapping={"RunId": "run", "Status": "state"},
          status_map={"ok": "Completed"})  # fmt: skip
    eventually(lambda: behind.count() == 1)
    (row,) = behind.rows()
    assert ("r1", "Completed", "OK", True) == (row["RunId"], row["Status"], row["OriginalStatus"], row["TimeGiven"])
    letters = [(d["Reason"], d["Topic"], d["Partition"], d["Offset"]) for d in behind.rows("DeadLetters", '"Offset"')]
    assert [("no_run_id", topic, 0, 0), ("not_json", topic, 0, 1)] == letters


@pytest.mark.parametrize("error", [PositionGap("a hole"), StoreFull("below the reserve"), StoreLost("gone")])
def test_a_refused_batch_is_read_again(kafka: KafkaServer, behind: Behind, start: Start, error: Exception) -> None:
    """From the stored positions, without leaving the group."""
    topic = kafka.new_topic(2)
    append, left = behind.store.append, [3]

    def failing(batches: Sequence[Batch]) -> Any:
        if left[0] and any(b.messages for b in batches):
            left[0] -= 1
            raise error
        return append(batches)

    behind.store.append = failing  # type: ignore[method-assign]
    kafka.produce(topic, events(range(100)))
    running = start(topic)
    eventually(lambda: left[0] == 0 and not behind.writer.failures and behind.count() == 100, 30)
    assert (names(range(100)), 0) == (stored(behind), left[0])
    eventually(lambda: running.connector.status()["last_error"] == "")


def test_a_full_queue_holds_the_reading_not_the_membership(
    kafka: KafkaServer, behind: Behind, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back-pressure: a store that is slow for longer than the session lasts costs no partition."""
    topic = kafka.new_topic(1)
    append, gate = behind.store.append, threading.Event()

    def slow(batches: Sequence[Batch]) -> Any:
        gate.wait(60)
        return append(batches)

    behind.store.append = slow  # type: ignore[method-assign]
    monkeypatch.setattr("tocsin.app.engine.writer.MAX_QUEUED", 10)
    for chunk in range(5):
        kafka.produce(topic, events(range(chunk * 20, chunk * 20 + 20)))
    running = start(topic, settings={"session_timeout_ms": 1500, "max_poll_records": 20})
    eventually(lambda: running.connector.status()["partitions"])
    before = SystemClock().monotonic()
    eventually(lambda: SystemClock().monotonic() - before > 4)
    (member,) = kafka.admin.describe_groups([running.group])[running.group]["members"]
    assert "tests-c" == member["group_instance_id"]
    gate.set()
    eventually(lambda: behind.count() == 100, 30)
    assert names(range(100)) == stored(behind)


CHILD = ROOT / "tests" / "integration" / "intake" / "child.py"


def test_kill_9_and_consuming_again_within_10_s(kafka: KafkaServer, tmp_path: Path) -> None:
    """Killed in the middle of a stream, three times: every record once, and the next start reads at once."""
    topic = kafka.new_topic(3)

    def child() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(CHILD), str(tmp_path), kafka.bootstrap, topic], cwd=ROOT)

    kafka.produce(topic, events(range(2000)))
    begun, progress = tmp_path / "begun", tmp_path / "progress"
    for number in range(3):
        kafka.produce(topic, events(range(2000 + number * 500, 2500 + number * 500)))
        for mark in (begun, progress):
            mark.unlink(missing_ok=True)
        process = child()
        try:
            eventually(begun.exists, 60)
            eventually(progress.exists, 10)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    behind = Behind(tmp_path)
    try:
        running = Running(kafka, behind, [topic])
        eventually(lambda: behind.count() == 3500, 10)
        assert names(range(3500)) == stored(behind)
        running.stop()
    finally:
        behind.close()

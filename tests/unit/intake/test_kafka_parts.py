"""What the Kafka connector decides without a broker."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from kafka.consumer.fetcher import ConsumerRecord

from tocsin.clock import EPOCH, ManualClock, micros
from tocsin.intake.connectors.kafka import client_settings
from tocsin.intake.connectors.kafka_client import Broker, GroupWatch
from tocsin.intake.connectors.kafka_records import Slice, decode
from tocsin.intake.consumer import Consumer, compile_consumer
from tocsin.intake.files import ConsumerFile, KafkaPart

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def record(
    offset: int,
    value: bytes | None,
    stamp: int | None = 1000,
    partition: int = 0,
    headers: list[tuple[str, bytes | None]] | None = None,
) -> ConsumerRecord:
    return ConsumerRecord("t", partition, 0, offset, stamp, 0, None, value, headers or [], None, -1, 0, -1)


def consumer(**keys: object) -> Consumer:
    part = KafkaPart(topics=("t",), settings={"fetch_min_bytes": "7"})
    return compile_consumer("c/1", ConsumerFile.model_validate({"connector": "kafka", "kafka": part, **keys}))


def test_canonical_records_become_parallel_columns() -> None:
    """One RawEvents a topic, bytes untouched, CreateTime in µs; tombstones are filtered."""
    slices = [
        Slice("t", "id", 0, [record(3, b"a", 5), record(4, None), record(9, b"b", 6)]),
        Slice("t", "id", 2, [record(0, b"c", 7, 2)]),
        Slice("u", "other", 0, [record(1, b"d", 8)]),
    ]
    decoded = decode(consumer(canonical=True), slices, "k", NOON)
    found = [(r.topic, r.topic_id, r.payloads, r.times_us, r.partitions, r.offsets, r.own_time) for r in decoded.raw]
    assert [
        ("t", "id", [b"a", b"b", b"c"], [5000, 6000, 7000], [0, 0, 2], [3, 9, 0], True),
        ("u", "other", [b"d"], [8000], [0], [1], True),
    ] == found
    assert 1 == decoded.filtered


def test_records_without_a_time_have_the_receipts() -> None:
    """Apart from the others, since their time is no producer's."""
    slices = [Slice("t", "id", 0, [record(0, b"a", 5), record(1, b"b", -1), record(2, b"c", None)])]
    own, without = sorted(decode(consumer(canonical=True), slices, "k", NOON).raw, key=lambda r: not r.own_time)
    assert ([b"a"], [5000], True) == (own.payloads, own.times_us, own.own_time)
    assert ([b"b", b"c"], [micros(NOON)] * 2, False) == (without.payloads, without.times_us, without.own_time)


BINARY: list[tuple[str, bytes | None]] = [
    ("ce_specversion", b"1.0"), ("ce_type", b"tocsin.run.status"), ("ce_id", "é1".encode()), ("ce_source", b"s"),
    ("content-type", b"application/json"), ("trace", None),
]  # fmt: skip


@pytest.mark.parametrize("stamp", [5, -1])
def test_binary_mode_is_an_event(stamp: int) -> None:
    """CloudEvents' attributes are in ce_ headers, the data is the value; other headers mean nothing."""
    value = b'{"RunId": "r", "Status": "Failed"}'
    slices = [
        Slice("t", "id", 0, [record(0, value, stamp, headers=BINARY), record(1, value, stamp, headers=BINARY[4:])])
    ]
    (raw,) = decode(consumer(canonical=True), slices, "k", NOON).raw
    event = {"specversion": "1.0", "type": "tocsin.run.status", "id": "é1", "source": "s", "data": json.loads(value)}
    assert [event, json.loads(value)] == [json.loads(payload) for payload in raw.payloads]
    mapped = consumer(mapping={"RunId": "data.RunId", "Status": "data.Status"}, event_id="id")
    (found,) = decode(mapped, slices, "k", NOON).mapped[0].events
    assert ("é1", "r") == (found.event_id, found.columns["RunId"])


def test_data_in_base64_is_decoded() -> None:
    """For the canonical form too; the rest of the event stays."""
    event = {"type": "tocsin.run.status", "id": "1", "data_base64": base64.b64encode(b'{"RunId": "r"}').decode()}
    (raw,) = decode(
        consumer(canonical=True), [Slice("t", "id", 0, [record(0, json.dumps(event).encode())])], "k", NOON
    ).raw
    assert {**event, "data": {"RunId": "r"}} == json.loads(raw.payloads[0])


def test_mapped_records_keep_their_origin() -> None:
    """Topic, partition and offset go with events and dead letters; CreateTime stands in."""
    mapped = consumer(mapping={"RunId": "run", "Status": "state"})
    slices = [Slice("t", "id", 1, [record(7, b'{"run": "r", "state": "Failed"}', 5), record(8, b"{"), record(9, None)])]
    decoded = decode(mapped, slices, "k", NOON)
    (events,) = decoded.mapped
    (event,) = events.events
    assert ("k", "id", 7, EPOCH + timedelta(milliseconds=5)) == (
        events.cluster, events.topic_id, event.origin.offset, event.time,
    )  # fmt: skip
    assert ([8], 1) == ([d.origin.offset for d in decoded.dead], decoded.filtered)


def test_settings_are_layered_and_what_must_be_stays() -> None:
    """kafka-python's defaults under ours, under tocsin.yaml, under the file; exactly-once is not negotiable."""
    home = {
        "bootstrap_servers": ["b:1"],
        "client_id": "mine",
        "enable_auto_commit": True,
        "auto_offset_reset": "latest",
    }
    found = client_settings(consumer(canonical=True), home, "home 1")
    assert ("mine", 7, 5000) == (found["client_id"], found["fetch_min_bytes"], found["max_poll_records"])
    assert (False, "none", "tocsin") == (found["enable_auto_commit"], found["auto_offset_reset"], found["group_id"])
    assert "home_1-c_1" == found["group_instance_id"]


class Known(Broker):
    """A broker of which only the partitions matter."""

    def __init__(self) -> None:
        self.have: dict[str, frozenset[int]] = {}

    def partitions(self, topics: object) -> dict[str, frozenset[int]]:
        return dict(self.have)


@pytest.fixture
def broker() -> Known:
    return Known()


def test_new_partitions_are_a_reason_to_join_again_once(broker: Known) -> None:
    """Those that the last assignment knew are none."""
    watch = GroupWatch(broker, ["t"], ManualClock(NOON))
    broker.have = {"t": frozenset({0})}
    assert "" == watch.why_join_again(assigned=False)
    watch.assigned()
    assert "" == watch.why_join_again(assigned=True)
    broker.have = {"t": frozenset({0, 1})}
    assert ["partitions came", ""] == [watch.why_join_again(assigned=True) for _ in range(2)]


def test_a_member_without_partitions_asks_more_and_more_rarely(broker: Known) -> None:
    """It may be one too many; it may also have been forgotten."""
    clock = ManualClock(NOON)
    watch = GroupWatch(broker, ["t"], clock)
    broker.have = {"t": frozenset({0})}
    watch.assigned()
    asked = []
    for second in range(120):
        if watch.why_join_again(assigned=False):
            asked.append(second)
        clock.advance(timedelta(seconds=1))
    assert [6, 27, 108] == asked
    assert "" == watch.why_join_again(assigned=True)

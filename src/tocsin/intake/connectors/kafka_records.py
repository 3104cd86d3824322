"""Kafka records as parts of a batch. Each line here runs once a record or avoids to: the poll thread is the
bottleneck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from tocsin.clock import EPOCH, micros
from tocsin.intake.consumer import Consumer, Decoded, Message
from tocsin.intake.formats import BASE64_FIELD, event_of_attributes, plain
from tocsin.model.event import Origin, RawEvents

# Places in kafka-python's ConsumerRecord, a named tuple; by number they cost half.
_OFFSET, _TIMESTAMP, _VALUE, _HEADERS = itemgetter(3), itemgetter(4), itemgetter(7), itemgetter(8)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Slice:
    """Records of one partition, in order."""

    topic: str
    topic_id: str
    partition: int
    records: Sequence[Any]


@dataclass(slots=True)
class _Columns:
    """What becomes one RawEvents."""

    payloads: list[bytes] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


def decode(consumer: Consumer, slices: Iterable[Slice], cluster: str, received: datetime) -> Decoded:
    """What ``slices`` hold. Tombstones (records without a value) are counted as filtered."""
    if consumer.mapper is None:
        return _canonical(consumer, slices, cluster, received)
    parts = [consumer.decode(_messages(s), received, cluster=cluster, topic_id=s.topic_id) for s in slices if s.records]
    return Decoded(
        mapped=tuple(m for p in parts for m in p.mapped),
        dead=tuple(d for p in parts for d in p.dead),
        filtered=sum(p.filtered for p in parts) + sum(1 for s in slices for r in s.records if _VALUE(r) is None),
    )


def _messages(s: Slice) -> Iterable[Message]:
    for record in s.records:
        value, stamp = _VALUE(record), _TIMESTAMP(record)
        if value is not None:
            time = EPOCH + stamp * _MILLISECOND if stamp is not None and stamp >= 0 else None
            yield Message(
                payload=_event(record) if _HEADERS(record) else value,
                origin=Origin(topic=s.topic, partition=s.partition, offset=_OFFSET(record)),
                time=time,
            )


def _event(record: Any) -> bytes:
    """CloudEvents' binary mode: attributes in ``ce_`` headers, data in the value. Any other record is its value."""
    attributes = {name[3:]: (given or b"").decode("utf-8", "replace") for name, given in _HEADERS(record)
                  if name.startswith("ce_")}  # fmt: skip
    value: bytes = _VALUE(record)
    return event_of_attributes(attributes.items(), value) if "specversion" in attributes else value


def _canonical(consumer: Consumer, slices: Iterable[Slice], cluster: str, received: datetime) -> Decoded:
    received_us = micros(received)
    columns: dict[tuple[str, str, bool], _Columns] = {}
    filtered = 0
    for s in slices:
        records = s.records
        values = list(map(_VALUE, records))
        stamps = list(map(_TIMESTAMP, records))
        if None in values:
            records = [r for r in records if _VALUE(r) is not None]
            filtered += len(values) - len(records)
            values, stamps = list(map(_VALUE, records)), list(map(_TIMESTAMP, records))
        if not records:
            continue
        if any(map(_HEADERS, records)):
            values = [_event(r) if _HEADERS(r) else _VALUE(r) for r in records]
        values = [plain(v) if BASE64_FIELD in v else v for v in values]
        if None not in stamps and min(stamps) >= 0:
            into = columns.setdefault((s.topic, s.topic_id, True), _Columns())
            into.payloads += values
            into.times_us += [stamp * 1000 for stamp in stamps]
            into.offsets += map(_OFFSET, records)
            into.partitions += [s.partition] * len(values)
            continue
        for record, value in zip(
            records, values, strict=True
        ):  # from producers of before 2016, or with a clock before 1970
            stamp = _TIMESTAMP(record)
            own = stamp is not None and stamp >= 0
            into = columns.setdefault((s.topic, s.topic_id, own), _Columns())
            into.payloads.append(value)
            into.times_us.append(stamp * 1000 if own else received_us)
            into.offsets.append(_OFFSET(record))
            into.partitions.append(s.partition)
    return Decoded(raw=tuple(_raw(consumer, cluster, received_us, columns)), filtered=filtered)


def _raw(
    consumer: Consumer, cluster: str, received_us: int, columns: Mapping[tuple[str, str, bool], _Columns]
) -> Iterable[RawEvents]:
    for (topic, topic_id, own), c in columns.items():
        yield RawEvents(
            consumer=consumer.name,
            payloads=c.payloads,
            times_us=c.times_us,
            own_time=own,
            received_us=received_us,
            topic=topic,
            topic_id=topic_id,
            cluster=cluster,
            partitions=c.partitions,
            offsets=c.offsets,
            retries_unknown=consumer.retries_unknown,
        )

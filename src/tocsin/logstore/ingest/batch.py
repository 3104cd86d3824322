"""What an append has to write, numbered message by message, and the way back from a number to batch, origin and
bytes.

``staged`` makes one Arrow table of its messages, for the statements that read them in bulk.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate, repeat

import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import PositionGap
from tocsin.logstore.ingest.logged import Logged, described, describes, may_be_one, read_beside, read_described
from tocsin.logstore.ingest.read import plain_text
from tocsin.model.event import (
    MAX_PAYLOAD,
    Batch,
    DeadLetter,
    MappedEvents,
    Origin,
    Position,
    RawEvents,
)
from tocsin.model.text.strictjson import ReadError

PartitionKey = tuple[str, str, int]  # cluster, topic id, partition


@dataclass(slots=True, kw_only=True)
class Group:
    """Messages that came together: numbers ``first`` to ``first + len(payloads) - 1``."""

    batch: int
    consumer: str
    first: int
    payloads: Sequence[bytes]
    origin: RawEvents | MappedEvents
    taken: Sequence[int] | None = None  # which messages of ``origin`` these are; None: all
    texts: Sequence[str] | None = None  # of mapped events: what SQL reads
    times: Sequence[int] | None = None  # µs since the epoch where the payload has no time; None: the receipt
    own_time: bool = False  # whether ``times`` are the producer's
    received_us: int
    retries_unknown: bool


@dataclass(slots=True, kw_only=True)
class AppendBatch:
    """What one append has to write."""

    groups: list[Group]
    size: int  # messages
    dead: list[list[DeadLetter]]  # by batch
    skipped: list[int]  # by batch
    logged: list[Logged] = field(default_factory=list)  # metrics and labels, which are no messages of ``groups``
    batches: Sequence[Batch] = ()
    unknown: dict[int, tuple[str, ...]] = field(default_factory=dict)  # names that are no column, by message
    moves: dict[PartitionKey, Position] = field(default_factory=dict)  # the last position of each partition
    table: pa.Table | None = None  # see staged.py
    skew_us: int  # µs that a producer's time may lie after the receipt
    bulk: bool = False  # whether it has to be read from ``table``

    def batch_of(self, n: int) -> int:
        """Number of the batch that message ``n`` came with."""
        return self._group(n).batch

    def payload(self, n: int) -> bytes:
        """The bytes of message ``n`` as received."""
        group = self._group(n)
        return group.payloads[n - group.first]

    def origin(self, n: int) -> Origin:
        """Where message ``n`` came from."""
        group = self._group(n)
        at = n - group.first
        if group.taken is not None:
            at = group.taken[at]
        source = group.origin
        if isinstance(source, MappedEvents):
            return source.events[at].origin
        return _origin(source, at)

    def dead_letter(self, n: int, error: ReadError) -> DeadLetter:
        """The dead letter that message ``n`` becomes."""
        return DeadLetter(
            consumer=self._group(n).consumer,
            origin=self.origin(n),
            reason=error.reason,
            detail=error.detail,
            payload=self.payload(n),
        )

    def _group(self, n: int) -> Group:
        low, high = 0, len(self.groups)
        while high - low > 1:
            middle = (low + high) // 2
            if self.groups[middle].first <= n:
                low = middle
            else:
                high = middle
        return self.groups[low]


def flatten(batches: Sequence[Batch], stored: Mapping[PartitionKey, int], skew: timedelta) -> AppendBatch:
    """What ``batches`` bring, without the records that lie below the ``stored`` positions; ``skew`` is the setting
    ``intake.max_clock_skew``.

    Raises PositionGap where a batch starts beyond the stored position of its partition and does not say that this is
    meant.
    """
    out = AppendBatch(
        groups=[],
        size=0,
        dead=[[] for _ in batches],
        skipped=[0] * len(batches),
        skew_us=skew // timedelta(microseconds=1),
        batches=batches,
    )
    next_of = dict(stored)
    for number, batch in enumerate(batches):
        below = _floors(batch, next_of)
        for dead in batch.dead:
            if _is_below(below, _names(batch), dead.origin):
                out.skipped[number] += 1
            else:
                out.dead[number].append(dead)
        for raw in batch.raw:
            _add(out, _raw(raw, number, below, out))
        for mapped in batch.mapped:
            _add(out, _mapped(mapped, number, below, out))
        for p in batch.positions:
            key = (p.cluster, p.topic_id, p.partition)
            if p.reset or p.next >= next_of.get(key, p.next):
                next_of[key] = p.next
                out.moves[key] = p
    return out


def _add(out: AppendBatch, group: Group) -> None:
    if group.payloads:
        out.groups.append(group)
        out.size += len(group.payloads)


def _floors(batch: Batch, next_of: Mapping[PartitionKey, int]) -> dict[PartitionKey, int]:
    """Below which offsets records of ``batch`` are stored already, for the partitions where some are."""
    below: dict[PartitionKey, int] = {}
    for p in batch.positions:
        key = (p.cluster, p.topic_id, p.partition)
        at = next_of.get(key)
        if at is None or p.reset:
            continue
        if p.start > at:
            raise PositionGap(f"{p.topic}/{p.partition}: the batch starts at {p.start}, stored is {at}")
        if p.start < at:
            below[key] = at
    return below


def _names(batch: Batch) -> dict[tuple[str, int], PartitionKey]:
    """(Topic, partition) → key, for dead letters, which know no topic id."""
    return {(p.topic, p.partition): (p.cluster, p.topic_id, p.partition) for p in batch.positions}


def _is_below(below: Mapping[PartitionKey, int], names: Mapping[tuple[str, int], PartitionKey], origin: Origin) -> bool:
    if not below or origin.partition is None or origin.offset is None:
        return False
    key = names.get((origin.topic, origin.partition))
    return key is not None and origin.offset < below.get(key, 0)


def _raw(raw: RawEvents, number: int, below: Mapping[PartitionKey, int], out: AppendBatch) -> Group:
    payloads, times, taken = raw.payloads, raw.times_us, None
    if below and raw.partitions is not None and raw.offsets is not None:
        floor = {
            part: at for (cluster, topic, part), at in below.items() if (cluster, topic) == (raw.cluster, raw.topic_id)
        }
        taken = [i for i, (p, o) in enumerate(zip(raw.partitions, raw.offsets, strict=True)) if o >= floor.get(p, 0)]
        out.skipped[number] += len(payloads) - len(taken)
        payloads, times = [payloads[i] for i in taken], [times[i] for i in taken]
    if any(map(may_be_one, payloads)):
        taken = [i for i in (range(len(payloads)) if taken is None else taken) if not _is_logged(raw, i, number, out)]
        payloads, times = [raw.payloads[i] for i in taken], [raw.times_us[i] for i in taken]
    for n, payload in enumerate(payloads):
        if describes(payload) and (event := read_described(payload, _origin(raw, n if taken is None else taken[n]))):
            out.logged.append(described(event, number, raw.received_us))
    return Group(
        batch=number,
        consumer=raw.consumer,
        first=out.size,
        payloads=payloads,
        origin=raw,
        taken=taken,
        times=times,
        own_time=raw.own_time,
        received_us=raw.received_us,
        retries_unknown=raw.retries_unknown,
    )


def _is_logged(raw: RawEvents, i: int, number: int, out: AppendBatch) -> bool:
    """Whether payload ``i`` brings metrics or labels; then ``out`` has them, or a dead letter."""
    payload = raw.payloads[i]
    if not may_be_one(payload):
        return False
    origin = _origin(raw, i)
    try:
        event = read_beside(payload, origin)
    except ReadError as e:
        letter = DeadLetter(consumer=raw.consumer, origin=origin, reason=e.reason, detail=e.detail, payload=payload)
        out.dead[number].append(letter)
        return True
    if event is None:
        return False
    out.logged.append(Logged(batch=number, event=event, received_us=raw.received_us))
    return True


def _origin(raw: RawEvents, i: int) -> Origin:
    return Origin(
        topic=raw.topic,
        partition=raw.partitions[i] if raw.partitions is not None else None,
        offset=raw.offsets[i] if raw.offsets is not None else None,
    )


def _mapped(mapped: MappedEvents, number: int, below: Mapping[PartitionKey, int], out: AppendBatch) -> Group:
    floor = {
        part: at
        for (cluster, topic, part), at in below.items()
        if (cluster, topic) == (mapped.cluster, mapped.topic_id)
    }
    taken: list[int] = []
    texts: list[str] = []
    for i, event in enumerate(mapped.events):
        partition, offset = event.origin.partition, event.origin.offset
        if floor and partition is not None and offset is not None and offset < floor.get(partition, 0):
            out.skipped[number] += 1
            continue
        if event.metrics or event.labels is not None:
            out.logged.append(Logged(batch=number, event=event, received_us=mapped.received_us))
            continue
        if event.description and not event.heartbeat:
            out.logged.append(described(event, number, mapped.received_us))
        try:
            texts.append(plain_text(event))
        except ReadError as e:
            letter = DeadLetter(
                consumer=mapped.consumer, origin=event.origin, reason=e.reason, detail=e.detail, payload=event.raw
            )
            out.dead[number].append(letter)
            continue
        taken.append(i)
    return Group(
        batch=number,
        consumer=mapped.consumer,
        first=out.size,
        payloads=[mapped.events[i].raw for i in taken],
        origin=mapped,
        taken=taken,
        texts=texts,
        received_us=mapped.received_us,
        retries_unknown=mapped.retries_unknown,
    )


JSON = pa.json_(pa.string())
"""DuckDB takes it as JSON without parsing it."""

SCHEMA = pa.schema(
    [
        ("n", pa.int32()),  # number of the message in this append
        ("b", pa.int32()),  # number of its batch
        ("p", JSON),  # the text that SQL reads
        ("raw", JSON),  # the payload where it is not ``p``
        ("t", pa.int64()),  # µs since the epoch: the event's time where the payload has none
        ("own", pa.bool_()),  # whether ``t`` is the producer's
        ("odd", pa.bool_()),  # whether the slow reading must look at it
        ("sure", pa.bool_()),  # whether ``p`` came out of the slow reading or a mapping
        ("consumer", pa.string()),
        ("received", pa.int64()),  # µs since the epoch
        ("unsure_retry", pa.bool_()),  # retries: unknown
    ]
)

CHUNK = 4096
"""Rows of a chunk: DuckDB reads chunks side by side."""

# Where DuckDB's JSON reader is more generous than the canonical reading, or keeps the first of two. Each begins with a
# literal, which lets RE2 leap to it.
_ODD = (
    r",\s*[}\]]",  # trailing commas
    r":\s*(?:\[|-?(?:(?i:nan|inf)|[0-9.]*(?:[eE]\+?[0-9]{3}|[0-9.]{300})))",  # arrays, NaN, infinities, huge numbers
    r"\\u0000",
)


def staged(append_batch: AppendBatch) -> pa.Table:
    """One row a message, of ``SCHEMA``; made once."""
    if append_batch.table is None:
        parts = [_table(group) for group in append_batch.groups]
        append_batch.table = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
        if append_batch.size > CHUNK:
            starts = range(0, append_batch.size, CHUNK)
            append_batch.table = pa.concat_tables([append_batch.table.slice(at, CHUNK) for at in starts])
    return append_batch.table


def _table(group: Group) -> pa.Table:
    count = len(group.payloads)
    if group.texts is None:
        texts, odd = _texts(group.payloads)
        raws = pa.nulls(count, pa.string())
    else:
        texts, odd = pa.array(group.texts, pa.string()), pa.repeat(False, count)
        raws = pa.array([p.decode("utf-8", "replace").removeprefix("\ufeff") for p in group.payloads], pa.string())
    times = array("q", group.times if group.times is not None else repeat(group.received_us, count))
    return pa.Table.from_arrays(
        [
            pa.array(range(group.first, group.first + count), pa.int32()),
            pa.repeat(pa.scalar(group.batch, pa.int32()), count),
            _json(texts),
            _json(raws),
            pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(times)]),
            pa.repeat(group.own_time, count),
            odd,
            pa.repeat(group.texts is not None, count),
            pa.repeat(group.consumer, count),
            pa.repeat(pa.scalar(group.received_us, pa.int64()), count),
            pa.repeat(group.retries_unknown, count),
        ],
        schema=SCHEMA,
    )


def reread(append_batch: AppendBatch, table: pa.Table, read: Mapping[int, str]) -> pa.Table:
    """The rows of ``table`` that the slow reading has ``read``, with the plain texts that it made of them."""
    rows = table.filter(pc.is_in(table["n"], value_set=pa.array(list(read), pa.int32())))
    kept = rows["n"].to_pylist()
    raws = [append_batch.payload(n).decode("utf-8").removeprefix("\ufeff") for n in kept]
    count = len(kept)
    for name, values in (
        ("p", _json(pa.array([read[n] for n in kept], pa.string()))),
        ("raw", _json(pa.array(raws, pa.string()))),
        ("odd", pa.repeat(False, count)),
        ("sure", pa.repeat(True, count)),
    ):
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    return rows


def _texts(payloads: Sequence[bytes]) -> tuple[pa.Array, pa.Array]:
    """The payloads as one Arrow column, and which of them are odd. What is no UTF-8 or too large is odd and left
    empty.
    """
    if not payloads:
        return pa.array([], pa.string()), pa.array([], pa.bool_())
    broken: set[int] = set()
    texts = _column(payloads)
    try:
        texts.validate(full=True)
        too_large = max(map(len, payloads)) > MAX_PAYLOAD
    except pa.ArrowInvalid:
        too_large = True
    if too_large:
        broken = {i for i, p in enumerate(payloads) if not _is_readable(p)}
        texts = _column([b"" if i in broken else p for i, p in enumerate(payloads)])
    odd = pc.match_substring_regex(texts, _ODD[0])
    for pattern in _ODD[1:]:
        odd = pc.or_(odd, pc.match_substring_regex(texts, pattern))
    if broken:
        odd = pc.or_(odd, pa.array([i in broken for i in range(len(payloads))], pa.bool_()))
    return texts, odd


def _json(texts: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(JSON, texts)


def _column(payloads: Sequence[bytes]) -> pa.Array:
    offsets = array("i", [0])
    offsets.extend(accumulate(map(len, payloads)))
    return pa.StringArray.from_buffers(len(payloads), pa.py_buffer(offsets), pa.py_buffer(b"".join(payloads)))


def _is_readable(payload: bytes) -> bool:
    if len(payload) > MAX_PAYLOAD:
        return False
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

"""Batches as one Arrow table of payloads, with what is needed to go back from a row to its batch, origin and bytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat

import pyarrow as pa
import pyarrow.compute as pc

from tocsin.errors import PositionGap
from tocsin.logstore.reading import plain_text
from tocsin.model.event import (
    MAX_PAYLOAD,
    Batch,
    DeadLetter,
    MappedEvents,
    Origin,
    Position,
    RawEvents,
)
from tocsin.model.strictjson import ReadError

PartitionKey = tuple[str, str, int]  # cluster, topic id, partition

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

# Where DuckDB's JSON reader is more generous than the canonical reading, or keeps the first of two. Each begins with a
# literal, which lets RE2 leap to it.
_ODD = (
    r",\s*[}\]]",  # trailing commas
    r":\s*(?:\[|-?(?:(?i:nan|inf)|[0-9.]*(?:[eE]\+?[0-9]{3}|[0-9.]{300})))",  # arrays, NaN, infinities, huge numbers
    r"\\u0000",
)


@dataclass(slots=True, kw_only=True)
class Group:
    """Messages that came together: rows ``first`` to ``first + len(payloads) - 1``."""

    batch: int
    consumer: str
    first: int
    payloads: Sequence[bytes]
    origin: RawEvents | MappedEvents
    taken: Sequence[int] | None = None  # which messages of ``origin`` these are; None: all


@dataclass(slots=True, kw_only=True)
class Incoming:
    """What one append has to write."""

    table: pa.Table
    groups: list[Group]
    size: int  # rows of ``table``
    dead: list[list[DeadLetter]]  # by batch
    skipped: list[int]  # by batch
    moves: dict[PartitionKey, Position] = field(default_factory=dict)  # the last position of each partition

    def batch_of(self, n: int) -> int:
        """Number of the batch that row ``n`` came with."""
        return self._group(n).batch

    def payload(self, n: int) -> bytes:
        """The bytes of row ``n`` as received."""
        group = self._group(n)
        return group.payloads[n - group.first]

    def origin(self, n: int) -> Origin:
        """Where row ``n`` came from."""
        group = self._group(n)
        at = n - group.first
        if group.taken is not None:
            at = group.taken[at]
        source = group.origin
        if isinstance(source, MappedEvents):
            return source.events[at].origin
        return Origin(
            topic=source.topic,
            partition=source.partitions[at] if source.partitions is not None else None,
            offset=source.offsets[at] if source.offsets is not None else None,
        )

    def dead_letter(self, n: int, error: ReadError) -> DeadLetter:
        """The dead letter that row ``n`` becomes."""
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


def flatten(batches: Sequence[Batch], stored: Mapping[PartitionKey, int]) -> Incoming:
    """Put ``batches`` into one table, without the records that lie below the ``stored`` positions.

    Raises PositionGap where a batch starts beyond the stored position of its partition and does not say that this is meant.
    """
    out = Incoming(
        table=SCHEMA.empty_table(),
        groups=[],
        size=0,
        dead=[[] for _ in batches],
        skipped=[0] * len(batches),
    )
    next_of = dict(stored)
    parts: list[pa.Table] = []
    for number, batch in enumerate(batches):
        below = _floors(batch, next_of)
        for dead in batch.dead:
            if _is_below(below, _names(batch), dead.origin):
                out.skipped[number] += 1
            else:
                out.dead[number].append(dead)
        for raw in batch.raw:
            parts.append(_raw(raw, number, below, out))
        for mapped in batch.mapped:
            parts.append(_mapped(mapped, number, below, out))
        for p in batch.positions:
            key = (p.cluster, p.topic_id, p.partition)
            if p.reset or p.next >= next_of.get(key, p.next):
                next_of[key] = p.next
                out.moves[key] = p
    if parts:
        out.table = pa.concat_tables(parts)
    return out


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


def _raw(raw: RawEvents, number: int, below: Mapping[PartitionKey, int], out: Incoming) -> pa.Table:
    payloads, times, taken = raw.payloads, raw.times_us, None
    if below and raw.partitions is not None and raw.offsets is not None:
        floor = {
            part: at for (cluster, topic, part), at in below.items() if (cluster, topic) == (raw.cluster, raw.topic_id)
        }
        taken = [i for i, (p, o) in enumerate(zip(raw.partitions, raw.offsets, strict=True)) if o >= floor.get(p, 0)]
        if len(taken) == len(payloads):
            taken = None
        else:
            out.skipped[number] += len(payloads) - len(taken)
            payloads, times = [payloads[i] for i in taken], [times[i] for i in taken]
    count = len(payloads)
    group = Group(batch=number, consumer=raw.consumer, first=out.size, payloads=payloads, origin=raw, taken=taken)
    texts, odd = _texts(payloads)
    return _table(group, out, texts, None, times, odd, raw.own_time, False, raw.received_us, raw.retries_unknown, count)


def _mapped(mapped: MappedEvents, number: int, below: Mapping[PartitionKey, int], out: Incoming) -> pa.Table:
    floor = {
        part: at
        for (cluster, topic, part), at in below.items()
        if (cluster, topic) == (mapped.cluster, mapped.topic_id)
    }
    taken: list[int] = []
    texts: list[str] = []
    raws: list[str] = []
    for i, event in enumerate(mapped.events):
        partition, offset = event.origin.partition, event.origin.offset
        if floor and partition is not None and offset is not None and offset < floor.get(partition, 0):
            out.skipped[number] += 1
            continue
        try:
            text, raw = plain_text(event), event.raw.decode("utf-8", "replace").removeprefix("\ufeff")
        except ReadError as e:
            letter = DeadLetter(
                consumer=mapped.consumer, origin=event.origin, reason=e.reason, detail=e.detail, payload=event.raw
            )
            out.dead[number].append(letter)
            continue
        taken.append(i)
        texts.append(text)
        raws.append(raw)
    group = Group(
        batch=number,
        consumer=mapped.consumer,
        first=out.size,
        payloads=[mapped.events[i].raw for i in taken],
        origin=mapped,
        taken=taken,
    )
    count = len(taken)
    return _table(
        group, out, pa.array(texts, pa.string()), pa.array(raws, pa.string()),
        repeat(mapped.received_us, count), None, False, True, mapped.received_us, mapped.retries_unknown, count,
    )  # fmt: skip


def _table(
    group: Group, out: Incoming, texts: pa.Array, raws: pa.Array | None, times: Iterable[int],
    odd: pa.Array | None, own: bool, sure: bool, received_us: int, unsure_retry: bool, count: int,
) -> pa.Table:  # fmt: skip
    if count:
        out.groups.append(group)
    numbers = pa.array(range(out.size, out.size + count), pa.int32())
    out.size += count
    return pa.Table.from_arrays(
        [
            numbers,
            pa.repeat(pa.scalar(group.batch, pa.int32()), count),
            _json(texts),
            _json(pa.nulls(count, pa.string()) if raws is None else raws),
            pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(array("q", times))]),
            pa.repeat(own, count),
            pa.repeat(False, count) if odd is None else odd,
            pa.repeat(sure, count),
            pa.repeat(group.consumer, count),
            pa.repeat(pa.scalar(received_us, pa.int64()), count),
            pa.repeat(unsure_retry, count),
        ],
        schema=SCHEMA,
    )


def reread(incoming: Incoming, table: pa.Table, read: Mapping[int, str]) -> pa.Table:
    """The rows of ``table`` that the slow reading has ``read``, with the plain texts that it made of them."""
    rows = table.filter(pc.is_in(table["n"], value_set=pa.array(list(read), pa.int32())))
    kept = rows["n"].to_pylist()
    raws = [incoming.payload(n).decode("utf-8").removeprefix("\ufeff") for n in kept]
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
    """The payloads as one Arrow column, and which of them are odd. What is no UTF-8 or too large is odd and left empty."""
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

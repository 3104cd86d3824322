"""The messages of an append as one Arrow table, for the statements that read them in bulk."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate, repeat

import pyarrow as pa
import pyarrow.compute as pc

from tocsin.logstore.ingest.batch import AppendBatch, Group
from tocsin.model.event import MAX_PAYLOAD

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

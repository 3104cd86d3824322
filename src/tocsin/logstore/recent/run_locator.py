"""Which runs ``tocsin.runs`` may hold, and since which commit, so that nobody who asks for a few looks through all
of them.

RunIds are in no order: to find fifty among a million means to read the whole column, 80 ms with the rows. Nearly every
run of a commit is either new or was active a moment ago. A new one is known by its hash, of which all are kept
(``PackedKeys``); of an active one the last commit is known, of any other a segment of commits, and rows lie in the order of
commits, so that zone maps leave little to read.

The hashes lie in the store too, sorted, as of some commit (`tocsin.run_keys`): a start reads them, and computes only
those of runs that moved since.

Many runs in little memory: of each forty bits of hash, and in which of 256 segments of commits its row lies.

    key:  16 bits bucket │ 16 bits middle │ 8 bits tail │ 8 bits segment
          (an offset)      an array         bytes         bytes

Four bytes a run. Of ten million runs, one in a hundred thousand new ones looks as if it were known; that costs an
evaluation, no more.
"""

from __future__ import annotations

import contextlib
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from itertools import accumulate, islice

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

HASH_BITS = 40
SEGMENTS = 256
_BUCKETS = 1 << 16

HASH_SQL = f"(md5_number_lower(RunId) & {(1 << HASH_BITS) - 1})::UBIGINT"
"""``hash_of`` in DuckDB, of a column RunId."""


def hash_of(run_id: str) -> int:
    """Forty bits of the hash of a run's id."""
    return int.from_bytes(md5(run_id.encode(), usedforsecurity=False).digest()[8:13], "little")


def first_of_each(keys: pa.Array) -> pa.Array:
    """Of sorted keys the first of each hash, which has the lowest segment."""
    if len(keys) < 2:
        return keys
    hashes = pc.shift_right(keys, pa.scalar(8, pa.uint64()))
    new = pc.not_equal(hashes.slice(1), hashes.slice(0, len(hashes) - 1))
    return keys.filter(pa.concat_arrays([pa.array([True]), new]))


class PackedKeys:
    """Keys that do not change any more."""

    def __init__(self, keys: Iterable[pa.Array]) -> None:
        """``keys``: uint64, sorted, in pieces, so that they need not lie in memory as a whole. Raises ValueError if
        unsorted.
        """
        self._middles, self._tails, self._segments = array("H"), bytearray(), bytearray()
        counts, before = array("I", bytes(4 * _BUCKETS)), -1
        for piece in keys:
            if not len(piece):
                continue
            if piece[0].as_py() < before or not _is_sorted(piece):
                raise ValueError("the keys of runs are not sorted")
            before = piece[-1].as_py()
            self._middles.frombytes(_low_bits(piece, 16, pa.uint16()))
            self._tails += _low_bits(piece, 8, pa.uint8())
            self._segments += _low_bits(piece, 0, pa.uint8())
            for entry in pc.value_counts(pc.shift_right(piece, pa.scalar(32, pa.uint64()))).to_pylist():
                counts[entry["values"]] += entry["counts"]
        some = len(self._middles) > 0  # of most stores that are opened there are none, and to add up takes 4 ms
        self._offsets = array("I", accumulate(counts, initial=0)) if some else array("I", bytes(4 * _BUCKETS + 4))

    def __len__(self) -> int:
        return len(self._middles)

    def segment(self, run_hash: int) -> int | None:
        """The lowest segment of the runs of this hash; None where there is none."""
        bucket, middle, tail = run_hash >> 24, run_hash >> 8 & 0xFFFF, run_hash & 0xFF
        end = self._offsets[bucket + 1]
        at = bisect_left(self._middles, middle, self._offsets[bucket], end)
        while at < end and self._middles[at] == middle:
            if self._tails[at] == tail:
                return self._segments[at]
            at += 1
        return None


class GrowingKeys:
    """Keys in the order in which they come; the newest lie open, the older sorted, the oldest packed."""

    FRESH = 50_000
    """Keys that are gathered before they are sorted in among the others."""
    YOUNG = 1 << 20
    """Sorted keys that are gathered before they are packed."""

    def __init__(self, packed: Iterable[PackedKeys] = ()) -> None:
        self._packed = [p for p in packed if len(p)]
        self._young = array("Q")
        self._fresh: dict[int, int] = {}

    def add(self, run_hash: int, segment: int) -> None:
        """A run of this hash has its row in ``segment``, or in a later one."""
        self._fresh[run_hash] = min(segment, self._fresh.get(run_hash, segment))
        if len(self._fresh) > self.FRESH:
            self._sort_in()

    def segment(self, run_hash: int) -> int | None:
        """The lowest segment of the runs of this hash; None where there is none."""
        found = [s for p in self._packed if (s := p.segment(run_hash)) is not None]
        if (fresh := self._fresh.get(run_hash)) is not None:
            found.append(fresh)
        at = bisect_left(self._young, run_hash << 8)
        if at < len(self._young) and self._young[at] >> 8 == run_hash:
            found.append(self._young[at] & 0xFF)
        return min(found, default=None)

    def _sort_in(self) -> None:
        fresh = array("Q", (run_hash << 8 | segment for run_hash, segment in self._fresh.items()))
        both = pa.concat_arrays([_arrow(self._young), _arrow(fresh)])
        keys = first_of_each(both.take(pc.array_sort_indices(both)))
        self._fresh.clear()
        self._young = array("Q")
        if len(keys) > self.YOUNG:
            self._packed.append(PackedKeys([keys]))
        else:
            self._young.frombytes(_bytes(keys))


def _arrow(values: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.uint64(), len(values), [None, pa.py_buffer(values)])


def _low_bits(keys: pa.Array, right: int, kind: pa.DataType) -> memoryview:
    """The bits of ``keys`` from bit ``right`` on, as many as ``kind`` has."""
    shifted = pc.shift_right(keys, pa.scalar(right, pa.uint64()))
    mask = pa.scalar((1 << kind.bit_width) - 1, pa.uint64())
    return _bytes(pc.cast(pc.bit_wise_and(shifted, mask), kind))


def _bytes(values: pa.Array) -> memoryview:
    width = values.type.bit_width // 8
    return memoryview(values.buffers()[1])[width * values.offset : width * (values.offset + len(values))]


def _is_sorted(keys: pa.Array) -> bool:
    ordered = pc.less_equal(keys.slice(0, len(keys) - 1), keys.slice(1))
    return pc.all(ordered).as_py() is not False


__all__ = ["HASH_SQL", "SEGMENTS", "GrowingKeys", "PackedKeys", "hash_of"]


RECENT = 20_000
"""Runs whose last commit is remembered."""
UNSAVED = 100_000
"""Runs that moved since the hashes were saved; when there are more, and more than a tenth of all, a start saves them
again.
"""
NEVER = 1 << 62
"""A CommitSeq that no row has."""
_SAVED = "SELECT hash, seq FROM tocsin.run_keys"
_SPARE = 55
"""Segments that are left for commits to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the rows of some runs lie: of those that were active lately, and of others."""

    since: int  # rows of runs that are not ``old`` have at least this CommitSeq; NEVER: there are none
    old: Mapping[
        str, range
    ]  # runs of which there may be rows, and the CommitSeqs of most such rows: a run may have moved
    old_since: int  # these have at least this one; NEVER: there are none


class RunLocator:
    """Follows what is durable: ``note`` comes after the commit. Safe from any thread."""

    def __init__(self, con: duckdb.DuckDBPyConnection, head: int = 0) -> None:
        """``head``: the newest commit."""
        self._width = head // (SEGMENTS - _SPARE) + 1
        self._keys = GrowingKeys(self._stored(con))
        self._recent: dict[str, int] = {}  # run → a commit that is not after its row's CommitSeq; oldest noted first
        self._lock = threading.Lock()

    def since(self, runs: Iterable[str]) -> int:
        """The rows of these runs have at least this CommitSeq; NEVER: there are no rows of them."""
        place = self.place(runs)
        return min(place.since, place.old_since)

    def place(self, runs: Iterable[str]) -> Place:
        """Where the rows of these runs lie."""
        since, old_since, old = NEVER, NEVER, dict[str, range]()
        with self._lock:
            for run in runs:
                seq = self._recent.get(run)
                if seq is not None:
                    since = min(since, seq)
                    continue
                segment = self._keys.segment(hash_of(run))
                if segment is not None:
                    first = segment * self._width
                    old[run] = range(first, first + self._width if segment < SEGMENTS - 1 else NEVER)
                    old_since = min(old_since, first)
        return Place(since=since, old=old, old_since=old_since)

    def note(self, runs: Mapping[str, int]) -> None:
        """Rows of these runs have been written, with these CommitSeqs."""
        recent = self._recent
        with self._lock:
            for run, seq in runs.items():
                recent.pop(run, None)
                recent[run] = seq
            # All at once: to find the first one again each time passes the places of all that were taken out.
            for run in list(islice(recent, max(len(recent) - RECENT, 0))):
                self._keys.add(hash_of(run), self._segment(recent.pop(run)))

    def _segment(self, seq: int) -> int:
        return min(seq // self._width, SEGMENTS - 1)

    def _stored(self, con: duckdb.DuckDBPyConnection) -> Iterator[PackedKeys]:
        """The keys of all runs of the store."""
        ((upto,),) = con.execute("SELECT keys_upto FROM tocsin.meta").fetchall()
        moved = f"FROM tocsin.runs WHERE CommitSeq > {upto} OR CommitSeq IS NULL"
        ((many, saved),) = con.execute(f"SELECT (SELECT count(*) {moved}), count(*) FROM tocsin.run_keys").fetchall()
        if many <= max(UNSAVED, saved // 10):
            with contextlib.suppress(ValueError):  # a tool that rewrote the file may have lost the order
                yield PackedKeys(self._keys_of(con, _SAVED))
                newer = f"SELECT {HASH_SQL} AS hash, coalesce(CommitSeq, 0) AS seq {moved} ORDER BY ALL"
                yield PackedKeys(self._keys_of(con, newer))
                return
        save(con)
        yield PackedKeys(self._keys_of(con, _SAVED))

    def _keys_of(self, con: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.Array]:
        """(hash, seq) in order → keys."""
        for batch in con.execute(sql).to_arrow_reader(100_000):
            segments = pc.min_element_wise(pc.divide(batch.column(1), self._width), SEGMENTS - 1)
            hashes = pc.shift_left(batch.column(0), pa.scalar(8, pa.uint64()))
            yield pc.bit_wise_or(hashes, pc.cast(segments, pa.uint64()))


def save(con: duckdb.DuckDBPyConnection) -> None:
    """Write the hashes of all runs to the store."""
    con.execute("BEGIN")
    try:
        con.execute(
            "CREATE OR REPLACE TABLE tocsin.run_keys AS"
            f" SELECT {HASH_SQL} AS hash, coalesce(CommitSeq, 0) AS seq FROM tocsin.runs ORDER BY ALL"
        )
        con.execute("UPDATE tocsin.meta SET keys_upto = (SELECT coalesce(max(seq), 0) FROM tocsin.commits)")
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise

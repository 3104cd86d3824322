"""Which runs ``tocsin.runs`` may hold, and since which commit, so that a commit does not look through all of them.

RunIds are in no order: to find fifty among a million means to read the whole column, 80 ms with the rows. Nearly every run of
a commit is either new or was active a moment ago. A new one is told by its hash, of which all are kept (four bytes each);
of an active one the last commit is known, and rows lie in the order of commits, so that zone maps leave little to read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from hashlib import md5

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

RECENT = 20_000
"""Runs whose last commit is remembered."""
FRESH = 50_000
"""Hashes that are gathered before they are sorted in among the others."""

_HASHES = "SELECT (md5_number_lower(RunId) & 4294967295)::UINTEGER AS hash FROM tocsin.runs ORDER BY hash"


def hash_of(run_id: str) -> int:
    """32 bits, as ``_HASHES`` has them. Two runs of one hash cost a look, no more."""
    return int.from_bytes(md5(run_id.encode(), usedforsecurity=False).digest()[8:12], "little")


class KnownRuns:
    """Follows what is durable: ``note`` comes after the commit."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._sorted = _ints(con.execute(_HASHES).to_arrow_table().column(0).combine_chunks())
        self._fresh: set[int] = set()
        self._recent: dict[str, int] = {}  # run → a commit that is not after its row's CommitSeq; oldest noted first

    def since(self, runs: Iterable[str]) -> int | None:
        """The rows of these runs have at least this CommitSeq; None: there are no rows of them."""
        lowest: int | None = None
        for run in runs:
            seq = self._recent.get(run)
            if seq is None:
                if not self._holds(hash_of(run)):
                    continue
                seq = 0
            if lowest is None or seq < lowest:
                lowest = seq
        return lowest

    def note(self, runs: Mapping[str, int]) -> None:
        """Rows of these runs have been written, with these CommitSeqs."""
        recent = self._recent
        for run, seq in runs.items():
            recent.pop(run, None)
            recent[run] = seq
        while len(recent) > RECENT:
            run = next(iter(recent))
            del recent[run]
            self._fresh.add(hash_of(run))
        if len(self._fresh) > FRESH:
            known = pa.Array.from_buffers(pa.uint32(), len(self._sorted), [None, pa.py_buffer(self._sorted)])
            both = pa.concat_arrays([known, pa.array(self._fresh, pa.uint32())])
            self._sorted = _ints(both.take(pc.array_sort_indices(both)))
            self._fresh.clear()

    def _holds(self, value: int) -> bool:
        if value in self._fresh:
            return True
        at = bisect_left(self._sorted, value)
        return at < len(self._sorted) and self._sorted[at] == value


def _ints(hashes: pa.Array) -> array[int]:
    found = array("I")
    if len(hashes):
        found.frombytes(memoryview(hashes.buffers()[1])[4 * hashes.offset : 4 * (hashes.offset + len(hashes))])
    return found

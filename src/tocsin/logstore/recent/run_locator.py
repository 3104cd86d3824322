"""Which runs ``tocsin.runs`` may hold, and since which commit, so that nobody who asks for a few looks through all
of them.

RunIds are in no order: to find fifty among a million means to read the whole column, 80 ms with the rows. Nearly every
run of a commit is either new or was active a moment ago. A new one is notified by its hash, of which all are kept
(`run_key_index`); of an active one the last commit is known, of any other a segment of commits, and rows lie in the order of
commits, so that zone maps leave little to read.

The hashes lie in the store too, sorted, as of some commit (`tocsin.run_keys`): a start reads them, and computes only
those of runs that moved since.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.logstore.recent.run_key_index import HASH_SQL, SEGMENTS, GrowingKeys, PackedKeys, hash_of

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

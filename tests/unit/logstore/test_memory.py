"""Commits and checkpoints find memory, however many runs there are and however long the WAL has become."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from tests.unit.logstore.helpers import Bench, event
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.open import Memory

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GROUPS = 33
"""Row groups of Runs."""


def test_a_large_commit_finds_memory_beside_many_runs_that_moved(tmp_path: Path) -> None:
    """DuckDB keeps 16 KiB for each 2048 rows of which one is deleted; of ten million runs that took half of the
    memory that it may have,
    and no commit of 20,000 events went through any more. What moved may be in the file, or in the WAL still.
    """
    path, clock = tmp_path / "e.duckdb", ManualClock(NOON)
    DuckLogStore.open(path, clock=clock, reserve=0).close()
    with duckdb.connect(str(path)) as con:
        con.execute(
            "INSERT INTO tocsin.runs (RunId, RunKey, CommitSeq, Status)"
            f" SELECT 'old-' || i, md5_number('old-' || i), 0, 'Completed' FROM range({GROUPS * 122_880}) AS t(i)"
        )
        con.execute("CHECKPOINT")
    for place in ("file", "WAL"):
        moved = tmp_path / f"{place}.duckdb"
        shutil.copy(path, moved)
        with duckdb.connect(str(moved)) as con:
            if place == "WAL":
                con.execute("PRAGMA disable_checkpoint_on_shutdown")
            con.execute("DELETE FROM tocsin.runs WHERE rowid % 2048 = 7")
        assert (place == "WAL") == Path(f"{moved}.wal").exists()
        with closing(DuckLogStore.open(moved, clock=clock, reserve=0, memory=Memory(limit="72MiB"))) as store:
            put = Bench(store, clock)
            assert put.rows("SELECT count(*) AS n FROM Runs")[0]["n"] == GROUPS * (122_880 - 60), place
            commit = put(*(event(f"r{n}", Message=f"message {n} " * 20) for n in range(20_000)))
        assert commit.rows == 20_000, place


@pytest.mark.parametrize(("threshold", "written"), [(1 << 40, False), (1, True)])
def test_a_long_wal_is_written_before_anything_else(tmp_path: Path, threshold: int, written: bool) -> None:
    """After a kill. With the memory of later a checkpoint of it might fail, each time again. A short one stays: it
    costs a start time.
    """
    path, killed, clock = tmp_path / "e.duckdb", tmp_path / "killed.duckdb", ManualClock(NOON)
    with closing(DuckLogStore.open(path, clock=clock, reserve=0)) as store:
        Bench(store, clock)(event("r1"), event("r2"))
        shutil.copy(path, killed)
        shutil.copy(f"{path}.wal", f"{killed}.wal")
    wal = Path(f"{killed}.wal")
    with closing(DuckLogStore.open(killed, clock=clock, reserve=0, checkpoint_threshold=threshold)) as store:
        assert written != (wal.exists() and wal.stat().st_size > 0)
        assert 2 == Bench(store, clock).rows("SELECT count(*) AS n FROM Runs")[0]["n"]

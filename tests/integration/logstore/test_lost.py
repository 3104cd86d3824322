"""A store whose disk gives out under it, and readers that are at work when it is closed."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.logstore.appender import batch
from tocsin.clock import SystemClock
from tocsin.errors import StoreError, StoreLost
from tocsin.logstore.duck import DuckLogStore


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes: writing fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The store says that it is lost until it is opened again; then rows and positions agree, and it goes on."""
    path = tmp_path / "events.duckdb"
    store = DuckLogStore.open(path, clock=SystemClock(), reserve=0, checkpoint_threshold=64 << 20)
    at, acknowledged = 0, 0
    with files_end_at(2 << 20):
        with pytest.raises(StoreLost):
            while True:
                store.append([batch(at, 400)])
                at += 400
                acknowledged = at
        with pytest.raises(StoreLost):
            store.append([batch(at, 1)])
    head = store.reopen()
    position = store.positions("c", "t")[0]
    (seen,) = store.select("SELECT count(*) AS n, max(CommitSeq) AS seq FROM RunStatusChanged").to_pylist()
    assert (position, head.seq) == (seen["n"], seen["seq"])
    assert position - acknowledged in (0, 400)
    commit = store.append([batch(position, 10)])
    assert (head.seq + 1, 10) == (commit.seq, commit.rows)
    store.close()


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    """A reader at work gets an error, not a crash, and does not hold the file."""
    path = tmp_path / "events.duckdb"
    store = DuckLogStore.open(path, clock=SystemClock(), reserve=0)
    store.append([batch(0, 1000)])
    errors: list[Exception] = []
    begun = threading.Barrier(4)

    def read() -> None:
        begun.wait()
        try:
            while True:
                store.select(
                    "SELECT count(*) FROM RunStatusChanged a, RunStatusChanged b, range(50) WHERE a.Message <> b.RunId"
                )
        except StoreError as e:
            errors.append(e)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for t in threads:
        t.start()
    begun.wait()
    store.close()
    for t in threads:
        t.join(30)
    assert [StoreLost] * 3 == [type(e) for e in errors]
    again = DuckLogStore.open(path, clock=SystemClock(), reserve=0)
    assert 1 == again.head().seq
    again.close()

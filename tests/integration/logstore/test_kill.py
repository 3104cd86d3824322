"""kill -9 while commits and checkpoints run: the file opens again, and rows and positions agree."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

from tests.integration.logstore.appender import batch, record
from tocsin.clock import SystemClock
from tocsin.logstore.duck import DuckLogStore

KILLS = 10


def killed_after(path: Path, lines: int, delay: float) -> list[tuple[int, int]]:
    """Run the appender until it has acknowledged ``lines`` commits, kill it ``delay`` s later; what it acknowledged."""
    command = [sys.executable, "-m", "tests.integration.logstore.appender", str(path)]
    said: list[tuple[int, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        killer = threading.Timer(60, child.kill)  # should it hang
        killer.start()
        for line in child.stdout or ():
            if not line.endswith("\n"):
                break  # killed in the middle of a word: nothing was acknowledged by it
            offset, seq = line.split()
            said.append((int(offset), int(seq)))
            if len(said) == lines:
                killer.cancel()
                killer = threading.Timer(delay, child.kill)
                killer.start()
        killer.join()
    assert -9 == child.returncode
    return said


def test_rows_equal_positions_after_every_kill(tmp_path: Path) -> None:
    """What was acknowledged is there, each event once; at most the one commit in flight was not acknowledged."""
    path, rng, floor = tmp_path / "events.duckdb", random.Random(7), 0
    for _ in range(KILLS):
        said = killed_after(path, rng.randint(1, 6), rng.random() * 0.15)
        store = DuckLogStore.open(path, clock=SystemClock(), reserve=0)
        position = store.positions("c", "t")[0]
        (seen,) = store.select(
            "SELECT count(*) AS n, count(DISTINCT EventId) AS ids, max(CommitSeq) AS seq, count(DISTINCT CommitSeq) AS commits "
            "FROM RunStatusChanged"
        ).to_pylist()
        (runs,) = store.select("SELECT max(CommitSeq) AS seq, count(*) AS n FROM Runs").to_pylist()
        head = store.head().seq
        store.close()
        assert (position, position, head, head) == (seen["n"], seen["ids"], seen["seq"], seen["commits"])
        assert (head, min(97, position)) == (runs["seq"], runs["n"])
        assert position >= max(floor, *(offset for offset, _ in said))
        assert head - max(seq for _, seq in said) in (0, 1)
        floor = position


def test_a_batch_sent_again_after_a_kill_is_kept_once(tmp_path: Path) -> None:
    """The broker delivers again from an older offset: what is stored is skipped, the rest is taken."""
    path = tmp_path / "events.duckdb"
    killed_after(path, 3, 0.0)
    store = DuckLogStore.open(path, clock=SystemClock(), reserve=0)
    position = store.positions("c", "t")[0]
    (receipt,) = store.append([batch(0, position + 5)]).receipts
    ids = store.select("SELECT EventId FROM RunStatusChanged ORDER BY rowid")["EventId"].to_pylist()
    store.close()
    assert (position, 5) == (receipt.skipped, receipt.accepted)
    assert [f"e{o}" for o in range(position + 5)] == ids
    assert record(position) != record(position + 1)

"""What the store remembers of its runs and commits never misses one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.logstore import knownruns
from tocsin.logstore.interface import CommitInfo
from tocsin.logstore.known import NEWEST, NewestCommits
from tocsin.logstore.knownruns import KnownRuns, hash_of

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    """A database with an empty table of runs."""
    con = duckdb.connect()
    con.execute("CREATE SCHEMA tocsin")
    con.execute("CREATE TABLE tocsin.runs (RunId VARCHAR)")
    return con


@given(names=st.sets(NAMES, max_size=30), others=st.sets(NAMES, max_size=30))
def test_stored_runs_are_known_by_their_hash(con: duckdb.DuckDBPyConnection, names: set[str], others: set[str]) -> None:
    """SQL and Python hash alike: every stored run is looked for, from the first commit on; others hardly ever."""
    con.execute("DELETE FROM tocsin.runs")
    for name in names:
        con.execute("INSERT INTO tocsin.runs VALUES ($name)", {"name": name})
    known = KnownRuns(con)
    assert {name for name in names if known.since([name]) != 0} == set()
    hashes = {hash_of(name) for name in names}
    assert {name for name in others if known.since([name]) is not None} == {n for n in others if hash_of(n) in hashes}


def test_runs_that_are_no_more_recent_are_known_by_their_hash(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of recent runs the commit is known, of all others that they are there, however many were noted."""
    monkeypatch.setattr(knownruns, "RECENT", 3)
    monkeypatch.setattr(knownruns, "FRESH", 4)
    con.execute("DELETE FROM tocsin.runs")
    known = KnownRuns(con)
    for number in range(20):
        known.note({f"run-{number}": number + 1})
    found = [known.since([f"run-{number}"]) for number in range(20)]
    assert found == [0] * 17 + [18, 19, 20]
    assert known.since(["run-19", "run-18", "new"]) == 19
    assert known.since(["new"]) is None


def test_a_run_of_long_ago_goes_on(put: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of which only the hash is remembered is found again, by events and by heartbeats."""
    monkeypatch.setattr(knownruns, "RECENT", 2)
    for number in range(6):
        put(event(f"r{number}", "Queued", number))
    put(event("r0", "Running", 60))
    put(beat("r1", Progress=0.5))
    rows = put.rows("SELECT RunId, Status, Progress FROM Runs ORDER BY RunId")
    assert [(r["RunId"], r["Status"], r["Progress"]) for r in rows] == [
        ("r0", "Running", None),
        ("r1", "Queued", 0.5),
        *((f"r{number}", "Queued", None) for number in range(2, 6)),
    ]


def test_commits_are_remembered_and_asked_for_beyond() -> None:
    """What is remembered is answered from memory; what is older is not guessed."""
    newest = NewestCommits(before=10)
    assert newest.after(10, 5) == []
    assert newest.after(9, 5) is None
    at = datetime(2026, 3, 1, tzinfo=UTC)
    made = [
        CommitInfo(seq=11 + n, ingested_at=at + timedelta(seconds=n), rows=1, heartbeats=0) for n in range(NEWEST + 1)
    ]
    for commit in made:
        newest.add(commit)
    assert newest.after(10, 5) is None
    assert newest.after(11, 2) == made[1:3]
    assert newest.after(made[-1].seq, 5) == []

"""What the store remembers of its runs and commits never misses one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.clock import ManualClock
from tocsin.logstore.ddl import prepare
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.durable import NEWEST, NewestCommits
from tocsin.logstore.interface import CommitInfo
from tocsin.logstore.query.as_of import FEW
from tocsin.logstore.recent import run_locator
from tocsin.logstore.recent.run_locator import NEVER, GrowingKeys, PackedKeys, RunLocator, hash_of, save

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    """An empty store."""
    con = duckdb.connect()
    prepare(con)
    return con


def put_runs(con: duckdb.DuckDBPyConnection, runs: Mapping[str, int]) -> None:
    """Let the store hold these runs and no others, with these CommitSeqs, and no saved hashes."""
    con.execute("DELETE FROM tocsin.runs")
    con.execute("DELETE FROM tocsin.run_keys")
    con.execute("DELETE FROM tocsin.commits")
    con.execute("UPDATE tocsin.meta SET keys_upto = 0")
    for run, seq in runs.items():
        con.execute("INSERT INTO tocsin.runs (RunId, CommitSeq) VALUES ($run, $seq)", {"run": run, "seq": seq})
    con.execute("INSERT INTO tocsin.commits (seq) VALUES ($seq)", {"seq": max(runs.values(), default=0)})


@given(runs=st.dictionaries(NAMES, st.integers(1, 3000), max_size=30), others=st.sets(NAMES, max_size=30))
def test_stored_runs_are_known_by_their_hash(
    con: duckdb.DuckDBPyConnection, runs: dict[str, int], others: set[str]
) -> None:
    """SQL and Python hash alike: a stored run is looked for from little before its commit on; others hardly ever."""
    put_runs(con, runs)
    head = max(runs.values(), default=0)
    known = RunLocator(con, head)
    for run, seq in runs.items():
        since = known.since([run])
        assert since != NEVER
        assert seq - head // 100 - 1 <= since <= seq
    hashes = {hash_of(name) for name in runs}
    assert {name for name in others if known.since([name]) != NEVER} == {n for n in others if hash_of(n) in hashes}


@given(
    before=st.dictionaries(NAMES, st.integers(1, 500), max_size=30),
    after=st.dictionaries(NAMES, st.integers(501, 900), max_size=30),
)
def test_saved_hashes_are_completed_by_what_moved_since(
    con: duckdb.DuckDBPyConnection, before: dict[str, int], after: dict[str, int]
) -> None:
    """What is read from the saved hashes and the runs that moved later never misses a run nor comes after its commit."""
    put_runs(con, before)
    save(con)
    saved = con.execute("SELECT hash, seq FROM tocsin.run_keys").fetchall()
    assert saved == sorted((hash_of(run), seq) for run, seq in before.items())
    for run, seq in after.items():
        con.execute("DELETE FROM tocsin.runs WHERE RunId = $run", {"run": run})
        con.execute("INSERT INTO tocsin.runs (RunId, CommitSeq) VALUES ($run, $seq)", {"run": run, "seq": seq})
    known = RunLocator(con, 900)
    for run, seq in {**before, **after}.items():
        since = known.since([run])
        assert since != NEVER
        assert since <= seq
    assert con.execute("SELECT hash, seq FROM tocsin.run_keys").fetchall() == saved


def test_many_runs_that_moved_are_saved_by_a_start(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start saves the hashes when many are new, so that the next need not compute them."""
    monkeypatch.setattr(run_locator, "UNSAVED", 2)
    put_runs(con, {"a": 1, "b": 2})
    RunLocator(con, 2)
    assert con.execute("SELECT count(*) FROM tocsin.run_keys").fetchall() == [(0,)]
    put_runs(con, {"a": 1, "b": 2, "c": 7})
    RunLocator(con, 7)
    saved = con.execute("SELECT seq FROM tocsin.run_keys ORDER BY seq").fetchall()
    assert (saved, con.execute("SELECT keys_upto FROM tocsin.meta").fetchall()) == ([(1,), (2,), (7,)], [(7,)])
    assert [RunLocator(con, 7).since([run]) for run in "abcd"] == [1, 2, 7, NEVER]


@given(
    noted=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 400)), max_size=150),
    fresh=st.integers(1, 10),
    young=st.integers(1, 20),
)
def test_runs_are_known_however_many_were_noted(
    con: duckdb.DuckDBPyConnection, noted: list[tuple[int, int]], fresh: int, young: int
) -> None:
    """Of recent runs the commit is known, of all others one that is not after it; however they are kept."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(run_locator, "RECENT", 3)
        monkeypatch.setattr(GrowingKeys, "FRESH", fresh)
        monkeypatch.setattr(GrowingKeys, "YOUNG", young)
        put_runs(con, {})
        known = RunLocator(con, 0)
        least: dict[str, int] = {}
        for number, seq in noted:
            known.note({f"run-{number}": seq})
            least[f"run-{number}"] = min(seq, least.get(f"run-{number}", seq))
        for number in range(61):
            run = f"run-{number}"
            since = known.since([run])
            assert (since == NEVER) == (run not in least)
            if since != NEVER:
                assert min(least[run], 255) <= since <= max(s for n, s in noted if n == number)
        for number, seq in noted[-1:]:
            assert known.since([f"run-{number}", "new"]) == seq
        assert known.since(["new"]) == NEVER


class Iterated(dict[str, int]):
    """Counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return super().__iter__()


def test_the_runs_of_a_large_commit_are_gone_through_once(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary's first key is found behind all that were taken out: once for each run was a tenth of a commit."""
    monkeypatch.setattr(run_locator, "RECENT", 100)
    put_runs(con, {})
    known = RunLocator(con, 0)
    known._recent = recent = Iterated()
    known.note({f"run-{number}": number for number in range(1, 1001)})
    assert (1, 100) == (recent.times, len(recent))
    assert [1000, 901] == [known.since([f"run-{number}"]) for number in (1000, 901)]
    assert known.since(["run-900"]) <= 900


def test_unsorted_hashes_are_no_keys() -> None:
    """A table whose order was lost is not searched in."""
    with pytest.raises(ValueError, match="not sorted"):
        PackedKeys([pa.array([3, 2], pa.uint64())])
    with pytest.raises(ValueError, match="not sorted"):
        PackedKeys([pa.array([3], pa.uint64()), pa.array([2], pa.uint64())])


def test_a_run_of_long_ago_goes_on(put: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of which only the hash is remembered is found again, by events and by heartbeats."""
    monkeypatch.setattr(run_locator, "RECENT", 2)
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


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """A store without saved hashes, or without those of its rows, gets them and what came later; its runs go on."""
    clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    with closing(DuckLogStore.open(tmp_path / "old.duckdb", clock=clock, reserve=0)) as store:
        Bench(store, clock)(event("r1", "Queued", 0), event("r3", "Queued", 1, JobKey="nightly"))
    with duckdb.connect(str(tmp_path / "old.duckdb")) as con:
        if version == 1:
            con.execute("DROP TABLE tocsin.run_keys")
            con.execute("ALTER TABLE tocsin.meta DROP COLUMN keys_upto")
        for column in ("RunKey", "JobHash", "Description", "TagPatch", "PropertyPatch"):
            con.execute(f"ALTER TABLE tocsin.runs DROP COLUMN {column}")
        con.execute("ALTER TABLE RunStatusChanged DROP COLUMN GivenTime")
        con.execute("DROP TABLE RunMetrics")
        con.execute("DROP TABLE tocsin.run_updates")
        con.execute("UPDATE tocsin.meta SET version = $version", {"version": version})
    with closing(DuckLogStore.open(tmp_path / "old.duckdb", clock=clock, reserve=0)) as store:
        put = Bench(store, clock)
        put(event("r1", "Running", 60), event("r2", "Queued", 61))
        clock.set(clock.now() + timedelta(seconds=5))
        put(beat("r3"))
        rows = put.rows("SELECT RunId, Status, LastSeen > FirstSeen AS beaten FROM Runs ORDER BY RunId")
        notified_of_job = store.select(*store.runs_of_jobs(["nightly"])).column("RunId").to_pylist()
    assert [(r["RunId"], r["Status"]) for r in rows] == [("r1", "Running"), ("r2", "Queued"), ("r3", "Queued")]
    assert rows[2]["beaten"]
    assert notified_of_job == ["r3"]


@pytest.mark.parametrize("many", [1, 3, FEW, FEW + 1, 60])
def test_runs_are_found_by_their_hashes(tmp_path: Path, many: int) -> None:
    """As few as are written into the query, and more; whatever their names are."""
    clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    names = [f"r{n}" for n in range(60)] + ["a'b", 'é\u2028"x', "-- x"]
    with closing(DuckLogStore.open(None, clock=clock)) as store:
        put = Bench(store, clock)
        put(*(event(name, "Queued", n, JobKey=f"job of {name}") for n, name in enumerate(names)))
        wanted = [*names[-3:], *names[: many - 1], "unknown"]
        found = store.select(*store.runs_of(wanted)).column("RunId").to_pylist()
        of_jobs = store.select(*store.runs_of_jobs([f"job of {name}" for name in wanted])).column("RunId").to_pylist()
        nothing = [store.select(*rows).num_rows for rows in (store.runs_of([]), store.runs_of_jobs([]))]
    assert set(found) == set(of_jobs) == {*wanted} - {"unknown"}
    assert len(found) == len(wanted) - 1 and nothing == [0, 0]

"""Reading, reference tables, the mirror, retention, and what a query may not do."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.clock import ManualClock, SystemClock
from tocsin.errors import QueryError, QueryTimeout, StoreError, StoreLost
from tocsin.logstore.ddl import VERSION
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.open import Memory
from tocsin.logstore.ingest.read import WIRE
from tocsin.logstore.interface import Limits
from tocsin.logstore.sqlfiles import sql
from tocsin.model.columns import DUCKDB, TABLES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_tables_are_those_of_the_model(put: Bench) -> None:
    """Names, order and types."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in TABLES:
        table = put.store.select(f"DESCRIBE {name}")
        found[name] = [(r["column_name"], r["column_type"]) for r in table.to_pylist()]
    assert {n: [(c.name, DUCKDB[c.type]) for c in columns] for n, columns in TABLES.items()} == found


def test_what_was_received_is_written_as_zstd(tmp_path: Path) -> None:
    """DuckDB's own choice takes four times the file and twice the CPU of a checkpoint (decision 16)."""
    path, raw = tmp_path / "e.duckdb", [event(f"r{n}", Message=f"message {n}") for n in range(2000)]
    with closing(DuckLogStore.open(path, clock=ManualClock(NOW), reserve=0)) as store:
        Bench(store, ManualClock(NOW))(*raw)
    with duckdb.connect(str(path)) as con:
        found = con.execute(
            "SELECT DISTINCT compression FROM pragma_storage_info('RunStatusChanged')"
            " WHERE column_name = 'Raw' AND segment_type <> 'VALIDITY'"
        ).fetchall()
        texts = con.execute("SELECT Raw FROM RunStatusChanged ORDER BY rowid").fetchall()
    assert [("ZSTD",)] == found
    assert raw == [text.encode() for (text,) in texts]


def test_the_reading_knows_every_wire_column() -> None:
    text = sql("read_events")
    assert [] == [name for name in sorted(WIRE) if f'"{name}":"' not in text]


def test_azure_view(put: Bench) -> None:
    put(event(status="Failed", Message="no memory", WorkspaceName="ws"))
    (row,) = put.rows("SELECT * FROM AmlRunStatusChangedEvent")
    assert 27 == len(row)
    assert ("Failed", "no memory", "ws", "AmlRunStatusChangedEvent") == tuple(
        row[k] for k in ("Status", "Message", "WorkspaceName", "Type")
    )


# --- select -----------------------------------------------------------------------------------------------------------


def test_select_takes_parameters_and_cuts_rows(put: Bench) -> None:
    table = put.store.select("SELECT i FROM range($n) t(i) ORDER BY i", {"n": 5000}, Limits(seconds=10, rows=7))
    assert list(range(7)) == table["i"].to_pylist()


def test_a_slow_query_is_ended(clock: ManualClock) -> None:
    store = DuckLogStore.open(None, clock=SystemClock())
    with pytest.raises(QueryTimeout, match=r"longer than 0\.05 s"):
        store.select("SELECT count(*) FROM range(10000000000) a, range(1000) b", None, Limits(seconds=0.05))
    assert [1] == store.select("SELECT 1 AS x")["x"].to_pylist()
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM nobody",
        "DELETE FROM RunStatusChanged",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY Runs TO '/tmp/out.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "SET memory_limit = '10GB'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "CREATE TABLE x (i INT)",
    ],
)
def test_what_a_query_may_not_do(put: Bench, statement: str) -> None:
    """Refused, and nothing changed."""
    put(event())
    with pytest.raises(QueryError):
        put.store.select(statement)
    assert 1 == len(put.events())


def test_python_variables_are_no_tables(put: Bench) -> None:
    secret = pa.table({"x": [1]})
    with pytest.raises(QueryError):
        put.store.select("SELECT * FROM secret")
    assert 1 == secret.num_rows


def test_readers_of_many_threads(put: Bench) -> None:
    put(event())
    seen: list[int] = []

    def read() -> None:
        for _ in range(20):
            seen.extend(put.store.select("SELECT count(*) AS n FROM RunStatusChanged")["n"].to_pylist())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [1] * 80 == seen


def test_after_close_everything_says_so(clock: ManualClock) -> None:
    store = DuckLogStore.open(None, clock=clock)
    store.close()
    store.close()
    with pytest.raises(StoreLost):
        store.select("SELECT 1")
    with pytest.raises(StoreError):
        store.append([])


# --- reference tables -------------------------------------------------------------------------------------------------


def test_reference_tables_are_replaced(put: Bench) -> None:
    put.store.set_table("owners", pa.table({"Run": ["r1"], "Cost": [1.5]}))
    put.store.set_table("owners", pa.table({"Run": ["r1", "r2"]}))
    assert ["r1", "r2"] == [r["Run"] for r in put.rows("SELECT Run FROM owners ORDER BY Run")]
    assert {"Run": "string"} == put.store.schema()["owners"]
    put.store.drop_table("owners")
    assert "owners" not in put.store.schema()
    with pytest.raises(QueryError):
        put.rows("SELECT * FROM owners")


@pytest.mark.parametrize("name", ["Runs", "runs", "RUNSTATUSCHANGED", "a b", '"x"'])
def test_our_names_are_taken(put: Bench, name: str) -> None:
    with pytest.raises(StoreError):
        put.store.set_table(name, pa.table({"x": [1]}))
    with pytest.raises(StoreError):
        put.store.drop_table(name)


def test_types_of_reference_columns(put: Bench) -> None:
    table = pa.table(
        {
            "s": ["a"], "i": pa.array([1], pa.int32()), "l": [1], "r": [0.5], "b": [True],
            "t": pa.array([NOW.replace(tzinfo=None)], pa.timestamp("us")),
        }
    )  # fmt: skip
    put.store.set_table("kinds", table)
    expected = {"s": "string", "i": "int", "l": "long", "r": "real", "b": "bool", "t": "datetime"}
    assert expected == put.store.schema()["kinds"]


# --- mirror -----------------------------------------------------------------------------------------------------------


def test_the_mirror_is_idempotent(put: Bench) -> None:
    alert = {
        "Time": NOW,
        "Rule": "r",
        "Instance": {"RunId": "r1"},
        "From": "",
        "To": "fired",
        "Value": 1.0,
        "CommitSeq": 1,
    }
    note = {"Time": NOW, "Delivery": "d", "Rules": ["r"], "State": "sent", "Attempt": 1}
    action = {"Time": NOW, "By": "anna", "Kind": "snooze", "Until": NOW}
    for _ in range(2):
        put.store.append_mirror(5, [alert], [note], [action])
    assert (5, 0) == (put.store.mirror_seq, put.store.head().seq)
    (row,) = put.rows('SELECT Rule, Instance, "To", Occurrence, T FROM Alerts')
    assert ("r", '{"RunId": "r1"}', "fired", "", None) == tuple(row.values())
    assert [('["r"]', "")] == [tuple(r.values()) for r in put.rows("SELECT Rules, Subject FROM Notifications")]
    assert [("anna", "snooze", "")] == [tuple(r.values()) for r in put.rows('SELECT "By", Kind, Matchers FROM Actions')]


def test_an_unknown_mirror_column_is_refused(put: Bench) -> None:
    with pytest.raises(StoreError, match="Alerts has no column Wrong"):
        put.store.append_mirror(1, [{"Wrong": 1}], [])
    assert 0 == put.store.mirror_seq


# --- consumers, pairing, files ----------------------------------------------------------------------------------------


def test_consumers_remember_their_first_start(put: Bench) -> None:
    later, latest = NOW + timedelta(minutes=5), NOW + timedelta(minutes=9)
    assert NOW == put.store.start_consumer("c", NOW).first_start
    put.store.alive(["c", "unknown"], later)
    again = put.store.start_consumer("c", latest)
    assert (NOW, later) == (again.first_start, again.last_alive)
    assert latest == put.store.start_consumer("c", latest).last_alive


def test_adopting_a_pair_id(tmp_path: Path, clock: ManualClock) -> None:
    store = DuckLogStore.open(tmp_path / "e.duckdb", clock=clock)
    store.set_pair_id("other")
    store.close()
    store = DuckLogStore.open(tmp_path / "e.duckdb", clock=clock)
    assert "other" == store.pair_id
    store.close()


def test_a_later_schema_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    import duckdb

    path = tmp_path / "e.duckdb"
    DuckLogStore.open(path, clock=clock).close()
    with duckdb.connect(str(path)) as con:
        con.execute(f"UPDATE tocsin.meta SET version = {VERSION + 1}")
    with pytest.raises(StoreError, match="use a later tocsin"):
        DuckLogStore.open(path, clock=clock)


def test_size_counts_file_and_wal(tmp_path: Path, clock: ManualClock) -> None:
    store = DuckLogStore.open(tmp_path / "e.duckdb", clock=clock)
    before = store.size()
    Bench(store, clock)(*(event(f"r{i}", Message="x" * 500) for i in range(500)))
    assert store.size() > before + 100_000
    store.checkpoint()
    assert not Path(f"{tmp_path}/e.duckdb.wal").exists() or 0 == Path(f"{tmp_path}/e.duckdb.wal").stat().st_size
    store.close()


# --- retention --------------------------------------------------------------------------------------------------------


def test_retention_keeps_the_last_row_of_open_runs(put: Bench, clock: ManualClock) -> None:
    day = 86400
    put(
        event("ended", "Running", at=-20 * day), event("ended", "Failed", at=-19 * day),
        event("open", "Queued", at=-20 * day), event("open", "Running", at=-19 * day), event("new", "Failed", at=0),
        beat("ended"), b"dead",
    )  # fmt: skip
    clock.advance(timedelta(days=3))
    keep = {"RunStatusChanged": timedelta(days=10), "Heartbeats": timedelta(days=1), "DeadLetters": timedelta(days=1)}
    deleted = put.store.retain(clock.now(), keep)
    assert {"RunStatusChanged": 3, "Runs": 1, "Heartbeats": 1, "DeadLetters": 1} == deleted
    assert [("open", "Running"), ("new", "Failed")] == [(e["RunId"], e["Status"]) for e in put.events()]
    assert ["new", "open"] == [r["RunId"] for r in put.rows("SELECT RunId FROM Runs ORDER BY RunId")]


def test_retention_deletes_whole_days(put: Bench, clock: ManualClock) -> None:
    """At noon, a row of yesterday morning stays for `1d`."""
    put(event("r1", "Failed", at=-28 * 3600), event("r2", "Failed", at=-40 * 3600))
    put.store.retain(clock.now(), {"RunStatusChanged": timedelta(days=1)})
    assert ["r1"] == [e["RunId"] for e in put.events()]


def test_retention_does_not_take_the_sequence_back(put: Bench, clock: ManualClock) -> None:
    put(event("r1", "Failed"))
    clock.advance(timedelta(days=100))
    put.store.retain(clock.now(), {"RunStatusChanged": timedelta(days=1)})
    assert 2 == put(event("r2", at=100 * 86400)).seq


# --- memory that queries take -----------------------------------------------------------------------------------------


def _hog(store: DuckLogStore) -> duckdb.DuckDBPyConnection:
    """A reader that holds what memory there is."""
    cursor = store._con.cursor()
    cursor.execute("CREATE TEMP TABLE hog (x VARCHAR)")
    with pytest.raises(duckdb.Error, match=r"could not allocate|failed to"):
        while True:
            cursor.execute("INSERT INTO hog SELECT md5(i::VARCHAR) FROM range(20000) t(i)")
    return cursor


def test_a_commit_waits_for_memory_that_a_query_takes(clock: ManualClock) -> None:
    """The query is ended soon; until then there was no commit, and nothing was kept twice."""
    store = DuckLogStore.open(None, clock=clock, memory=Memory(limit="80MiB"))
    hog = _hog(store)
    events = [event(f"r{n}", Message="m" * 500) for n in range(1000)]
    threading.Timer(0.1, hog.execute, ["DROP TABLE hog"]).start()
    assert 1000 == Bench(store, clock)(*events).rows
    assert [{"n": 1000}] == store.select("SELECT count(*) AS n FROM RunStatusChanged").to_pylist()
    store.close()


def test_a_commit_for_which_there_is_no_memory_is_refused(clock: ManualClock) -> None:
    store = DuckLogStore.open(None, clock=clock, memory=Memory(limit="80MiB"))
    hog = _hog(store)
    put = Bench(store, clock)
    with pytest.raises(StoreError, match="does not fit into memory"):
        put(*[event(f"r{n}", Message="m" * 500) for n in range(1000)])
    hog.execute("DROP TABLE hog")
    assert 1 == put(event()).rows
    store.close()


def test_a_commit_waits_where_what_people_ask_leaves_it_no_room(clock: ManualClock) -> None:
    """The rows have found theirs. A COMMIT that does not would lose the store."""
    store = DuckLogStore.open(None, clock=clock, memory=Memory(limit="80MiB"))
    holding: list[duckdb.DuckDBPyConnection] = []
    for _ in range(9):  # results of eight megabytes that nobody has fetched
        holding.append(store._con.cursor())
        holding[-1].execute("SELECT list(i) FROM range(500000) t(i)")
    put = Bench(store, clock)
    with store._reader._one_more(), pytest.raises(StoreError, match=r"queries hold \d+\.\d MiB of 80\.0 MiB"):
        put(event())
    for cursor in holding:
        cursor.close()
    with store._reader._one_more():
        assert 1 == put(event()).rows
    store.close()

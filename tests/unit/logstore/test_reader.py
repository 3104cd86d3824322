"""Readers of the store: what threads leave behind, what a query that does not come back may hold up, and what
closing does to others.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from tests.servers.eventually import eventually
from tests.unit.logstore.helpers import Bench, event
from tocsin.clock import EPOCH, ManualClock, SystemClock
from tocsin.errors import QueryBusy, QueryError, QueryTimeout, StoreLost
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.open import Memory
from tocsin.logstore.interface import Limits
from tocsin.logstore.query.macros import growth
from tocsin.logstore.query.select import ReadCursor, most_pinned
from tocsin.logstore.query.watch import MOST_LEFT, POLL_SECONDS, Ended, Held, Most, Watchdog, Watched, Workers

ASKED = Limits(seconds=0.1, watched=True)
RULES = Limits(seconds=5.0)
GROWS = "SELECT repeat('ab', 2) AS x"
LONG = "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"


@pytest.fixture
def store() -> Iterator[DuckLogStore]:
    """An empty store."""
    with_nothing = DuckLogStore.open(None, clock=SystemClock())
    yield with_nothing
    with_nothing.close()


def stick(store: DuckLogStore) -> None:
    """Ask for one step that takes seconds, whatever interrupts it."""
    con = duckdb.connect()
    texts = con.execute("SELECT repeat('a', 60000) AS a, repeat('b', 60000) AS b").to_arrow_table().to_pylist()[0]
    with pytest.raises(QueryTimeout, match="cannot be interrupted"):
        store.select("SELECT levenshtein($a, $b) AS n", texts, ASKED)


def test_small_questions_share_a_time_limit_and_leave_no_transaction_open(store: DuckLogStore) -> None:
    with store.asking(Limits(seconds=60, rows=3)) as ask:
        assert [{"i": n, "x": "a"} for n in range(3)] == ask("SELECT i, $x AS x FROM range(10) t(i)", {"x": "a"})
        with pytest.raises(QueryError):
            ask("SELECT nothing FROM RunStatusChanged", {})
        assert [{"i": 1}] == ask("SELECT 1 AS i", {})
    store.checkpoint()  # which an open answer would keep off
    with pytest.raises(QueryTimeout), store.asking(Limits(seconds=0.1)) as ask:
        while True:
            ask("SELECT count(*) FROM range(100000) t(i) WHERE i % 7 = 3", {})
    with store.asking(RULES) as ask:
        assert [{"i": 1}] == ask("SELECT 1 AS i", {})
    store.close()
    with pytest.raises(StoreLost), store.asking(RULES):
        pass


def test_threads_that_are_gone_leave_nothing_behind(store: DuckLogStore) -> None:
    """Each tick of many window rules reads with threads of its own: their cursors are closed with them."""

    def reads() -> None:
        store.select("SELECT 1 AS one")
        store.select(GROWS)

    read_cursors = store._reader._read_cursors
    for _ in range(5):
        thread = threading.Thread(target=reads)
        thread.start()
        thread.join()
    assert 0 == len(read_cursors)
    store.select("SELECT 1 AS one")
    assert 1 == len(read_cursors)


def test_a_thread_reads_with_one_cursor(store: DuckLogStore) -> None:
    """It is kept from one query to the next: to make one again costs each query."""
    store.select("SELECT 1")
    first = store._reader._read_cursor()
    store.select("SELECT 1")
    assert first is store._reader._read_cursor()


def test_what_was_given_up_holds_up_neither_the_end_nor_a_new_start() -> None:
    """The store is closed in time, and is not opened a second time beside itself."""
    store = DuckLogStore.open(None, clock=SystemClock())
    stick(store)
    with pytest.raises(StoreLost, match="still holds"):
        store.reopen()
    assert 1 == store._reader._workers[True]._left  # it was not waited for
    with pytest.raises(StoreLost, match="still holds"):
        store.append([])
    eventually(store._reader.close, within=60)
    assert 0 == store.reopen().seq
    assert [{"x": "abab"}] == store.select(GROWS).to_pylist()
    store.close()


@pytest.mark.parametrize("limits", [None, Limits(seconds=60), Limits(seconds=60, watched=True)], ids=str)
def test_a_query_that_closing_interrupts_says_that_the_store_is_lost(limits: Limits | None) -> None:
    """Who reads waits for the store then, as for one that was lost otherwise."""
    store = DuckLogStore.open(None, clock=SystemClock())
    found: list[Exception] = []
    begun = threading.Event()

    def reads() -> None:
        store.select("SELECT 1 AS one")
        begun.set()
        try:
            store.select(LONG, None, limits)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is looked at
            found.append(e)

    thread = threading.Thread(target=reads)
    thread.start()
    begun.wait(10)
    store.close()
    thread.join(10)
    assert [StoreLost] == [type(e) for e in found]


class Blocked:
    """Work that does not come back until it may."""

    def __init__(self) -> None:
        self.may, self.thread = threading.Event(), 0

    def __call__(self, read_cursor: object) -> None:
        self.thread = threading.get_native_id()
        self.may.wait(60)


def test_closing_waits_until_the_threads_have_dropped_their_cursors() -> None:
    """One that drops a cursor of DuckDB while the interpreter ends takes the process with it: exit -6, after the answer."""
    dropped = threading.Event()

    class Cursor:
        def __del__(self) -> None:
            threading.Event().wait(0.2)
            dropped.set()

    workers = Workers(Cursor)
    assert workers.run(lambda read_cursor: 1, 5) == 1
    workers.close()
    assert dropped.is_set()


def test_so_many_may_be_left_and_no_more() -> None:
    """They come last wherever somebody else wants the core, and once one has ended, another query is begun."""
    workers = Workers(object)
    left = [Blocked() for _ in range(MOST_LEFT)]
    for each in left:
        with pytest.raises(QueryTimeout, match="is given up"):
            workers.run(each, -0.9)
    assert [19] * MOST_LEFT == [os.getpriority(os.PRIO_PROCESS, each.thread) for each in left]
    with pytest.raises(QueryBusy, match="earlier queries"):
        workers.run(lambda read_cursor: 1, 5)
    left[0].may.set()

    def again() -> bool:
        try:
            return workers.run(lambda read_cursor: threading.get_native_id(), 5) not in {each.thread for each in left}
        except QueryBusy:
            return False

    eventually(again, within=10)
    left[1].may.set()
    workers.close()


def test_what_anybody_asked_keeps_no_rule_from_being_evaluated(store: DuckLogStore) -> None:
    asked = store._reader._workers[True]
    left = [Blocked() for _ in range(MOST_LEFT)]
    for each in left:
        with pytest.raises(QueryTimeout):
            asked.run(each, -0.9)
    with pytest.raises(QueryBusy):
        store.select(GROWS, None, ASKED)
    assert [{"x": "abab"}] == store.select(GROWS, None, RULES).to_pylist()
    for each in left:
        each.may.set()


def test_an_idle_thread_keeps_no_answer() -> None:
    """An answer may have 32 MiB, and nobody may ask again for hours."""

    class Answer:
        pass

    workers = Workers(object)
    kept = weakref.ref(workers.run(lambda read_cursor: Answer(), 5))
    eventually(lambda: kept() is None, within=5)
    workers.close()


def test_a_bound_that_could_not_be_set_is_set_again() -> None:
    """Else the function would run without one."""
    con = duckdb.connect()
    read_cursor, needs = ReadCursor(con), growth("SELECT repeat('a', 1)")
    cursor = read_cursor.cursor(growth("SELECT lpad('a', 100, 'b')"))
    cursor.execute("BEGIN")
    with pytest.raises(duckdb.Error):
        cursor.execute("SELECT error('no more in this transaction')").fetchall()
    with pytest.raises(duckdb.Error):
        read_cursor.cursor(needs)
    cursor.execute("ROLLBACK")
    with pytest.raises(duckdb.Error, match="would make a value"):
        read_cursor.cursor(needs).execute("SELECT repeat('a', 100000)").fetchall()


def test_what_is_counted_is_not_held_against_a_query_whose_first_check_comes_late() -> None:
    """It read much, and the watchdog had no core: only what grew beside that counts."""
    most = Most(uncounted=64 << 20, pinned=1 << 30)
    one = Watched(0.0, 60.0, 100 << 20, most, lambda: None, 10 << 20)
    assert Ended.NOT is one.verdict(10 * POLL_SECONDS, 170 << 20, Held(80 << 20, 0))
    assert Ended.MEMORY is one.verdict(11 * POLL_SECONDS, 250 << 20, Held(80 << 20, 0))


@pytest.mark.parametrize(("mib", "asked", "rules"), [(40, 13, 15), (80, 48, 48), (160, 107, 120), (1024, 686, 768)])
def test_commits_find_memory_beside_what_queries_take(mib: int, asked: int, rules: int) -> None:
    """Beside what a query may take there is a step by which it may exceed that, and room for a commit."""
    limit = mib << 20
    assert [asked, rules] == [most_pinned(limit, watched) >> 20 for watched in (True, False)]


@pytest.mark.parametrize("limits", [None, Limits(seconds=30, rows=1_000_000)])
def test_a_file_that_is_damaged_is_no_fault_of_the_query(tmp_path: Path, limits: Limits | None) -> None:
    """It shows while rows stream, when Arrow has wrapped the error; a rule must not be taken to have failed by it."""
    path, clock = tmp_path / "e.duckdb", SystemClock()
    with closing(DuckLogStore.open(path, clock=clock, reserve=0)) as store:
        store._con.execute(
            "INSERT INTO RunStatusChanged (RunId, Message)"
            " SELECT 'r' || i, md5('a' || i) || md5('b' || i) FROM range(130_000) t(i)"  # two row groups
        )
    with duckdb.connect(str(path)) as con:
        blocks = con.execute(
            "SELECT block_id FROM pragma_storage_info('RunStatusChanged')"
            " WHERE column_name = 'Message' AND segment_type = 'VARCHAR' AND persistent ORDER BY row_group_id, segment_id"
        ).fetchall()
    with path.open("r+b") as file:
        file.seek(3 * 4096 + blocks[-1][0] * 262_144 + 1000)
        file.write(bytes(1000))
    with closing(DuckLogStore.open(path, clock=clock, reserve=0)) as store, pytest.raises(StoreLost, match="Corrupt"):
        store.select("SELECT Message FROM RunStatusChanged", {}, limits)


MUCH = Held(90, 90)
ASKED_FOR, OF_A_RULE = Most(uncounted=1 << 40, pinned=50), Most(uncounted=1 << 41, pinned=50)


def test_what_anybody_asked_is_ended_for_memory_before_rules_are() -> None:
    """Nobody knows whose memory it is. A rule is ended only where it is still too much when others have given theirs
    back.
    """
    ended: list[str] = []
    watchdog = Watchdog(SystemClock(), lambda: MUCH)
    with watchdog.within(60, OF_A_RULE, lambda: ended.append("rule")) as rule:
        with watchdog.within(60, ASKED_FOR, lambda: ended.append("asked")) as asked:
            eventually(lambda: asked.ended is Ended.MEMORY)
            with watchdog.within(60, ASKED_FOR, lambda: ended.append("another")) as another:
                eventually(lambda: another.ended is Ended.MEMORY)
        eventually(lambda: rule.ended is Ended.MEMORY)
    assert ["asked", "another", "rule"] == ended
    watchdog.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watchdog_that_died_is_followed_by_another() -> None:
    """Else no query would have a limit any more."""
    looks = iter([SystemExit()])

    def held() -> Held:
        for fault in looks:
            raise fault
        return MUCH

    watchdog = Watchdog(SystemClock(), held)
    with watchdog.within(60, ASKED_FOR, lambda: None) as unseen:
        eventually(lambda: watchdog._thread is not None and not watchdog._thread.is_alive())
    with watchdog.within(60, ASKED_FOR, lambda: None) as seen:
        eventually(lambda: seen.ended is Ended.MEMORY)
    assert unseen.ended is Ended.NOT
    watchdog.close()


def test_a_query_that_is_still_there_is_interrupted_again() -> None:
    """An interrupt between two statements is forgotten when the next one begins, and that would have no limit."""
    ended: list[str] = []
    watchdog = Watchdog(SystemClock(), lambda: Held())
    with watchdog.within(0.01, ASKED_FOR, lambda: ended.append("interrupted")) as one:
        eventually(lambda: len(ended) >= 2)
    assert one.ended is Ended.TIME
    watchdog.close()


def test_only_what_anybody_asked_is_ended_for_a_commit() -> None:
    clock, ended = ManualClock(EPOCH), list[str]()
    watchdog = Watchdog(clock, Held)
    with (
        watchdog.within(60, OF_A_RULE, lambda: ended.append("rule")) as rule,
        watchdog.within(60, ASKED_FOR, lambda: ended.append("asked"), yields=True) as asked,
    ):
        assert not watchdog.make_room()  # it has just begun, and holds nothing
        clock.advance(timedelta(seconds=2 * POLL_SECONDS))
        assert watchdog.make_room()
        assert ["asked"] == ended
        assert (Ended.NOT, Ended.COMMIT) == (rule.ended, asked.ended)
    watchdog.close()


@pytest.mark.parametrize(
    "query",
    ["SELECT count(DISTINCT i) FROM range(200_000_000) t(i)", "SELECT i FROM range(200_000_000) t(i) ORDER BY hash(i)"],
    ids=["hashes", "sorts"],
)
def test_commits_have_memory_whatever_is_asked(tmp_path: Path, query: str) -> None:
    """A hash table took all there was; COMMIT found none, and the store was lost to whoever sent events."""
    with closing(
        DuckLogStore.open(tmp_path / "e.duckdb", clock=SystemClock(), reserve=0, memory=Memory(limit="80MiB"))
    ) as store:
        put = Bench(store, SystemClock())
        put(event("before"))
        faults: list[Exception] = []

        def ask() -> None:
            try:
                store.select(query, {}, Limits(seconds=60, rows=10, watched=True))
            except QueryError as fault:
                faults.append(fault)

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(lambda: faults or store._reader._held().working > 45 << 20, 30)
        for n in range(20):
            assert 1 == put(event(f"r{n}")).rows
        asking.join(30)
        # which limit the query meets first is a matter of threads: the commits', or its own
        assert 1 == len(faults) and "memory" in str(faults[0])

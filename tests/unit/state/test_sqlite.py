"""SQLite keeps the contract, in memory and in a file."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event, text

from tests.unit.state.builders import NOW, condition, delivery, intent, transition
from tests.unit.state.contract import StateContract
from tocsin.clock import ManualClock
from tocsin.errors import StoreError
from tocsin.state import schema
from tocsin.state.interface import Outcome, State
from tocsin.state.sqlite import SqliteState
from tocsin.state.tables import metadata


def open_(path: Path | None, **settings: timedelta) -> SqliteState:
    return SqliteState.open(path, clock=ManualClock(NOW), **settings)


class TestInMemory(StateContract):
    @pytest.fixture
    def state(self) -> Iterator[State]:
        state = open_(None)
        yield state
        state.close()


class TestInAFile(StateContract):
    @pytest.fixture
    def state(self, tmp_path: Path) -> Iterator[State]:
        state = open_(tmp_path / "data" / "state.sqlite")
        yield state
        state.close()


def test_a_file_opened_again_has_everything(tmp_path: Path) -> None:
    """What was committed is there after a restart."""
    path = tmp_path / "state.sqlite"
    first = open_(path)
    first.set_pair_id("pair")
    first.commit(Outcome(row_cursor=5, intents=(intent("r1"),), transitions=(transition("r1"),)), NOW)
    first.put_deliveries([delivery("d1")], [], NOW)
    first.close()
    again = open_(path)
    assert ("pair", 5, 2) == (again.pair_id, again.row_cursor(), again.mirror_seq())
    assert ([intent("r1")], [delivery("d1")]) == (again.intents(), again.due(NOW))
    again.close()


def test_the_file_is_written_ahead_and_synced(tmp_path: Path) -> None:
    """WAL, every commit synced, foreign keys held: on every connection of the pool."""
    state = open_(tmp_path / "state.sqlite")
    with state._engine.connect() as one, state._engine.connect() as two:
        for c in (one, two):
            asked = [c.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous", "foreign_keys")]
            assert ["wal", 2, 1] == asked
    state.close()


def test_migrations_make_exactly_the_metadata(tmp_path: Path) -> None:
    """Column for column, index for index, down to the SQL that SQLite keeps and the first rows: an empty database gets
    the tables without them.
    """
    state = open_(tmp_path / "made.sqlite")
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.sqlite'}")
    listing = text("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL")
    with engine.begin() as one, state._engine.connect() as two:
        schema.migrate(one)
        assert [] == compare_metadata(MigrationContext.configure(one), metadata)
        migrated, made = (
            {(kind, name): " ".join(sql.split()) for kind, name, sql in c.execute(listing)} for c in (one, two)
        )
        assert migrated == made
        assert {schema.HEAD} == {schema.current(c) for c in (one, two)}
        for table in metadata.sorted_tables:
            assert one.execute(table.select()).all() == two.execute(table.select()).all()
    engine.dispose()
    state.close()


def test_making_the_tables_is_all_or_nothing(tmp_path: Path) -> None:
    """Whatever statement of it fails first, the file is empty afterwards and opens the next time."""
    path = tmp_path / "state.sqlite"
    left = 0

    class Killed(Exception):
        pass

    def count_down(c: object, cursor: object, sql: str, *others: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    def statements_that_fit(n: int) -> bool:
        nonlocal left
        left = n
        event.listen(Engine, "before_cursor_execute", count_down)
        try:
            open_(path).close()
        except Killed:
            return False
        finally:
            event.remove(Engine, "before_cursor_execute", count_down)
        return True

    n = 1
    while not statements_that_fit(n):
        with create_engine(f"sqlite:///{path}").connect() as c:
            assert [] == c.exec_driver_sql("SELECT name FROM sqlite_master").all()
            c.engine.dispose()
        n += 1
    assert n > len(metadata.tables)
    state = open_(path)
    assert 0 == state.row_cursor()
    state.close()


def test_a_database_of_a_newer_tocsin_is_refused(tmp_path: Path) -> None:
    """It is left as it is, and the error says what to do."""
    path = tmp_path / "state.sqlite"
    state = open_(path)
    with state._engine.begin() as c:
        c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    state.close()
    with pytest.raises(StoreError, match=r"9999.*newer tocsin"):
        open_(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """With its path in the text, and untouched."""
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=r"state\.sqlite: the file is no SQLite database"):
        open_(path)
    assert path.read_bytes() == b"not a database, " * 100


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A directory that is a file."""
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match="directory cannot be made"):
        open_(tmp_path / "data" / "state.sqlite")
    (tmp_path / "state.sqlite").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_(tmp_path / "state.sqlite")


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    """As damage, with the way out, not as a wrong answer."""
    path = tmp_path / "state.sqlite"
    state = open_(path)
    state.commit(Outcome(intents=tuple(intent(f"r{i}") for i in range(500))), NOW)
    state.close()
    body = bytearray(path.read_bytes())
    body[16384:] = b"\xa5" * (len(body) - 16384)
    path.write_bytes(body)
    with pytest.raises(StoreError, match=r"damaged.*--adopt"):
        open_(path).intents()


def test_a_file_locked_by_another_program_is_reported(tmp_path: Path) -> None:
    """After `busy`; reading still works, and writing does once the lock is gone."""
    path = tmp_path / "state.sqlite"
    state = open_(path, busy=timedelta(milliseconds=20))
    other = create_engine(f"sqlite:///{path}")
    with other.connect() as c:
        c.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            state.commit(Outcome(row_cursor=3), NOW)
        assert 0 == state.row_cursor()
        c.rollback()
    state.commit(Outcome(row_cursor=3), NOW)
    assert 3 == state.row_cursor()
    other.dispose()
    state.close()


def test_a_full_disk_keeps_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """SQLite's original status for a full disk; the outcome is not half there."""
    state = open_(tmp_path / "state.sqlite")
    state.commit(Outcome(row_cursor=1), NOW)
    with state._engine.connect() as c:
        pages = c.exec_driver_sql("PRAGMA page_count").scalar_one()
        c.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
    big = Outcome(row_cursor=2, intents=tuple(intent(f"r{i}", event={"LogTail": "x" * 5000}) for i in range(50)))
    with pytest.raises(StoreError, match="disk is full"):
        state.commit(big, NOW)
    assert (1, []) == (state.row_cursor(), state.intents())
    with state._engine.connect() as c:
        c.exec_driver_sql("PRAGMA max_page_count = 1073741823")
    state.commit(big, NOW)
    assert (2, 50) == (state.row_cursor(), len(state.intents()))
    state.close()


@pytest.mark.parametrize(
    "question", ["due", "threads", "sent", "notified", "intents", "heads", "runs", "urgent", "bad"]
)
def test_questions_are_answered_from_an_index(question: str) -> None:
    """No question of the running program reads a whole table."""
    state = open_(None)
    asked: list[str] = []

    @event.listens_for(state._engine, "after_cursor_execute")
    def note(c: object, cursor: object, sql: str, *others: object) -> None:
        asked.append(sql)

    questions: dict[str, Callable[[], object]] = {
        "due": lambda: state.due(NOW),
        "threads": lambda: state.threads([("a", "g")]),
        "sent": lambda: state.sent_lately(NOW, 100),
        "notified": lambda: state.notified_addresses("r", "{}", ""),
        "intents": lambda: state.intents(),
        "heads": lambda: state.intent_heads(9),
        "urgent": lambda: state.urgent_intents(9),
        "bad": lambda: state.bad_addresses(),
        "runs": lambda: (state.rules_notified_of(["r"]), state.notified([("r", "r")])),
    }
    questions[question]()
    selects = [sql for sql in asked if sql.startswith("SELECT")]
    assert selects
    for sql in selects:
        with state._read() as tx:
            plan = [row[3] for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, ("[]",) * sql.count("?")).all()]
        assert [] == [s for s in plan if s.startswith("SCAN") and "VIRTUAL TABLE" not in s and "INDEX" not in s], plan
        if question == "urgent":  # not through all that waits
            assert any("intents_urgent" in s for s in plan), plan
        if question == "bad":  # not through all that was sent
            assert not any("deliveries_by_state" in s for s in plan), plan
    state.close()


def test_what_another_version_remembered_is_an_error_that_says_so(tmp_path: Path) -> None:
    with closing(open_(tmp_path / "state.sqlite")) as state:
        state.commit(Outcome(conditions=(condition({"n": 1}),)), NOW)
        with state._engine.begin() as c:
            c.exec_driver_sql("""UPDATE conditions SET data = '{"fired": 1}'""")
        with pytest.raises(StoreError, match="written by another version of tocsin: Remembered has no field 'fired'"):
            state.conditions("cost")

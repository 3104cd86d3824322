"""Which events are duplicates does not depend on what is remembered of those before, and a commit of new ones asks no
table.
"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, event
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.durable import read_known
from tocsin.logstore.recent import changes as recent
from tocsin.logstore.recent.changes import NewestKeys

NOON = datetime(2026, 3, 1, 12)
COMMITS = st.lists(
    st.tuples(
        st.sampled_from(["small", "small", "small", "bulk", "restart"]),
        # ids and producer times; with the gap of an hour, what is late is asked for apart
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 2, 9_000])), min_size=1, max_size=4),
    ),
    min_size=1, max_size=10,
)  # fmt: skip


@pytest.mark.parametrize("most", [1, recent.MOST_KEYS])
@settings(max_examples=examples(20), deadline=None)
@given(commits=COMMITS)
def test_the_same_events_are_duplicates_whatever_is_remembered(
    most: int, commits: list[tuple[str, list[tuple[str, int]]]]
) -> None:
    clock = ManualClock(NOON.replace(tzinfo=UTC))
    stored: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch, closing(DuckLogStore.open(None, clock=clock)) as store:
        patch.setattr(recent, "MOST_KEYS", most)
        for n, (how, events) in enumerate(commits):
            if how == "restart":
                store._known = read_known(store._con, clock.now())
            # an event without a time is of those that only the bulk statements take
            more = [event("z", "Running", None, id=f"e{n}")] if how == "bulk" else []
            new = [one for one in dict.fromkeys(events) if one not in stored]
            (receipt,) = Bench(store, clock)(*(event(id=name, at=at) for name, at in events), *more).receipts
            assert (len(new) + len(more), len(events) - len(new)) == (receipt.accepted, receipt.duplicate)
            stored += new
        assert len(stored) == len(Bench(store, clock).events("EventId")) - sum(how == "bulk" for how, _ in commits)


class Counting:
    """A connection that writes down the statements."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.statements: list[str] = []

    def execute(self, statement: str, *more: Any) -> duckdb.DuckDBPyConnection:
        self.statements.append(statement.partition("\n")[0][:27])
        return self._con.execute(statement, *more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


def test_statements_of_a_small_commit(store: DuckLogStore, put: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 0.3 to 1.5 ms. New events of new runs are written, and nothing is asked."""
    put(event("r0", "Running", 0), event("r1", "Running", 0))  # prepares what it inserts by
    con = Counting(store._staging.con)
    monkeypatch.setattr(store._staging, "con", con)
    put(*(event(f"r{n}", "Running", n) for n in range(2, 9)))
    commit = ["BEGIN", "EXECUTE insert_0", "EXECUTE insert_1", "INSERT INTO tocsin.commits ", "COMMIT"]
    assert commit == con.statements
    con.statements.clear()
    assert 1 == put(event("r2", "Running", 2), event("r9", "Running", 9)).receipts[0].duplicate
    assert ["BEGIN", "SELECT Source, EventId, Tim", *commit[1:]] == con.statements


def test_what_the_table_must_be_asked_about() -> None:
    def key(id: str, seconds: int) -> recent.Key:
        return "a", id, NOON + timedelta(seconds=seconds)

    newest = NewestKeys(NOON)
    assert [key("x", 0)] == newest.unknown([key("x", 0), key("x", 1)])
    newest.note([key("x", 1), key("x", 7)])
    assert [key("x", 1)] == newest.unknown([key("x", 1), key("y", 1), key("x", 2)])
    newest.lose(NOON + timedelta(seconds=5))
    assert [key("y", 5), key("x", 7)] == newest.unknown([key("y", 5), key("y", 6), key("x", 7)])


def test_so_many_are_remembered() -> None:
    """The older half goes, and with it the word that nothing else is there."""
    newest = NewestKeys(datetime.min)
    all_keys = [("a", str(n), NOON + timedelta(seconds=n)) for n in range(recent.MOST_KEYS + 1)]
    newest.note(all_keys)
    assert recent.MOST_KEYS // 2 + 1 == len(newest.unknown([("b", id, at) for _, id, at in all_keys]))
    assert all_keys == newest.unknown(all_keys)

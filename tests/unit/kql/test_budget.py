"""What a translation may take of CPU time and memory."""

import sys
from collections.abc import Iterator
from weakref import WeakSet

import pytest

from tocsin.errors import QueryBusy, QueryTimeout
from tocsin.kql.plan import query as remembered
from tocsin.kql.plan.query import user_query, within
from tocsin.model.columns import TABLES

SCHEMA = {name: {column.name: column.type.value for column in columns} for name, columns in TABLES.items()}


def _busy() -> Iterator[int]:
    while True:
        yield 1


def test_a_translation_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's parser needs a second for this; nothing stays hooked, and the next query is read."""
    monkeypatch.setattr(remembered, "SECONDS", 0.05)
    slow = "Runs | where 'é' == RunId and " + " and ".join("(" * 30 + "RunId == 'a'" + ")" * 30 for _ in range(80))
    before = sys.getprofile()
    with pytest.raises(QueryTimeout, match=r"translation of the query takes more than 0\.05 s"):
        user_query(slow, SCHEMA)
    assert before is sys.getprofile()
    monkeypatch.setattr(remembered, "SECONDS", 60.0)
    assert user_query("Runs | project Status", SCHEMA).columns.keys() == {"Status"}


def test_time_that_runs_out_while_something_is_thrown_away_counts_all_the_same() -> None:
    """Python drops what is raised where it calls back for a weak reference, and with it the hook."""

    class Thing:
        pass

    with pytest.raises(QueryTimeout), within(0, "it"):
        kept: WeakSet[Thing] = WeakSet()
        for _ in range(100):
            one = Thing()
            kept.add(one)
            del one  # calls back
        next(_busy())


def test_translations_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time has the interpreter; who waits too long is answered that others are before it."""
    monkeypatch.setattr(remembered, "WAITS", 0.01)
    with remembered._TURN, pytest.raises(QueryBusy, match="other queries are being translated"):
        user_query("Runs | where RunId == 'turns'", SCHEMA)
    assert user_query("Runs | where RunId == 'turns'", SCHEMA).tables == {"Runs"}


def test_a_block_that_calls_is_ended_and_one_that_has_time_is_not() -> None:
    with pytest.raises(QueryTimeout, match=r"it takes more than 0\.01 s"), within(0.01, "it"):
        for _ in _busy():
            pass
    with within(60, "it"):
        assert 1 == next(_busy())


def test_what_is_remembered_has_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 queries that become 400 KB each were 1.8 GiB with what else was remembered of them."""
    memory = remembered._Memory(100_000)
    monkeypatch.setattr(remembered, "_MEMORY", memory)
    for n in range(40):
        user_query(f"Runs | where RunId in ({', '.join(repr(f'{n}-{i}') for i in range(100))})", SCHEMA)
    assert 0 < len(memory) < 40
    assert memory._size <= 100_000
    again = user_query("Runs | take 1", SCHEMA)
    assert again is user_query("Runs | take 1", SCHEMA)

"""What small commits did to runs, out of memory: the same as the tables say, and honest about what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, event
from tests.unit.rules.said import Said, bench_in_memory, messages, pauses, payload
from tocsin.clock import ManualClock
from tocsin.logstore.recent import changes
from tocsin.rules.history import carried, key_of, whole_rows
from tocsin.rules.kinds.deadline.runs import as_left, runs_at, touched, us_of

timelines = st.lists(st.tuples(pauses, st.lists(messages, min_size=1, max_size=4)), max_size=8)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with bench_in_memory() as one:
        yield one


_numbers = iter(range(1_000_000))


@settings(max_examples=examples(150))
@given(timeline=timelines)
def test_it_says_what_the_tables_say(bench: Bench, timeline: list[tuple[int, list[Said]]]) -> None:
    own, store = f"n{next(_numbers)}", bench.store
    assert isinstance(bench.clock, ManualClock)
    before = [store.head().seq]
    for seconds, said in timeline:
        bench.clock.advance(timedelta(seconds=seconds))
        bench(*(payload(own, each) for each in said))
        hi = store.head().seq
        for after in (before[-1], before[0]):
            found = store.recent_runs(after, hi)
            assert found is not None
            assert {run: us_of(each.least) for run, each in found.items()} == touched(store, after, hi)
        if hi > before[-1]:
            rows = store.recent_rows(before[-1], hi)
            assert rows is not None
            places = {key_of(row): row["CommitSeq"] for row in rows}
            assert whole_rows(store, places.items()) == {key_of(row): carried(row) for row in rows}
            sql, params = store.rows_of(before[-1], hi)
            assert store.select(sql, params).num_rows == len(rows)
            latest = store.recent_runs(before[-1], hi)
            assert latest is not None
            _same(bench, latest.keys(), hi)
            before.append(hi)


def _same(bench: Bench, runs: object, hi: int) -> None:
    """As left by commit ``hi``, the head, against the tables: facts and whole rows."""
    found = bench.store.recent_runs(hi - 1, hi)
    assert found is not None
    whole = {run for run, each in found.items() if each.row is not None}
    left, read = as_left(found, whole), runs_at(bench.store, dict.fromkeys(found, hi))
    facts = read.facts(bench.store)
    assert left.facts(bench.store) == {run: facts[run] for run in whole}
    assert left.rows(bench.store, whole) == read.rows(bench.store, whole)
    for run in found.keys() - whole:  # of which only heartbeats came
        assert us_of(found[run].seen) == facts[run].seen_us


def test_later_commits_change_nothing_of_what_earlier_ones_left(bench: Bench) -> None:
    bench(event("later", "Queued", 0))
    first = bench.store.head().seq
    bench(event("later", "Running", 5))
    bench(event("later", "Completed", 9))
    found = bench.store.recent_runs(first - 1, first + 1)
    assert found is not None
    left = as_left(found, ["later"]).facts(bench.store)["later"]
    read = runs_at(bench.store, {"later": first + 1}).facts(bench.store)["later"]
    assert left.status == "Running"
    assert replace(read, seen_us=0) == replace(left, seen_us=0)  # rows keep when they were stored, not when received


def test_a_large_commit_is_not_known_nor_what_came_before_it(bench: Bench) -> None:
    bench(event("small-1", "Queued", 0))
    small = bench.store.head().seq
    bench(*(event(f"many-{n}", "Queued", 0) for n in range(500)))
    large = bench.store.head().seq
    bench(event("small-2", "Queued", 0))
    assert bench.store.recent_runs(small - 1, small) is None
    assert bench.store.recent_runs(small, large) is None
    assert bench.store.recent_runs(small, large + 1) is None
    assert bench.store.recent_rows(small, large + 1) is None
    found = bench.store.recent_runs(large, large + 1)
    assert found is not None
    assert found.keys() == {"small-2"}


def test_what_is_kept_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_BYTES", 20_000)
    bench(event("heavy", "Failed", 0, Message="x" * 30_000))
    heavy = bench.store.head().seq
    assert bench.store.recent_runs(heavy - 1, heavy) is None
    for n in range(20):
        bench(event(f"light-{n}", "Queued", 0))
    head = bench.store.head().seq
    assert bench.store.recent_runs(heavy, head) is None
    found = bench.store.recent_runs(head - 3, head)
    assert found is not None
    assert found.keys() == {"light-17", "light-18", "light-19"}


def test_after_a_reopening_nothing_is_known_of_what_came_before(bench: Bench) -> None:
    bench(event("before", "Queued", 0))
    seq = bench.store.head().seq
    known = changes.RecentChanges(seq)
    assert known.runs(seq - 1, seq) is None
    assert known.rows(seq - 1, seq) is None
    assert known.runs(seq, seq) == {}
    assert known.rows(seq, seq) == []

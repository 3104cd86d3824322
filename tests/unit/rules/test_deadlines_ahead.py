"""Histories that are read once say of runs as of any commit what the log does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, event
from tests.unit.rules.said import Said, bench_in_memory, messages, pauses, payload
from tocsin.clock import ManualClock
from tocsin.rules.kinds.deadline.due import consumers_of
from tocsin.rules.kinds.deadline.few import Past
from tocsin.rules.kinds.deadline.replay import histories as deadlines_known
from tocsin.rules.kinds.deadline.replay.histories import Known, Span
from tocsin.rules.kinds.deadline.runs import runs_at

EVER: Span = (0, 1 << 60)
timelines = st.lists(
    st.tuples(pauses, st.sampled_from("cd"), st.lists(messages, min_size=1, max_size=4)), min_size=1, max_size=8
)
_numbers = iter(range(1_000_000))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with bench_in_memory() as one:
        yield one


def brought(bench: Bench, own: str, timeline: list[tuple[int, str, list[Said]]]) -> list[int]:
    """The commits of a story, of runs that begin with ``own``."""
    assert isinstance(bench.clock, ManualClock)
    seqs = []
    for seconds, consumer, said in timeline:
        bench.clock.advance(timedelta(seconds=seconds))
        bench(*(payload(own, each) for each in said), consumer=consumer)
        seqs.append(bench.store.head().seq)
    return seqs


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=timelines, data=st.data())
def test_as_of_any_commit_runs_are_what_the_log_says(
    bench: Bench, timeline: list[tuple[int, str, list[Said]]], data: st.DataObject
) -> None:
    own = f"k{next(_numbers)}"
    seqs, store = brought(bench, own, timeline), bench.store
    names = [f"{own}-{n}" for n in range(3)]
    known = Known(store)
    known.read(dict.fromkeys(names, seqs[-1]), EVER)
    as_of = {name: data.draw(st.sampled_from(seqs)) for name in names if name in known}
    read, made = runs_at(store, as_of), known.runs_at(as_of)
    facts = read.facts(store)
    assert made.facts(store) == facts
    assert made.rows(store, as_of) == read.rows(store, as_of)
    there = {name: as_of[name] for name in facts}
    once, again = known.past(there), Past.read(store, there, facts, beats=True)
    assert consumers_of(facts, store, there, once) == consumers_of(facts, store, there)
    assert once.changes(there) == again.changes(there)
    for name in there:
        assert sorted(once.events.get(name, ()), key=str) == sorted(again.events.get(name, ()), key=str)


def test_what_is_too_much_is_not_known_and_what_is_forgotten_makes_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"k{next(_numbers)}"
    for minute in range(3):
        bench(*(event(f"{own}-{n}", "Queued", 60 * minute) for n in range(2)))
    upto = {f"{own}-{n}": bench.store.head().seq for n in range(2)}
    (one, other), known = upto, Known(bench.store)
    monkeypatch.setattr(deadlines_known, "MOST_ROWS", 5)
    known.read(upto, EVER)
    assert one not in known and other not in known
    known.read({one: upto[one]}, (0, 1))  # it did not begin then
    assert one not in known
    monkeypatch.setattr(deadlines_known, "MOST_ROWS", 6)
    known.read(upto, EVER)
    assert one in known and other in known
    known.forget(one)
    monkeypatch.setattr(deadlines_known, "ROOM", 6)
    known.read({one: upto[one]}, EVER)
    assert one not in known and other in known
    known.forget(other)
    known.read({one: upto[one]}, EVER)
    assert one in known

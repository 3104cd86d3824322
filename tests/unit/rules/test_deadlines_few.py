"""A few runs, read at once, against thousands, read statement by statement: the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench
from tests.unit.rules.conftest import Load
from tests.unit.rules.said import Said, bench_in_memory, messages, pauses, payload
from tocsin.clock import ManualClock
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.kinds.deadline import runs as deadlines_runs
from tocsin.rules.kinds.deadline.due import When, consumers_of, due_deadlines
from tocsin.rules.kinds.deadline.few import Past
from tocsin.rules.kinds.deadline.kind import KIND as DEADLINE
from tocsin.rules.kinds.deadline.runs import runs_at

RULES = """
rules:
  - {name: stuck, when: {status: [Queued, Preparing], in_status_for: 45m}}
  - {name: silent, when: {status: Running, silent_for: 10m}}
  - {name: still, when: {status: [Running, Queued], unchanged: Progress, for: 1h}}
"""

timelines = st.lists(
    st.tuples(pauses, st.sampled_from("cd"), st.lists(messages, min_size=1, max_size=4)),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with bench_in_memory() as one:
        yield one


_numbers = iter(range(1_000_000))


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=timelines, back=st.integers(0, 3))
def test_both_ways_say_the_same(
    bench: Bench, load: Load, timeline: list[tuple[int, str, list[Said]]], back: int
) -> None:
    own, store = f"f{next(_numbers)}", bench.store
    assert isinstance(bench.clock, ManualClock)
    seqs = []
    for seconds, consumer, said in timeline:
        bench.clock.advance(timedelta(seconds=seconds))
        bench(*(payload(own, each) for each in said), consumer=consumer)
        seqs.append(store.head().seq)
    hi, at = seqs[max(0, len(seqs) - 1 - back)], bench.clock.now()
    names = {f"{own}-{n}": hi for n in range(3)}
    few = runs_at(store, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadlines_runs, "FEW", 0)
        many = runs_at(store, names)
    assert not few.stored
    facts = few.facts(store)
    assert facts == many.facts(store)
    assert few.rows(store, names) == many.rows(store, names)
    assert few.rows(store, names, {"Status"}) == many.rows(store, names, {"Status"})
    ways = [store.select(f"SELECT * FROM ({runs.as_events}) ORDER BY RunId", runs.params) for runs in (few, many)]
    assert ways[0].to_pylist() == ways[1].to_pylist()
    if not facts:
        return
    past = Past.read(store, dict.fromkeys(facts, hi), facts, beats=True)
    whens, source_progress = {run: When(hi, at) for run in facts}, SourceProgress()
    pairs = [
        (rule, run)
        for generated in load(RULES).of(DEADLINE).values()
        for rule in generated.rules
        for run, fact in facts.items()
        if fact.status in rule.spec.statuses
    ]
    assert due_deadlines(pairs, facts, store, whens, source_progress, past) == due_deadlines(
        pairs, facts, store, whens, source_progress
    )
    as_of = dict.fromkeys(facts, hi)
    assert consumers_of(facts, store, as_of, past) == consumers_of(facts, store, as_of)

"""The table of deadlines: it gives what has come, whatever was put, moved, dropped and forgotten before."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.clock import EPOCH
from tocsin.rules import deadline_table as deadlines
from tocsin.rules.deadline_table import Deadline, DeadlineTable
from tocsin.rules.history import moment

RULES, RUNS = ("a", "b", "c"), tuple(f"r{n}" for n in range(4))
US = timedelta(microseconds=1)

changes = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(RULES), st.sampled_from(RUNS), st.integers(0, 50)),
    st.tuples(st.just("bound"), st.sampled_from(RULES), st.sampled_from(RUNS), st.integers(0, 50)),
    st.tuples(st.just("hold"), st.sampled_from(RULES), st.sampled_from(RUNS), st.integers(0, 50)),
    st.tuples(st.just("drop"), st.sampled_from(RULES), st.sampled_from(RUNS), st.just(0)),
    st.tuples(st.just("forget"), st.sampled_from(RULES), st.just(""), st.just(0)),
    st.tuples(st.just("look"), st.just(""), st.just(""), st.integers(0, 50)),
)


@given(timeline=st.lists(changes, max_size=60), slack=st.sampled_from((0, 1000)))
def test_it_gives_what_has_come(timeline: list[tuple[str, str, str, int]], slack: int) -> None:
    """Against a dict that is looked through whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadlines, "_SLACK", slack)
        _notify(timeline)


def _notify(timeline: list[tuple[str, str, str, int]]) -> None:
    table = DeadlineTable()
    known: dict[tuple[str, str], int] = {}
    for what, rule, run, us in timeline:
        key = (rule, run)
        if what == "put":
            table.take([Deadline(rule, run, us, by="x")])
            known[key] = us
        elif what == "bound":
            table.take([Deadline(rule, run, us, or_us=us + 3)])
            known[key] = min(us, known[key]) if key in known else us + 3
        elif what == "hold":
            table.take([Deadline(rule, run, us, frozenset({"x", "y"}))])
            known[key] = us
        elif what == "drop":
            table.take([Deadline(rule, run, None)])
            known.pop(key, None)
        elif what == "forget":
            table.forget(rule)
            known = {k: v for k, v in known.items() if k[0] != rule}
        else:
            come = {(t.rule, t.key): t.due for t in table.past(moment(us))}
            due = {k: moment(v) for k, v in known.items() if v <= us}
            assert due.items() <= come.items()
            assert all(known[k] == (t - EPOCH) // US for k, t in come.items())  # held ones may come early, none wrongly
        assert sorted((rule, run, moment(us)) for (rule, run), us in known.items()) == sorted(table)
        assert len(table) == len(known)
    waiting = [us for key, us in known.items() if key not in {(t.rule, t.key) for t in table.past(EPOCH - US)}]
    first = min(map(moment, waiting), default=None)
    assert first == table.next_due()

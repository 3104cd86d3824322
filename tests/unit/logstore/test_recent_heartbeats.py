"""Which heartbeats are stored does not depend on what is remembered of those before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.recent import changes as recent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Said = tuple[str, float | None]
COMMITS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.4, 1.0, 3.0, 9.9, 10.0, 25.0]),  # seconds since the commit before
        st.sampled_from(["small", "small", "small", "bulk", "restart"]),
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, 0.1, 0.2])), min_size=1, max_size=4),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def kept(commits: list[tuple[float, str, list[Said]]]) -> Iterator[tuple[str, datetime, float | None]]:
    """What is to be stored: a run's first heartbeat in ten seconds, and each change of progress."""
    now = NOON
    stored: dict[tuple[str, int], float | None] = {}
    for pause, _, beats in commits:
        now += timedelta(seconds=pause)
        for run, progress in beats:
            slot = (run, int(now.timestamp()) // 10)
            if slot not in stored or (progress is not None and progress != stored[slot]):
                yield run, now, progress
            stored[slot] = progress if progress is not None else stored.get(slot)


@pytest.mark.parametrize("most", [1, recent.MOST_SLOTS])
@settings(max_examples=examples(25), deadline=None)
@given(commits=COMMITS)
def test_the_same_heartbeats_are_stored_whatever_is_remembered(
    most: int, commits: list[tuple[float, str, list[Said]]]
) -> None:
    clock = ManualClock(NOON)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as directory, ExitStack() as stack:
        patch.setattr(recent, "MOST_SLOTS", most)
        path = Path(directory) / "e.duckdb"
        store = stack.enter_context(closing(DuckLogStore.open(path, clock=clock, reserve=0)))
        for n, (pause, how, beats) in enumerate(commits):
            clock.set(clock.now() + timedelta(seconds=pause))
            if how == "restart":
                store.reopen()
            # an event without a time is of those that only the bulk statements take
            more = [event("z", "Running", None, id=f"e{n}")] if how == "bulk" else []
            Bench(store, clock)(*(beat(run, Progress=progress) for run, progress in beats), *more)
        rows = Bench(store, clock).rows("SELECT RunId, ReceivedAt, Progress FROM Heartbeats ORDER BY rowid")
    found = [(r["RunId"], r["ReceivedAt"].replace(tzinfo=UTC), r["Progress"]) for r in rows]
    assert found == list(kept(commits))


def test_a_small_commit_of_heartbeats_asks_no_table() -> None:
    """Where all of the ten seconds before is remembered; after a start, or a large commit, it must ask."""
    newest = recent.NewestBeats(datetime(2026, 3, 1, 12))
    first, row = datetime(2026, 3, 1, 12, 0, 3), {"RunId": "a", "Progress": None}
    assert newest.known(first - timedelta(seconds=10)) is None
    newest.note([row | {"received": first}, row | {"received": first, "Progress": 0.5}, row | {"received": first}])
    later = first + timedelta(seconds=8)
    assert newest.known(later - timedelta(seconds=10)) == {recent.slot_of(row | {"received": first}): 0.5}
    newest.lose(later)
    assert newest.known(later) is not None
    assert newest.known(later - timedelta(microseconds=1)) is None


def test_so_many_are_remembered() -> None:
    """The older half goes, and with it the word that nothing else is there."""
    newest, start = recent.NewestBeats(datetime(2026, 3, 1)), datetime(2026, 3, 1, 12)
    times = [start + timedelta(seconds=n) for n in range(recent.MOST_SLOTS + 1)]
    newest.note({"RunId": f"r{n}", "Progress": None, "received": at} for n, at in enumerate(times))
    known = newest.known(times[-1])
    assert known is not None and 0 < len(known) <= recent.MOST_SLOTS // 2 + 10
    assert newest.known(start) is None

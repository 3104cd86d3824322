"""A run's events make the same state in Python and in SQL, at the head and as of each commit: that of the oracle."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.runs import Beat, Change, run_state
from tests.unit.logstore.helpers import T0, Bench, beat, event
from tocsin.clock import ManualClock, from_micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest import runs
from tocsin.logstore.recent import run_locator
from tocsin.rules.kinds.deadline.runs import runs_at

Said = dict[str, Any]

NOON = from_micros(T0)
STATUSES = ("Queued", "Running", "Running", "Completed", "Failed", "beat")
_times = st.one_of(st.integers(0, 6), st.sampled_from((3600, 3605, 3620, None)))

messages: st.SearchStrategy[Said] = st.builds(
    dict,
    run=st.sampled_from(("r1", "r2")),
    status=st.sampled_from(STATUSES),
    at=_times,
    source=st.sampled_from(("a", "b")),
    attempt=st.sampled_from((0, 0, 0, 1, 2)),
    experiment=st.sampled_from(("", "", "x", "y")),
    parent=st.sampled_from(("", "", "p")),
    job=st.sampled_from(("", "", "j")),
    tags=st.sampled_from(("{}", '{"team":"x"}')),
    progress=st.sampled_from((None, None, 0.25, 0.5)),
    start=st.sampled_from((None, None, 1)),
    end=st.sampled_from((None, None, 5)),
    message=st.sampled_from(("", "why")),
    again=st.sampled_from((False, False, True)),
)
timelines = st.lists(
    st.tuples(st.sampled_from((1, 8, 30)), st.lists(messages, min_size=1, max_size=5)), min_size=1, max_size=5
)


@pytest.fixture(scope="module", params=["small", "few in bulk", "in bulk"])
def shared(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """One store for all examples; each takes names of its own. Each way of keeping Runs."""
    patch = pytest.MonkeyPatch()
    if request.param != "small":
        patch.setattr("tocsin.logstore.ingest.small.MOST", 0)
        patch.setattr(run_locator, "RECENT", 1)  # the others lie anywhere
    if request.param == "in bulk":
        patch.setattr(runs, "SMALL", 0)
        patch.setattr(runs, "FEW_LATE", 1)  # two are read together, one alone
    clock = ManualClock(datetime(2026, 3, 1, 13, tzinfo=UTC))
    store = DuckLogStore.open(None, clock=clock)
    yield Bench(store, clock)
    store.close()
    patch.undo()


class Stored:
    """What came of the runs of one example."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self.bench, self.prefix = bench, prefix
        self.changes: dict[str, list[Change]] = {}
        self.beats: dict[str, list[Beat]] = {}
        self._sent: dict[tuple[str, str], bytes] = {}
        self._ids = itertools.count()

    def commit(self, messages: list[Said]) -> int:
        """Append them, note what came; returns the CommitSeq."""
        payloads, came, beaten = [], [], []
        received = self.bench.clock.now()
        for said in messages:
            run, source = self.prefix + said["run"], self.prefix + said["source"]
            if said["status"] == "beat":
                more = {} if said["progress"] is None else {"Progress": said["progress"]}
                payloads.append(beat(run, **more))
                beaten.append((run, Beat(received=received, progress=said["progress"], source="a", consumer="c")))
                continue
            change = Change(
                run=run, status=said["status"], id=f"{self.prefix}{next(self._ids)}", source=source, consumer="c",
                time=received if said["at"] is None else NOON + timedelta(seconds=said["at"]),
                timed=said["at"] is not None, attempt=said["attempt"], tags=said["tags"], message=said["message"],
                texts={"ExperimentName": said["experiment"], "ParentRunId": said["parent"], "JobKey": said["job"]},
                progress=said["progress"],
                start=None if said["start"] is None else NOON + timedelta(seconds=said["start"]),
                end=None if said["end"] is None else NOON + timedelta(seconds=said["end"]),
            )  # fmt: skip
            payloads += [payload(change, said["at"])] * (2 if said["again"] else 1)
            came.append(change)
        done = self.bench(*payloads)
        # A commit of heartbeats that are all thinned takes no CommitSeq: they belong to the head, not to all before.
        stamp: dict[str, Any] = {"seq": done.seq or self.bench.store.head().seq, "committed": done.ingested_at}
        for change in came:
            self.changes.setdefault(change.run, []).append(replace(change, **stamp))
        for run, one in beaten:
            self.beats.setdefault(run, []).append(replace(one, **stamp))
        return self.bench.store.head().seq

    def expected(self, seq: int) -> dict[str, dict[str, Any]]:
        """The rows of Runs as of a commit."""
        found = {}
        for run in self.changes.keys() | self.beats.keys():
            changes = [c for c in self.changes.get(run, ()) if c.seq <= seq]
            beats = [b for b in self.beats.get(run, ()) if b.seq <= seq]
            if changes or beats:
                found[run] = run_state(run, changes, beats)
        return found


def payload(change: Change, at: int | None) -> bytes:
    data: dict[str, Any] = {"Attempt": change.attempt, "Message": change.message, "Progress": change.progress}
    data |= {name: text for name, text in change.texts.items() if text} | {"Tags": json.loads(change.tags)}
    for name, given_time in (("StartTime", change.start), ("EndTime", change.end)):
        if given_time is not None:
            data[name] = given_time.isoformat().replace("+00:00", "Z")
    return event(change.run, change.status, at, id=change.id, source=change.source, **data)


def utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def compare(expected: dict[str, Any], found: dict[str, Any], *, as_of: bool) -> None:
    """``as_of``: heartbeats that were not stored are not known, nor who sent those that were."""
    found = {name: utc(found[name]) for name in expected}
    if as_of:
        assert timedelta(0) <= expected["LastSeen"] - found["LastSeen"] < timedelta(seconds=10)
        assert found["CommitSeq"] <= expected["CommitSeq"]
        loose = {"LastSeen", "CommitSeq"} | ({"Source"} if expected["FirstTime"] is None else set())
        expected = {name: value for name, value in expected.items() if name not in loose}
        found = {name: found[name] for name in expected}
    assert expected == found


_EXAMPLES = itertools.count()


@settings(max_examples=examples(12), deadline=None)
@given(timelines)
def test_a_run_is_what_its_events_say(shared: Bench, timeline: list[tuple[int, list[Said]]]) -> None:
    """Any order of arrival, any split into commits: Runs is the oracle's at the head, and as of each commit."""
    assert isinstance(shared.clock, ManualClock)
    stored = Stored(shared, f"{next(_EXAMPLES)}-")
    seqs = []
    for seconds, said in timeline:
        shared.clock.advance(timedelta(seconds=seconds))
        seqs.append(stored.commit(said))
        expected = stored.expected(seqs[-1])
        rows = shared.rows("SELECT * FROM Runs WHERE starts_with(RunId, $prefix)", prefix=stored.prefix)
        assert expected.keys() == {row["RunId"] for row in rows}
        for row in rows:
            compare(expected[row["RunId"]], row, as_of=False)
    for seq in seqs:
        expected = stored.expected(seq)
        sql, params = shared.store.runs_as_of(seq)
        found = shared.rows(f"SELECT * FROM ({sql}) WHERE starts_with(RunId, $prefix)", prefix=stored.prefix, **params)
        assert expected.keys() == {row["RunId"] for row in found}
        for row in found:
            compare(expected[row["RunId"]], row, as_of=True)
        in_python = runs_at(shared.store, dict.fromkeys(stored.expected(seqs[-1]), seq))
        assert expected.keys() == in_python.given.keys()
        for run, state in in_python.given.items():
            compare(expected[run], dict(state), as_of=True)

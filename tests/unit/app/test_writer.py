"""The one thread that writes: who is notified what became of a batch, over the real store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.servers.eventually import eventually
from tocsin.app.engine.writer import Writer
from tocsin.clock import ManualClock, micros
from tocsin.errors import PositionGap, StoreError, StoreFull, StoreLost
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import Head
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, Commit, Position, RawEvents

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def events(*ids: str, start: int | None = None) -> Batch:
    payloads = [
        b'{"specversion":"1.0","type":"tocsin.run.status","source":"s","id":"%s","data":{"RunId":"r","Status":"Running"}}'
        % i.encode()
        for i in ids
    ]
    us = micros(NOW)
    raw = RawEvents(
        consumer="events", payloads=payloads, times_us=[us] * len(ids), own_time=True, received_us=us,
        cluster="c", topic="t", topic_id="t1",
        partitions=None if start is None else [0] * len(ids),
        offsets=None if start is None else list(range(start, start + len(ids))),
    )  # fmt: skip
    positions: tuple[Position, ...] = ()
    if start is not None:
        positions = (Position(cluster="c", topic="t", topic_id="t1", partition=0, start=start, next=start + len(ids)),)
    return Batch(raw=(raw,), positions=positions)


class Gate(DuckLogStore):
    """The real store behind a gate, so that a test decides when a commit happens and how the next one ends."""

    gate: threading.Event
    entered: int  # appends that began
    seen: list[int]
    ends: list[Exception]
    rests: int

    def append(self, batches: Sequence[Batch]) -> Commit:
        self.entered += 1
        self.gate.wait(10)
        self.seen.append(len(batches))
        if self.ends:
            raise self.ends.pop(0)
        return super().append(batches)

    def reopen(self) -> Head:
        return self.head()

    def rest(self) -> None:
        self.rests += 1
        if self.rests == 1:
            raise StoreLost("the disk is gone")
        if self.rests == 2:
            raise StoreError("busy")


@pytest.fixture
def store() -> Iterator[Gate]:
    store = Gate.open(None, clock=ManualClock(NOW))
    assert isinstance(store, Gate)
    store.gate, store.entered, store.seen, store.ends, store.rests = threading.Event(), 0, [], [], 0
    yield store
    store.gate.set()
    store.close()


@pytest.fixture
def writer(store: Gate) -> Iterator[Writer]:
    writer = Writer(store, Metrics(), ManualClock(NOW), lambda _: None)
    writer.start()
    yield writer
    store.gate.set()
    writer.stop()


def test_batches_that_queue_up_become_one_commit(store: Gate, writer: Writer) -> None:
    """Group commit: while the first is written, the others wait and then go together."""
    done = [writer.put(events(str(i))) for i in range(10)]
    store.gate.set()
    assert [1] * 10 == [f.result(10).accepted for f in done]
    assert len(store.seen) <= 2
    assert 10 == store.select("SELECT count(*) AS n FROM RunStatusChanged").to_pylist()[0]["n"]


@pytest.fixture
def slow(store: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """A writer whose commits take an hour of its clock, and that may wait five minutes for more."""
    monkeypatch.setattr("tocsin.app.engine.writer.GATHER_SECONDS", 300.0)
    monkeypatch.setattr("tocsin.app.engine.writer.GATHER_MESSAGES", 3)
    clock = ManualClock(NOW)

    def later(_: Commit) -> None:
        clock.advance(timedelta(hours=1))

    writer = Writer(store, Metrics(), clock, later)
    writer.start()
    yield writer
    store.gate.set()
    writer.stop()


def test_what_waits_behind_a_commit_waits_for_more(store: Gate, slow: Writer) -> None:
    """Commits one right after the other would leave no core for rules and mails: who was just answered sends the next
    event, and it shares a commit with what waited. There is enough once their commit costs what they are."""
    first = slow.put(events("a"))
    eventually(lambda: store.entered == 1)
    waits = slow.put(events("b"))
    store.gate.set()
    first.result(10)
    with pytest.raises(TimeoutError):
        waits.result(0.2)
    last = slow.put(events("c", "d"))
    assert [1, 2] == [f.result(10).accepted for f in (waits, last)]
    assert [1, 2] == store.seen


def test_where_nothing_waits_the_next_is_committed_at_once(store: Gate, slow: Writer) -> None:
    """Who sends one event after the other and waits for each answer is not made slower."""
    store.gate.set()
    assert [1, 1, 1] == [slow.put(events(i)).result(10).accepted for i in "abc"]
    assert [1, 1, 1] == store.seen


def test_stopping_ends_the_wait_for_more(store: Gate, slow: Writer) -> None:
    first = slow.put(events("a"))
    eventually(lambda: store.entered == 1)
    waits = slow.put(events("b"))
    store.gate.set()
    first.result(10)
    slow.stop()
    assert 1 == waits.result(0).accepted


def test_a_backlog_of_a_stream_does_not_stand_before_others(store: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full queue of Kafka batches waiting, one without positions is taken at once and goes with the next
    commit, which
    is short; the stream goes on in its order."""
    monkeypatch.setattr("tocsin.app.engine.writer.SHARED_ROWS", 20)
    monkeypatch.setattr("tocsin.app.engine.writer.MAX_QUEUED", 90)
    writer = Writer(store, Metrics(), ManualClock(NOW), lambda _: None)
    ids = [f"k{i}" for i in range(100)]
    backlog = [writer.put(events(*ids[at : at + 10], start=at)) for at in range(0, 90, 10)]
    with pytest.raises(TimeoutError):
        writer.put(events(*ids[90:], start=90), timeout=0)
    single = writer.put(events("single"), timeout=0)
    writer.start()
    store.gate.set()
    assert 1 == single.result(10).accepted
    assert [10] * 9 == [f.result(10).accepted for f in backlog]
    assert [3, 7] == store.seen
    assert "single" in {
        r["EventId"] for r in store.select("SELECT EventId FROM RunStatusChanged WHERE CommitSeq = 1").to_pylist()
    }
    assert {0: 90} == store.positions("c", "t1")
    writer.stop()


def test_parts_of_large_bodies_take_turns_with_what_others_send(store: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a large body is a commit of its own, and what others sent meanwhile comes with the next: it waits for
    one part, and shares its commit with none."""
    monkeypatch.setattr("tocsin.app.engine.writer.LARGE_BODY", 3)
    writer = Writer(store, Metrics(), ManualClock(NOW), lambda _: None)
    parts = [writer.put(events(*(f"{part}-{n}" for n in range(4)))) for part in range(3)]
    singles = [writer.put(events(f"single-{n}")) for n in range(2)]
    writer.start()
    store.gate.set()
    assert [4, 4, 4] == [f.result(10).accepted for f in parts]
    assert [1, 1] == [f.result(10).accepted for f in singles]
    rows = store.select("SELECT CommitSeq, EventId FROM RunStatusChanged").to_pylist()
    assert {1: {"0"}, 2: {"single"}, 3: {"1"}, 4: {"2"}} == {
        seq: {r["EventId"].partition("-")[0] for r in rows if r["CommitSeq"] == seq} for seq in range(1, 5)
    }
    writer.stop()


def test_only_the_batch_beyond_its_position_fails(store: Gate, writer: Writer) -> None:
    store.gate.set()
    assert 2 == writer.put(events("a", "b", start=0)).result(10).accepted
    store.gate.clear()
    waits, gap, good = writer.put(events("w")), writer.put(events("x", start=7)), writer.put(events("c", start=2))
    store.gate.set()
    assert 1 == waits.result(10).accepted
    with pytest.raises(PositionGap):
        gap.result(10)
    assert 1 == good.result(10).accepted
    assert {0: 3} == writer.positions("c", "t1")


def test_a_full_store_refuses_and_says_so_until_there_is_room(store: Gate, writer: Writer) -> None:
    store.ends.append(StoreFull("no room"))
    store.gate.set()
    with pytest.raises(StoreFull):
        writer.put(events("a")).result(10)
    assert "no room" == writer.failures
    assert 1 == writer.put(events("a")).result(10).accepted
    assert "" == writer.failures


def test_a_lost_store_is_opened_again_and_who_waits_does_not_notice(store: Gate, writer: Writer) -> None:
    """What was durable when it was lost is a duplicate, as it would be for a sender who comes again."""
    store.ends.append(StoreLost("no memory for COMMIT"))
    done = [writer.put(events(str(i))) for i in range(3)]
    store.gate.set()
    assert [1, 1, 1] == [future.result(10).accepted for future in done]


def test_a_store_that_is_lost_again_fails_what_was_taken(store: Gate, writer: Writer) -> None:
    """Nobody is notified that a batch is durable when that is unknown, and one batch cannot lose the store for ever."""
    store.ends += [StoreLost("disk gone"), StoreLost("disk gone")]
    taken = writer.put(events("a"))
    eventually(lambda: not writer._others)
    waits = writer.put(events("b"))
    store.gate.set()
    with pytest.raises(StoreLost):
        taken.result(10)
    assert 1 == waits.result(10).accepted


def test_a_lost_store_fails_streams(store: Gate, writer: Writer) -> None:
    """Their positions are unknown until they are read again."""
    store.ends.append(StoreLost("disk gone"))
    done = writer.put(events("a", start=0))
    store.gate.set()
    with pytest.raises(StoreLost):
        done.result(10)
    assert 1 == _put_when_back(writer, lambda: writer.put(events("a", start=0)))


def _put_when_back(writer: Writer, put: Callable[[], object]) -> int:
    from concurrent.futures import Future

    from tests.servers.eventually import eventually

    def back() -> int:
        try:
            future = put()
        except StoreLost as e:
            raise AssertionError("not back yet") from e
        assert isinstance(future, Future)
        return int(future.result(10).accepted)

    return eventually(back)


def test_a_full_queue_makes_put_wait_and_time_out(store: Gate) -> None:
    """Back-pressure: nothing is taken, nothing is lost. What others send need not wait for large bodies."""
    from tocsin.app.engine import writer as module

    writer = Writer(store, Metrics(), ManualClock(NOW), lambda _: None)  # not started: nothing is taken off
    big = events(*[str(i) for i in range(module.MAX_QUEUED)])
    writer.put(big)
    with pytest.raises(TimeoutError):
        writer.put(events(*[str(i) for i in range(module.LARGE_BODY + 1)]), timeout=0.05)
    assert not writer.put(events("one"), timeout=0.05).done()


def test_stopping_commits_what_is_queued(store: Gate) -> None:
    writer = Writer(store, Metrics(), ManualClock(NOW), lambda _: None)
    done = [writer.put(events(str(i))) for i in range(5)]
    store.gate.set()
    writer.start()
    writer.stop()
    assert all(f.done() and f.result().accepted == 1 for f in done)


def _put(writer: Writer, event_id: str) -> int:
    """As a sender, who comes again where the store is being reopened."""
    try:
        return writer.put(events(event_id)).result(10).accepted
    except StoreLost:
        return 0


def test_the_store_rests_once_after_each_burst_and_outlives_what_happens_then(
    store: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.app.engine.writer.REST_SECONDS", 0.02)
    writer = Writer(store, Metrics(), ManualClock(NOW), lambda _: None)
    store.gate.set()
    writer.start()
    for number in range(1, 5):
        eventually(lambda: store.rests >= number)  # noqa: B023 looked at before the next turn
        assert eventually(lambda: _put(writer, f"e{number}")) == 1  # noqa: B023
    writer.stop()
    assert 4 <= store.rests <= 5  # not again and again while nothing comes

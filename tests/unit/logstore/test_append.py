"""What a commit does: positions, dedupe, heartbeats, sequence numbers, dead letters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.logstore.helpers import Bench, beat, event, raw
from tocsin.clock import ManualClock, from_micros, micros
from tocsin.errors import PositionGap, StoreFull
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest import dedupe
from tocsin.logstore.interface import CommitInfo, Head
from tocsin.logstore.sqlfiles import sql
from tocsin.model.event import (
    Batch,
    DeadLetter,
    DeadReason,
    MappedEvent,
    MappedEvents,
    Origin,
    Position,
    RawEvents,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True, params=["small", "bulk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs both ways."""
    if request.param == "bulk":
        monkeypatch.setattr("tocsin.logstore.ingest.small.MOST", 0)


def kafka(
    start: int, *payloads: bytes, next: int | None = None, topic_id: str = "t1", partition: int = 0, reset: bool = False
) -> Batch:
    """Records of one partition, from offset ``start``."""
    offsets = list(range(start, start + len(payloads)))
    records = RawEvents(
        consumer="k",
        payloads=payloads,
        times_us=[micros(NOW) + o for o in offsets],
        own_time=True,
        received_us=micros(NOW),
        topic="runs",
        topic_id=topic_id,
        cluster="c1",
        partitions=[partition] * len(payloads),
        offsets=offsets,
    )
    position = Position(
        cluster="c1",
        topic="runs",
        topic_id=topic_id,
        partition=partition,
        start=start,
        next=start + len(payloads) if next is None else next,
        reset=reset,
    )
    return Batch(raw=(records,), positions=(position,))


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_a_time_far_ahead_counts_as_none(clock: ManualClock) -> None:
    """Beyond `intake.max_clock_skew` the receipt is taken and the given time kept; retries of the event are duplicates."""
    store = DuckLogStore.open(None, clock=clock, max_clock_skew=timedelta(minutes=10))
    put = Bench(store, clock)
    put(event("r1", "Running", 86_400 * 700), event("r2", "Running", 600))
    put(event("r1", "Failed", 1))
    assert 1 == put(event("r1", "Running", 86_400 * 700), event("r3", "Running", 601)).receipts[0].duplicate
    at = {row["EventId"].partition("/")[0] + row["Status"]: row for row in put.events()}
    noon, second = datetime(2026, 3, 1, 12), timedelta(seconds=1)
    assert {
        "r1Running": (noon, noon + timedelta(days=700), False),
        "r1Failed": (noon + second, None, True),
        "r2Running": (noon + 600 * second, None, True),
        "r3Running": (noon, noon + 601 * second, False),
    } == {name: (row["TimeGenerated"], row["GivenTime"], row["TimeGiven"]) for name, row in at.items()}
    assert "Failed" == put.run("r1")["Status"]
    store.close()


def test_a_record_s_time_far_ahead_counts_as_none(clock: ManualClock) -> None:
    """CreateTime of Kafka comes from the producer's clock as well."""
    store = DuckLogStore.open(None, clock=clock, max_clock_skew=timedelta(minutes=10))
    us = micros(NOW)
    records = RawEvents(
        consumer="k", payloads=[event("r1", at=None)], times_us=[us + 3_600_000_000], own_time=True, received_us=us
    )
    store.append([Batch(raw=(records,))])
    (row,) = store.select("SELECT TimeGenerated, GivenTime, TimeGiven FROM RunStatusChanged").to_pylist()
    noon = datetime(2026, 3, 1, 12)
    assert {"TimeGenerated": noon, "GivenTime": noon + timedelta(hours=1), "TimeGiven": False} == row
    store.close()


# --- positions --------------------------------------------------------------------------------------------------------


def test_positions_move_with_their_rows(put: Bench) -> None:
    commit = put.store.append([kafka(7, event("r1"), event("r2")), kafka(9, event("r3"), next=12)])
    assert ({0: 12}, 3) == (put.store.positions("c1", "t1"), commit.rows)


def test_positions_move_without_rows(put: Bench) -> None:
    """Control records and compacted gaps move the position, but are no commit that rules see."""
    commit = put.store.append([kafka(0, next=5)])
    assert (None, {0: 5}, 0) == (commit.seq, put.store.positions("c1", "t1"), put.store.head().seq)


def test_records_below_the_position_are_skipped(put: Bench) -> None:
    """Also where another id or time would let them through dedupe."""
    put.store.append([kafka(0, event("r1"), event("r2"))])
    dead = DeadLetter(
        consumer="k",
        origin=Origin(topic="runs", partition=0, offset=1),
        reason=DeadReason.NOT_JSON,
        detail="",
        payload=b"",
    )
    again = kafka(0, event("x1"), event("x2"), event("r3"))
    commit = put.store.append([Batch(raw=again.raw, dead=(dead,), positions=again.positions)])
    (receipt,) = commit.receipts
    assert (1, 3, 0) == (receipt.accepted, receipt.skipped, len(receipt.dead))
    assert ["r1", "r2", "r3"] == [e["RunId"] for e in put.events()]


def test_a_gap_is_refused_and_nothing_kept(put: Bench) -> None:
    put.store.append([kafka(0, event("r1"))])
    with pytest.raises(PositionGap, match="starts at 5, stored is 2"):
        put.store.append([kafka(1, event("r2")), kafka(5, event("r3"))])
    assert (["r1"], {0: 1}) == ([e["RunId"] for e in put.events()], put.store.positions("c1", "t1"))


def test_a_reset_begins_anywhere(put: Bench) -> None:
    put.store.append([kafka(0, event("r1"))])
    put.store.append([kafka(50, event("r2"), reset=True)])
    assert {0: 51} == put.store.positions("c1", "t1")


def test_a_topic_recreated_has_positions_of_its_own(put: Bench, clock: ManualClock) -> None:
    put.store.append([kafka(0, event("r1"))])
    clock.advance(timedelta(seconds=1))
    put.store.append([kafka(0, event("r2"), topic_id="t2")])
    assert (["t1", "t2"], {0: 1}) == (put.store.topic_ids("c1", "runs"), put.store.positions("c1", "t2"))


# --- sequence ---------------------------------------------------------------------------------------------------------


def test_stamps_increase_though_the_clock_goes_back(put: Bench, clock: ManualClock) -> None:
    first = put(event("r1"))
    clock.advance(timedelta(hours=-1))
    second = put(event("r2"))
    assert (1, 2) == (first.seq, second.seq)
    assert second.ingested_at - first.ingested_at == timedelta(microseconds=1)


def test_a_fence_holds(put: Bench, clock: ManualClock) -> None:
    """A commit after a timer's instant is stamped after it."""
    due = clock.now() + timedelta(seconds=5)
    assert 0 == put.store.fence(due).seq
    assert put(event()).ingested_at == due + timedelta(microseconds=1)


def test_commits_are_listed(put: Bench) -> None:
    first, second = put(event("r1")), put(event("r2"), beat("r2"))
    put(event("r2"))
    assert [
        CommitInfo(seq=1, ingested_at=first.ingested_at, rows=1, heartbeats=0),
        CommitInfo(seq=2, ingested_at=second.ingested_at, rows=1, heartbeats=1),
    ] == put.store.commits(0)
    assert [2] == [c.seq for c in put.store.commits(1)]
    assert Head(seq=2, ingested_at=second.ingested_at) == put.store.head()


def test_counts_by_status_and_consumer(put: Bench) -> None:
    commit = put(event("r1"), event("r2", "Failed"), event("r3", "Failed"))
    assert ({"Running": 1, "Failed": 2}, frozenset({"c"})) == (dict(commit.statuses), commit.consumers)


# --- dedupe -----------------------------------------------------------------------------------------------------------


def test_duplicates_in_a_batch_and_in_the_store(put: Bench) -> None:
    first = put(event(id="1"), event(id="1"), event(id="2"))
    second = put(event(id="1"), event(id="3"))
    assert [(2, 1), (1, 1)] == [(c.receipts[0].accepted, c.receipts[0].duplicate) for c in (first, second)]


def test_the_same_id_at_another_time_is_another_row(put: Bench) -> None:
    put(event(id="1", at=0), event(id="1", at=1))
    assert 2 == len(put.events())


def test_a_straggler_is_found_too(put: Bench) -> None:
    """Far from the batch's range, it is looked for apart."""
    old = event("r1", at=-86400 * 90)
    put(old)
    commit = put(event("r2"), event("r3", at=60), old)
    assert (2, 1) == (commit.receipts[0].accepted, commit.receipts[0].duplicate)


def test_ranges_join_neighbours_and_stay_few() -> None:
    def at(hours: float) -> datetime:
        return NOW + timedelta(hours=hours)

    assert [(at(0), at(1.4)), (at(9), at(9.1))] == dedupe.ranges(
        [(at(0), at(0.1)), (at(1), at(1.1)), (at(1.3), at(1.4)), (at(9), at(9.1))]
    )
    many = dedupe.ranges([(at(2 * i), at(2 * i)) for i in range(40)])
    assert (12, at(0), at(78)) == (len(many), many[0][0], many[-1][1])


def test_without_a_time_the_id_is_remembered(put: Bench, clock: ManualClock) -> None:
    put(event(at=None, id="1"))
    clock.advance(timedelta(hours=1))
    commit = put(event(at=None, id="1"), event(at=None, id="2"), event(at=None, id="2"))
    assert (1, 2) == (commit.receipts[0].accepted, commit.receipts[0].duplicate)


def test_what_is_remembered_is_bounded(put: Bench, clock: ManualClock) -> None:
    """24 hours; retention forgets what is older."""
    put(event(at=None, id="1"))
    clock.advance(timedelta(hours=25))
    put.store.retain(clock.now(), {})
    assert 1 == put(event(at=None, id="1")).receipts[0].accepted


def without_id(payload: bytes) -> bytes:
    wire = json.loads(payload)
    del wire["id"]
    return json.dumps(wire).encode()


def test_the_same_bytes_twice_are_one_event(put: Bench) -> None:
    """An event without an id gets one from its content and consumer."""
    payload = without_id(event())
    put(payload, payload)
    put(payload)
    put(payload, consumer="other")
    assert [("c", True), ("other", True)] == [(e["Consumer"], e["EventId"].startswith("sha256:")) for e in put.events()]


def test_with_neither_id_nor_time_only_the_last_event_is_repeated(put: Bench, clock: ManualClock) -> None:
    """Started, failed, failed, started: the second failed is a duplicate, the second start is not."""
    started, failed = (without_id(event(status=s, at=None)) for s in ("Running", "Failed"))
    put(started)
    clock.advance(timedelta(minutes=1))
    commit = put(failed, failed)
    assert (1, 1) == (commit.receipts[0].accepted, commit.receipts[0].duplicate)
    clock.advance(timedelta(minutes=1))
    put(failed, started)
    assert ["Running", "Failed", "Running"] == [e["Status"] for e in put.events()]


def test_a_receipt_is_no_producer_time(put: Bench, clock: ManualClock) -> None:
    """An event whose time happens to be another's receipt is not the same: in one commit or in two."""
    put(event(at=None, id="1"), event(at=0, id="1"))
    put(event("r2", at=None, id="2"))
    put(event("r2", at=0, id="2"))
    assert [False, True, False, True] == [e["TimeGiven"] for e in put.events()]


def test_kafka_create_time_is_a_producer_time(put: Bench) -> None:
    put.store.append([kafka(0, event(at=None, id="1"), event(at=None, id="1"))])
    assert [True, True] == [e["TimeGiven"] for e in put.events()]


# --- heartbeats -------------------------------------------------------------------------------------------------------


def test_heartbeats_are_thinned(put: Bench, clock: ManualClock) -> None:
    """One a run and ten seconds, and each change of Progress."""
    put(beat(Progress=0.1), beat(Progress=0.1), beat(Progress=0.2), beat("r2"))
    clock.advance(timedelta(seconds=1))
    again = put(beat(Progress=0.2), beat())
    clock.advance(timedelta(seconds=10))
    put(beat(Progress=0.2))
    stored = put.rows("SELECT RunId, Progress, CommitSeq FROM Heartbeats ORDER BY rowid")
    assert [("r1", 0.1, 1), ("r1", 0.2, 1), ("r2", None, 1), ("r1", 0.2, 2)] == [tuple(h.values()) for h in stored]
    assert (None, 2) == (again.seq, again.receipts[0].heartbeats)
    assert clock.now() == put.run()["LastSeen"].replace(tzinfo=UTC)


# --- mapped events, dead letters --------------------------------------------------------------------------------------


def mapped(*events: MappedEvent) -> Batch:
    return Batch(mapped=(MappedEvents(consumer="m", events=events, received_us=micros(NOW)),))


def test_mapped_events_are_stored(put: Bench) -> None:
    columns = {
        "RunId": "r1", "Status": "Failed", "OriginalStatus": "STOPPED", "Tags": {"a": [1]}, "StartTime": NOW - timedelta(hours=1),
        "Attempt": 2, "WillRetry": True, "Progress": 0.5, "DurationMs": 5,
    }  # fmt: skip
    put.store.append([mapped(MappedEvent(source="s", event_id="1", time=NOW, columns=columns, raw=b'{"x": 1}'))])
    (row,) = put.events()
    expected = {
        "EventId": "1", "Source": "s", "Consumer": "m", "Status": "Failed", "OriginalStatus": "STOPPED", "Tags": '{"a":[1]}',
        "Attempt": 2, "WillRetry": True, "Progress": 0.5, "DurationMs": 5, "Raw": '{"x": 1}',
        "StartTime": datetime(2026, 3, 1, 11), "EndTime": datetime(2026, 3, 1, 12),
    }  # fmt: skip
    assert expected == {k: row[k] for k in expected}


def test_a_mapping_that_gives_no_json_is_a_dead_letter(put: Bench) -> None:
    good = MappedEvent(source="", event_id="1", time=NOW, columns={"RunId": "r1", "Status": "Running"}, raw=b"not json")
    bad = [
        MappedEvent(source="", event_id="2", time=NOW, columns={"RunId": "r1", "Status": s}, raw=b"{}")
        for s in (float("nan"), "\ud800", object())
    ]
    commit = put.store.append([mapped(good, *bad)])
    assert ["bad_number", "bad_string", "bad_field"] == [x.reason.value for x in commit.receipts[0].dead]
    assert ['"not json"'] == [e["Raw"] for e in put.events()]


def test_dead_letters_are_kept_with_their_origin(put: Bench, clock: ManualClock) -> None:
    put.store.append([kafka(3, b"{", event("r1"), b"\xff" * 300_000)])
    first, second = put.store.dead_letters()
    assert ("k", "runs", 0, 3, "not_json", b"{", True) == (
        first.consumer, first.topic, first.partition, first.offset, first.reason, first.payload, first.whole,
    )  # fmt: skip
    assert (5, "not_utf8", 256 << 10, False) == (second.offset, second.reason, len(second.payload), second.whole)
    put.store.mark_replayed([first.id], clock.now())
    assert [second.id] == [x.id for x in put.store.dead_letters()]
    assert [first.id, second.id] == [x.id for x in put.store.dead_letters(unreplayed=False)]
    assert [] == put.store.dead_letters(consumer="other")
    assert [None, clock.now().replace(tzinfo=None)] == sorted(
        (r["ReplayedAt"] for r in put.rows("SELECT ReplayedAt FROM DeadLetters")), key=lambda t: (t is not None, t)
    )


def test_receipts_come_in_the_order_of_the_batches(put: Bench) -> None:
    batches = [
        Batch(raw=(raw([event("r1"), b"x"], received=NOW),)),
        Batch(),
        Batch(raw=(raw([event("r1"), event("r2"), beat()], received=NOW),)),
    ]
    commit = put.store.append(batches)
    assert [(1, 0, 0, 1), (0, 0, 0, 0), (1, 1, 1, 0)] == [
        (r.accepted, r.duplicate, r.heartbeats, len(r.dead)) for r in commit.receipts
    ]


def test_a_payload_that_the_store_refuses_leaves_its_neighbours(put: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bulk statement throws on is found by halving and becomes a dead letter."""

    def throws(name: str) -> str:
        text = sql(name)
        if name == "insert_rows":
            text = text.replace(
                "RunId,", "CASE WHEN RunId = 'bad' THEN CAST('x' AS INTEGER)::VARCHAR ELSE RunId END,", 1
            )
        return text

    monkeypatch.setattr("tocsin.logstore.ingest.commit.sql", throws)
    monkeypatch.setattr("tocsin.logstore.ingest.small.MOST", 0)
    commit = put(*(event(f"r{i}") for i in range(5)), event("bad"), *(event(f"r{i}") for i in range(5, 9)))
    (letter,) = commit.receipts[0].dead
    assert ("store_refused", event("bad"), 9) == (letter.reason.value, letter.payload, commit.rows)


# --- space ------------------------------------------------------------------------------------------------------------


def test_below_the_reserve_nothing_is_taken(tmp_path, clock: ManualClock) -> None:  # type: ignore[no-untyped-def]
    store = DuckLogStore.open(tmp_path / "e.duckdb", clock=clock, reserve=1 << 62)
    with pytest.raises(StoreFull, match="the reserve is"):
        Bench(store, clock)(event())
    assert 0 == store.head().seq
    store.close()


def test_positions_and_head_are_read_again(tmp_path, clock: ManualClock) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "e.duckdb"
    store = DuckLogStore.open(path, clock=clock)
    store.append([kafka(0, event("r1"), event("r2", "Failed"))])
    pair = store.pair_id
    assert 1 == store.reopen().seq
    store.close()
    store = DuckLogStore.open(path, clock=clock)
    assert ({0: 2}, 1, pair) == (store.positions("c1", "t1"), store.head().seq, store.pair_id)
    assert from_micros(micros(store.head().ingested_at)) == clock.now()
    assert 0 == Bench(store, clock)(event("r1")).receipts[0].accepted
    store.close()


def test_names_that_are_no_column_are_counted_for_their_batch(put: Bench, clock: ManualClock) -> None:
    """What stands under them is kept in Raw; the row is a row."""
    odd = [event("r1", Experiment="churn"), event("r2"), event("r3", Experiment="x", Mesage="y"), event("")]
    receipts = put.store.append(
        [Batch(raw=(raw([event("r4")], received=clock.now()),)), Batch(raw=(raw(odd, received=clock.now()),))]
    ).receipts
    assert [(0, ()), (2, ("Experiment", "Mesage"))] == [(r.misnamed, r.unknown) for r in receipts]
    assert [1, 3] == [r.accepted for r in receipts]

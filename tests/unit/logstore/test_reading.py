"""Payloads are read in SQL where they are plain, else in Python; both must give the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, event, raw
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.read import WIRE, read_cloud_event
from tocsin.model.event import Batch, Commit, DeadReason, MappedEvent, MappedEvents
from tocsin.model.text.strictjson import ReadError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(
        ("", "Running", "failed", "COMPLETED", "{", "[x]", "1e5", "007", "\x00", "é🎉", 'a"b\\', ",}", ": [", "NaN")
    ),
)
times = st.sampled_from(
    (
        "2026-03-01T12:00:00Z", "2026-03-01T12:00:00.1234567Z", "2026-03-01T12:00:00.9+02:00", "2026-03-01 12:00:00",
        "2026-02-30T12:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T12:00:60Z", "0001-01-01T00:00:00Z", 1772366400,
        "1772366400123", 1772366400.25, "soon", "", None, True, "2026-03-01T12:00:00-13:59", "2026-03-01T12:00:00.5 UTC",
    )
)  # fmt: skip
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.sampled_from("ab"), v, max_size=2), max_leaves=4
)
members = st.one_of(
    *(st.tuples(st.just(name), scalars) for name in sorted(WIRE)),
    st.tuples(st.sampled_from(("Tags", "Properties")), st.dictionaries(st.text(max_size=3), scalars, max_size=5)),
    st.tuples(st.sampled_from(("Tags", "Properties", "Message", "RunId", "other")), values),
    st.tuples(st.sampled_from(("StartTime", "EndTime")), times),
    st.tuples(
        st.sampled_from(("Attempt", "DurationMs", "Progress", "WillRetry")),
        st.sampled_from((1, "2", 0.5, "0.5", "yes", -1, 10**15)),
    ),
)


def members_text(pairs: list[tuple[str, str]], gap: str) -> str:
    """An object with its members in this order, twice where a key comes twice."""
    return "{" + gap + f",{gap}".join(f"{json.dumps(k)}:{gap}{v}" for k, v in pairs) + gap + "}"


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Canonical events, hostile ones among them."""
    data = [("RunId", json.dumps(draw(st.sampled_from(("r1", "r2", ""))))), ("Status", '"Running"')]
    data += [(k, json.dumps(v, ensure_ascii=draw(st.booleans()))) for k, v in draw(st.lists(members, max_size=4))]
    data = draw(st.permutations(data))
    gap = draw(st.sampled_from(("", " ", "\n  ")))
    top = [
        ("id", json.dumps(draw(st.sampled_from(("1", "2", "", 7, 1.5, None, {"a": 1}))))),
        ("source", '"SOURCE"'),
        ("type", json.dumps(draw(st.sampled_from(("tocsin.run.status",) * 6 + ("tocsin.run.heartbeat", "x", 3))))),
        ("time", json.dumps(draw(times))),
        ("data", draw(st.sampled_from((members_text(data, gap),) * 8 + ("3", "[]", '"x"')))),
    ]
    if draw(st.booleans()):
        top.append((draw(st.sampled_from(("subject", "type", "data", "time", "extra"))), json.dumps(draw(values))))
    text = members_text(draw(st.permutations(top)), gap)
    return mangled(draw, text)


def mangled(draw: st.DrawFn, text: str) -> bytes:
    """One thing made wrong in one of three payloads."""
    how = draw(st.integers(0, 20))
    if how == 0:
        return text[: draw(st.integers(0, len(text)))].encode()
    if how == 1:
        at = draw(st.integers(0, len(text)))
        return (
            text[:at]
            + draw(st.sampled_from(("\\u0000", "\\ud800", "NaN", ",", "\x01", "-Infinity", "1e999", "/**/")))
            + text[at:]
        ).encode()
    if how == 2:
        return text.encode() + draw(st.sampled_from((b"\xff", b"\xed\xa0\x80", b" x", b"{}", b"\n")))
    if how == 3:
        return b"\xef\xbb\xbf" + text.encode()
    if how == 4:
        return text.replace("}", ",}", 1).encode()
    if how == 5:
        return text.replace(
            '"Running"',
            draw(st.sampled_from(("NaN", "1e400", "[" * 70 + "]" * 70, "true", "nan", '"\\ud83d"', "-0", "1e5"))),
        ).encode()
    return text.encode()


class Trio:
    """Stores that get the same: as payloads in a large and in a small commit, and as read by the specification."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.fast = DuckLogStore.open(None, clock=self.clock)
        self.slow = DuckLogStore.open(None, clock=self.clock)
        self.small = DuckLogStore.open(None, clock=self.clock)

    def outcome(self, payloads: list[bytes]) -> tuple[Any, Any, Any]:
        dead: list[DeadReason] = []
        read: list[MappedEvent] = []
        for p in payloads:
            try:
                read.append(read_cloud_event(p))
            except ReadError as e:
                dead.append(e.reason)
        us = raw([], received=NOW).received_us
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tocsin.logstore.ingest.small.MOST", 0)
            slow = self.slow.append([Batch(mapped=(MappedEvents(consumer="c", events=read, received_us=us),))])
            fast = self.fast.append([Batch(raw=(raw(payloads, received=NOW),))])
        # One by one, since a single hostile payload sends its commit the other way.
        small = [self.small.append([Batch(raw=(raw([p], received=NOW),))]) for p in payloads]
        return self._seen(self.slow, [slow], dead), self._seen(self.fast, [fast], []), self._seen(self.small, small, [])

    @staticmethod
    def _seen(store: DuckLogStore, commits: Sequence[Commit], dead: list[DeadReason]) -> Any:
        receipts = [receipt for commit in commits for receipt in commit.receipts]
        seqs = [commit.seq for commit in commits if commit.seq is not None]
        rows = store.select(
            "SELECT * EXCLUDE (IngestedAt, CommitSeq) FROM RunStatusChanged WHERE CommitSeq IN (SELECT unnest($seqs)) ORDER BY rowid",
            {"seqs": seqs or [0]},
        ).to_pylist()
        reasons = sorted([*dead, *(x.reason for r in receipts for x in r.dead)])
        sums = [sum(getattr(r, k) for r in receipts) for k in ("accepted", "duplicate", "heartbeats")]
        return rows, sums, reasons


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    trio = Trio()
    yield trio
    trio.fast.close()
    trio.slow.close()
    trio.small.close()


_EXAMPLES = itertools.count()


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(payloads(), min_size=5, max_size=30))
@example([event(), event().replace(b'"Running"', b'"Running","Status":"Failed"')])
@example([event(Tags={"a": "1", "b": "2"}).replace(b'"b"', b'"a"')])
def test_both_readings_agree(trio: Trio, batch: list[bytes]) -> None:
    """Whatever a payload holds: the same rows, the same dead letters."""
    source = f'"source {next(_EXAMPLES)}"'.encode()  # so that examples are no duplicates of each other
    slow, fast, small = trio.outcome([payload.replace(b'"SOURCE"', source) for payload in batch])
    for other in (fast, small):
        assert [] == [
            (i, key, mine[key], theirs[key])
            for i, (mine, theirs) in enumerate(zip(slow[0], other[0], strict=False))
            for key in mine
            if mine[key] != theirs[key]
        ]
        assert slow[1:] == other[1:]


def reason_of(put: Bench, payload: bytes) -> str:
    (letter,) = put(payload, event("other", "Running")).receipts[0].dead
    return letter.reason.value


@pytest.mark.parametrize(
    ("reason", "payload"),
    [
        ("not_json", b'{"a":'),
        ("not_json", b""),
        ("not_json", event().replace(b'"}, "time"', b'",}, "time"')),
        ("not_utf8", event().replace(b"Running", b"Runn\xffing")),
        ("too_large", event(Message="x" * (1 << 20))),
        ("too_deep", event(Tags={"a": json.loads("[" * 70 + "]" * 70)})),
        ("bad_number", event().replace(b'"Running"', b"NaN")),
        ("bad_number", event(Progress=1).replace(b": 1}", b": 1e999}")),
        ("bad_string", event().replace(b"Running", b"\\ud800")),
        ("not_an_event", b"[1]"),
        ("not_an_event", event().replace(b"tocsin.run.status", b"tocsin.run.other")),
        ("no_run_id", event("")),
        ("no_status", event(status="")),
        ("bad_time", event().replace(b"2026-03-01T12", b"2026-03-01T32")),
        ("bad_field", event().replace(b'"source": "a"', b'"source": {"b": 1}')),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter(put: Bench, reason: str, payload: bytes) -> None:
    """And its neighbour is a row."""
    assert reason == reason_of(put, payload)
    assert ["other"] == [e["RunId"] for e in put.events("RunId")]


def test_the_last_of_two_keys_wins(put: Bench) -> None:
    put(event().replace(b'"Running"', b'"Running", "Status": "Failed"'))
    assert ["Failed"] == [e["Status"] for e in put.events()]


def test_an_unknown_word_is_kept(put: Bench) -> None:
    put(event(status="Exploded"), event("r2", status="fAILED"))
    assert [("Unknown", "Exploded"), ("Failed", "fAILED")] == [(e["Status"], e["OriginalStatus"]) for e in put.events()]


def test_defaults(put: Bench) -> None:
    """Strings are '' and never null, objects are {}, a run is its own root and job."""
    put(event("r1"), event("r2", ParentRunId="p"))
    first, second = put.events()
    assert (first["RootRunId"], first["JobKey"], second["RootRunId"]) == ("r1", "r1", "p")
    assert (first["Message"], first["Tags"], first["Attempt"], first["WillRetry"]) == ("", "{}", 0, False)
    assert [k for k, v in first.items() if v is None] == ["Progress", "StartTime", "EndTime", "DurationMs", "GivenTime"]


def test_a_nul_becomes_a_replacement_character(put: Bench) -> None:
    put(event(Message="a\x00b"))
    assert ["a\ufffdb"] == [e["Message"] for e in put.events()]


def test_secrets_are_redacted_where_mails_show_them(put: Bench) -> None:
    """Message and LogTail lose secrets; Raw keeps the payload as received."""
    put(event(LogTail="login\npassword=hunter2\nok", Message="fine"))
    (row,) = put.events()
    assert "hunter2" not in row["LogTail"]
    assert "hunter2" in row["Raw"]


@pytest.mark.parametrize("others", [0, 2_000], ids=["a small commit", "a large one"])
def test_a_log_tail_is_stored_as_a_person_would_have_seen_it(put: Bench, others: int) -> None:
    """Colours are gone and a progress bar stands in its last state, on both ways in; other texts stay as they are."""
    bar = "epoch 1\n\r 10%|#   |\r100%|####|\n\x1b[31mRuntimeError:\x1b[0m pass\x1b[1mword=hunter2"
    plain = event("plain", LogTail="tabs\tand  blanks \n stay")
    put(*(event(f"o{i}") for i in range(others)), event("r1", LogTail=bar), plain)
    assert "epoch 1\n100%|####|\nRuntimeError: password=[redacted]" == put.run("r1")["LogTail"]
    assert "tabs\tand  blanks \n stay" == put.run("plain")["LogTail"]
    assert "\\u001b[31m" in next(e["Raw"] for e in put.events() if e["RunId"] == "r1")


def test_retries_unknown_leaves_will_retry_open(put: Bench, clock: ManualClock) -> None:
    events = replace(raw([event(), event("r2", WillRetry=True)], received=clock.now()), retries_unknown=True)
    put.store.append([Batch(raw=(events,))])
    assert [None, True] == [e["WillRetry"] for e in put.events()]

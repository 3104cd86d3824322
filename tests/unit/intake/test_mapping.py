"""From a payload to an event, or to the reason why it is none."""

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from tocsin.clock import EPOCH
from tocsin.intake.consumer import Consumer, Decoded, Message, compile_consumer
from tocsin.intake.files import ConsumerFile
from tocsin.model.columns import RUN_STATUS_CHANGED
from tocsin.model.event import DeadReason, MappedEvent, Origin

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
COLUMNS = [c.name for c in RUN_STATUS_CHANGED if c.wire]


def consumer(**keys: Any) -> Consumer:
    """One that takes every column from the field of its name."""
    given = {"mapping": {name: name for name in COLUMNS}, "time": "at", "event_id": "id", **keys}
    return compile_consumer("c", ConsumerFile(connector="http", **given))


def decode(payload: object, message: dict[str, Any] | None = None, **keys: Any) -> Decoded:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return consumer(**keys).decode([Message(payload=raw, **(message or {}))], NOON)


def event(payload: object, **keys: Any) -> MappedEvent:
    (mapped,) = decode(payload, **keys).mapped
    (found,) = mapped.events
    return found


BASE = {"RunId": "r1", "Status": "Failed"}


@pytest.mark.parametrize(
    ("column", "given", "expected"),
    [
        ("RunId", 17, 17),
        ("RunId", 0, 0),
        ("Message", "boom", "boom"),
        ("Message", {"code": 1}, {"code": 1}),
        ("Message", True, True),
        ("Message", None, None),
        ("Message", "", None),
        ("Message", "login with password=hunter2 failed", "login with password=[redacted] failed"),
        ("LogTail", "Authorization: Bearer abcdefgh", "Authorization: Bearer [redacted]"),
        ("LogTail", " 1%|  |\r99%|##|\n\x1b[31mred\x1b[0m", "99%|##|\nred"),
        ("Attempt", 2, 2),
        ("Attempt", "3", "3"),
        ("Attempt", [3], None),
        ("WillRetry", True, True),
        ("Progress", {}, None),
        ("Tags", {"a": 1}, {"a": 1}),
        ("Tags", '{"a": 1}', {"a": 1}),
        ("Tags", ["a"], None),
        ("Tags", "words", None),
        ("StartTime", 1583797984457, datetime(2020, 3, 9, 23, 53, 4, 457000, tzinfo=UTC)),
        ("StartTime", "0001-01-01T00:00:00Z", None),
        ("EndTime", "never", None),
        ("Reason", "Out_Of_Memory", "out_of_memory"),
        ("Reason", "user_canceled", "user_canceled"),
        ("Reason", "bad luck", "unknown"),
    ],
)
def test_every_type_takes_what_it_can(column: str, given: object, expected: object) -> None:
    """What a column cannot take is left out: one odd field is no reason to lose a failure. Numbers are read by the
    store.
    """
    assert expected == event({**BASE, column: given}).columns.get(column)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (17, DeadReason.NOT_AN_EVENT),
        ("words", DeadReason.NOT_AN_EVENT),
        ({}, DeadReason.NO_RUN_ID),
        ({"RunId": "", "Status": "Failed"}, DeadReason.NO_RUN_ID),
        ({"RunId": {"a": 1}, "Status": "Failed"}, DeadReason.BAD_FIELD),
        ({"RunId": "r1"}, DeadReason.NO_STATUS),
        ({"RunId": "r1", "Status": " "}, DeadReason.NO_STATUS),
        ({"RunId": "r1", "Status": False}, DeadReason.NO_STATUS),
        ({"RunId": "r1", "Status": []}, DeadReason.BAD_FIELD),
        ({**BASE, "at": "yesterday"}, DeadReason.BAD_TIME),
        ({**BASE, "id": {}}, DeadReason.BAD_FIELD),
        (b'{"RunId": "r1", "Status": "Failed", "x": NaN}', DeadReason.BAD_NUMBER),
        (b'{"RunId": "r1", "Status": "Failed"', DeadReason.NOT_JSON),
    ],
)
def test_what_is_no_event_is_dead_for_a_reason(payload: object, expected: DeadReason) -> None:
    """With the bytes as received."""
    decoded = decode(payload)
    (letter,) = decoded.dead
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    assert ((), expected, raw, "c") == (decoded.mapped, letter.reason, letter.payload, letter.consumer)


def test_a_failing_expression_names_its_column() -> None:
    """So that the operator finds the line."""
    (letter,) = decode({"RunId": 1, "x": "y"}, mapping={"RunId": "abs(x)", "Status": "s"}).dead
    assert DeadReason.MAPPING_FAILED is letter.reason
    assert letter.detail.startswith("mapping.RunId: ")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("failed", ("Failed", "failed")),
        ("NOTRESPONDING", ("NotResponding", "NOTRESPONDING")),
        ("Finished", ("Completed", "Finished")),
        ("KILLED", ("Canceled", "KILLED")),
        (" killed ", ("Canceled", " killed ")),
        ("running", ("Paused", "running")),
        ("exploded", ("Unknown", "exploded")),
        (3, ("Unknown", "3")),
    ],
)
def test_status_words_are_mapped_in_any_case(word: object, expected: tuple[str, str]) -> None:
    """The map, then the vocabulary; a word that nobody knows is kept as Unknown."""
    words = {"finished": "Completed", "Killed": "Canceled", "Running": "Paused"}
    columns = event({"RunId": "r", "Status": word}, status_map=words).columns
    assert expected == (columns["Status"], columns["OriginalStatus"])


def test_identity_time_and_origin() -> None:
    """Source defaults to the consumer, the id to none; the record's time stands in for the payload's."""
    origin = Origin(topic="t", partition=1, offset=7)
    message = {"origin": origin, "time": EPOCH}
    found = event({**BASE, "at": "2026-11-23T12:00:00.1234567Z", "id": 5}, message=message)
    assert ("c", "5", origin) == (found.source, found.event_id, found.origin)
    assert NOON.replace(microsecond=123456) == found.time
    without = event(BASE, message=message, source="'s'")
    assert ("s", "", EPOCH) == (without.source, without.event_id, without.time)
    assert None is event(BASE).time


def test_filter_drops_and_counts() -> None:
    """Filtered events are neither rows nor dead letters, even where they could not be mapped."""
    decoded = decode([{**BASE, "kind": "run"}, {"kind": "other"}, {}], filter="kind == 'run'")
    assert (1, (), 2) == (len(decoded.mapped[0].events), decoded.dead, decoded.filtered)


def test_filter_runs_first_and_alone() -> None:
    """An event that nobody wants is dropped, though the rest of the mapping would fail on it."""
    keys: dict[str, Any] = {
        "filter": "kind == 'run'", "mapping": {"RunId": "abs(run)", "Status": "s"}, "time": "abs(at)",
    }  # fmt: skip
    decoded = decode([{"kind": "other", "run": "x", "at": "y"}, {"kind": "run", "run": "x"}], **keys)
    assert 1 == decoded.filtered
    assert ["mapping.RunId"] == [letter.detail.split(":")[0] for letter in decoded.dead]


def test_a_filter_that_fails_is_said_to_be_the_filter() -> None:
    """Not dropped: nobody knows whether it was wanted. A field that is absent is no failure."""
    decoded = decode([{"kind": 17}, {}], filter="starts_with(kind, 'run')")
    assert 1 == decoded.filtered
    (letter,) = decoded.dead
    assert (DeadReason.MAPPING_FAILED, True) == (letter.reason, letter.detail.startswith("filter: "))


def test_what_is_not_found_is_named_with_what_is_there() -> None:
    """The expression, and the event's fields with their kinds."""
    (letter,) = decode({"id": 1, "data": True}, mapping={"RunId": "data.run", "Status": "data.state"}).dead
    assert "RunId: `data.run` finds nothing; the event has id (a number), data (a boolean)" == letter.detail


def test_retries_unknown_reaches_the_store() -> None:
    """Of mapped events as of canonical ones."""
    assert [True, False] == [decode(BASE, retries=word).mapped[0].retries_unknown for word in ("unknown", "known")]


def test_data_in_base64_is_the_data() -> None:
    """CloudEvents' data_base64 holds JSON or text; where data stands beside it, data counts."""
    keys: dict[str, Any] = {"mapping": {"RunId": "data.run", "Status": "data.state", "Message": "data"}}
    packed = base64.b64encode(b'{"run": "r", "state": "Failed"}').decode()
    assert "r" == event({"specversion": "1.0", "data_base64": packed}, **keys).columns["RunId"]
    assert "x" == event({"data_base64": packed, "data": {"run": "x", "state": "Failed"}}, **keys).columns["RunId"]
    assert DeadReason.NO_RUN_ID is decode({"data_base64": "no base64!"}, **keys).dead[0].reason


@pytest.mark.parametrize("most", [None, 10], ids=["kafka", "http"])
def test_data_in_base64_is_the_data_of_a_canonical_event(most: int | None) -> None:
    """However many events a body may hold."""
    packed = base64.b64encode(b'{"RunId": "r", "Status": "Failed"}').decode()
    body = json.dumps({"specversion": "1.0", "type": "tocsin.run.status", "data_base64": packed}).encode()
    canonical = compile_consumer("c", ConsumerFile(connector="http", canonical=True))
    decoded = canonical.decode([Message(payload=body)], NOON, most=most)
    (payload,) = decoded.raw[0].payloads
    assert {"RunId": "r", "Status": "Failed"} == json.loads(payload)["data"]
    assert () == decoded.dead


def test_heartbeats_need_no_status() -> None:
    """They carry what a heartbeat has."""
    found = event({"RunId": "r", "Progress": 0.25, "type": "alive"}, heartbeat="type == 'alive'")
    assert (True, {"RunId": "r", "Progress": 0.25}) == (found.heartbeat, found.columns)


def test_json_inside_strings_is_read_where_the_file_says() -> None:
    """And only there; a string that only looks like JSON stays one."""
    keys: dict[str, Any] = {"mapping": {"RunId": "data.run", "Status": "data.state", "Message": "note"}}
    payload = {"Data": '{"run": "r", "state": "Failed"}', "note": '{"a": 1}'}
    assert "r" == event(payload, json_in=["data"], ignore_case=True, **keys).columns["RunId"]
    assert '{"a": 1}' == event(payload, json_in=["data"], ignore_case=True, **keys).columns["Message"]
    assert DeadReason.NO_RUN_ID is decode({"data": "{broken"}, json_in=["data"], **keys).dead[0].reason


def test_neighbours_of_a_bad_event_are_not_punished() -> None:
    """Each event of a message stands for itself."""
    decoded = decode([BASE, 17, {"RunId": "r2"}, {"RunId": "r3", "Status": "Running"}])
    assert ["r1", "r3"] == [e.columns["RunId"] for e in decoded.mapped[0].events]
    assert [DeadReason.NOT_AN_EVENT, DeadReason.NO_STATUS] == [d.reason for d in decoded.dead]


def test_of_many_dead_events_of_a_message_a_hundred_are_letters() -> None:
    """One letter stands for the rest of each: a record of half a million ones costs what it takes to read it."""
    messages = [Message(payload=b"[" + b"1," * 300 + b"1]", origin=Origin(offset=n)) for n in range(2)]
    letters = consumer().decode(messages, NOON).dead
    assert {0: 101, 1: 101} == Counter(letter.origin.offset for letter in letters)
    assert [201, 201] == [letter.count for letter in letters if letter.count > 1]
    assert (
        "201 events of this message beyond its first 100 dead ones; this one: a number is no event"
        == letters[100].detail
    )
    assert not any(letter.rest for letter in letters)


def test_canonical_messages_are_cut_and_left_to_the_store() -> None:
    """Also what is no event; what cannot be read is dead at once, and what is no JSON at all is marked."""
    canonical = compile_consumer("e", ConsumerFile(connector="http", canonical=True, retries="unknown"))
    decoded = canonical.decode([Message(payload=b'[{"id": 1},  17, {"id": NaN}]')], NOON)
    (raw,) = decoded.raw
    assert [b'{"id":1}', b"17"] == list(raw.payloads)
    assert [DeadReason.BAD_NUMBER] == [letter.reason for letter in decoded.dead]
    assert (True, False) == (raw.retries_unknown, raw.own_time)
    assert not decoded.no_json
    assert canonical.decode([Message(payload=b"nonsense")], NOON).no_json
    assert not canonical.decode([Message(payload=b"[]")], NOON).no_json

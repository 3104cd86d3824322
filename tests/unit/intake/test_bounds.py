"""What is read of one message is bounded before it is built."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.intake.consumer import PART_ROWS, Consumer, DeadRoom, Message, compile_consumer
from tocsin.intake.counting import more_elements
from tocsin.intake.files import ConsumerFile
from tocsin.intake.formats import TooMuch, is_json, splitter
from tocsin.model.event import DeadLetter, DeadReason, fold

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SIZE = 4 << 20
HTTP = 1 << 40  # the limit of a message by HTTP

odd = st.sampled_from(["", ",", '"', "\\", "[", "]},", '\\"', '\\\\"', "a\\", "ő\x00"])
values = st.recursive(
    st.none() | st.integers() | odd,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd, inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(values, max_size=8), st.integers(1, 9), st.booleans())
def test_elements_are_counted_as_a_reader_counts_them(elements: list[object], most: int, ascii: bool) -> None:
    """Whatever stands in their strings, however they are nested."""
    assert (len(elements) > most) == more_elements(json.dumps(elements, ensure_ascii=ascii).encode(), most)


def test_elements_are_counted_over_windows() -> None:
    """A string or a bracket that begins in one window ends in another."""
    elements = ['a"],[' * 5000, [1] * 50_000, {"k": ["x" * 7] * 9000}] * 5
    text = json.dumps(elements).encode()
    assert not more_elements(text, 15)
    assert more_elements(text, 14)


def test_what_comes_before_the_place_where_it_is_no_json_counts() -> None:
    """A reader would have built it by then."""
    for end in (b"", b"]]]]", b"}", b'"', b"{,", b'"\\'):
        assert more_elements(b"[" + b"1," * 10 + end, 9)
    assert not more_elements(b"[1]" + b",1" * 10, 9)


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Bytes that Python took at most meanwhile."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(unit: bytes) -> bytes:
    return unit * (SIZE // len(unit))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("auto", b"[" + filled(b"1,") + b"1]"),
        ("array", b"[" + filled(b"{},") + b"1]"),
        ("auto", b"[" + filled(b"[[]],") + b"NaN]"),
        ("auto", b"[" + filled(b"1,")),
        ("auto", b"[" + filled(b"1,") + b"1}}"),
        ("auto", b"{}\n" + filled(b"1\n")),
        ("json lines", filled(b" x \n")),
        ("records[]", b'{"records":[' + filled(b"{},") + b"{}]}"),
        ("records[]", b"{" + filled(b'"a":"b",') + b'"records":[]}'),
        ("array", b'[{"a":[' + filled(b"{},") + b"NaN]}]"),
    ],
)
def test_too_much_is_refused_before_it_is_built(form: str, message: bytes) -> None:
    """Memory is some times the message's, where its values would take up to 30 times as much."""
    with peak() as taken, pytest.raises(TooMuch):
        splitter(form, limit=HTTP)(message, 1000)
    assert taken() < 5 * SIZE


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("auto", b"[" + b'{"a":[' + filled(b"{},") + b"1]}]"),
        ("auto", b'{"a":[' + filled(b"{},") + b"1]}"),
        ("one", b'{"a":[' + filled(b"{},") + b"1]}"),
        ("json lines", b"[" + filled(b"[") + b"\n1"),
    ],
)
def test_an_event_of_more_than_a_mebibyte_is_not_built(form: str, message: bytes) -> None:
    """It is a dead letter by itself."""
    with peak() as taken:
        pieces = list(splitter(form, limit=HTTP)(message, 1000))
    assert DeadReason.TOO_LARGE == pieces[0].dead
    assert taken() < 6 * SIZE


def test_pieces_are_made_when_they_are_asked_for() -> None:
    """So that what one of them takes is free again before the next is read."""
    element = b'{"a":[' + b"{}," * 100_000 + b"{}]}"
    message = b"[" + b",".join([element] * 12) + b"]"
    with peak() as taken:
        assert 12 == sum(1 for piece in splitter("auto", limit=HTTP)(message, 1000) if piece.dead is None)
    assert taken() < 40 << 20  # one takes 7 MiB, and twelve 90


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("auto", b"[1,2,3]"),
        ("array", b'[",,,,",{"a":[1,2,3,4]},3]'),
        ("auto", b"1\n\n2\n \n3\n\n\n"),
        ("json lines", b"1\n2\n3"),
        ("auto", b"[1,2,NaN]"),
        ("r[]", b'{"r":[1,2,3]}'),
    ],
)
def test_the_bound_is_exact(form: str, message: bytes) -> None:
    assert 3 == len(list(splitter(form)(message, 3)))
    with pytest.raises(TooMuch):
        splitter(form)(message, 2)


def test_what_is_dense_is_not_built_to_see_whether_it_is_json() -> None:
    with peak() as taken:
        assert is_json(b"[\n" + filled(b"{},\n") + b"{}]")
    assert taken() < SIZE


# -- parts -------------------------------------------------------------------------------------------------------------
CANONICAL = compile_consumer("c", ConsumerFile(connector="http", canonical=True))
MAPPED = compile_consumer("m", ConsumerFile(connector="http", mapping={"RunId": "r", "Status": "s"}))


@pytest.mark.parametrize("consumer", [CANONICAL, MAPPED])
def test_a_body_comes_in_parts(consumer: Consumer) -> None:
    """Of at most so many events, in order; only the last has read the message to its end."""
    events = [{"r": str(n), "s": "Failed"} for n in range(2 * PART_ROWS + 1)]
    body = json.dumps(events).encode()
    parts = list(consumer.parts([Message(payload=body)], NOON, room=DeadRoom()))
    found = [[json.loads(p) for r in part.raw for p in r.payloads] for part in parts]
    found = [a or [json.loads(e.raw) for m in p.mapped for e in m.events] for a, p in zip(found, parts, strict=True)]
    assert [PART_ROWS, PART_ROWS, 1] == [len(f) for f in found]
    assert events == [e for f in found for e in f]
    assert [0, 0, 1] == [part.through for part in parts]
    large = json.dumps([{"r": "x" * 900_000, "s": "Failed"}] * 12).encode()
    assert 3 == len(list(consumer.parts([Message(payload=large)], NOON, room=DeadRoom())))


def test_dead_letters_of_a_body_have_room_for_a_hundred() -> None:
    """The rest are counted; neither keeps a good one from being read."""
    body = json.dumps([1] * 20_000 + [{"r": "x", "s": "Failed"}] + [{"r": "y"}] * 7).encode()
    room = DeadRoom()
    (part,) = MAPPED.parts([Message(payload=body)], NOON, room=room)
    assert (1, 100, 0) == (len(part.mapped[0].events), len(part.dead), room.left)
    further = room.further
    assert further is not None
    assert {DeadReason.NOT_AN_EVENT: 19_900, DeadReason.NO_STATUS: 7} == further.counts
    assert "19,907 more of this message could not be read: 19,900 not_an_event, 7 no_status; here is one of them" == (
        further.detail
    )


def test_letters_that_stand_for_several_add_up() -> None:
    letters = [DeadLetter(consumer="c", reason=DeadReason.NOT_JSON, detail="", payload=b"%d" % n) for n in range(5)]
    first, second = fold(letters[:3]), fold(letters[3:])
    assert first is not None and second is not None
    whole = fold([first, second])
    assert whole is not None
    assert (b"0", {DeadReason.NOT_JSON: 5}) == (whole.payload, whole.counts)
    assert fold([]) is None


def test_a_body_of_too_many_is_refused_and_a_record_is_dead() -> None:
    """Who sends a body hears of it; nobody hears of a record."""
    message = Message(payload=b"[" + b"1," * 100_000 + b"1]")
    with pytest.raises(TooMuch, match="more than 100,000 events"):
        next(CANONICAL.parts([message], NOON, room=DeadRoom()))
    assert [DeadReason.TOO_MANY] == [d.reason for d in CANONICAL.decode([message], NOON).dead]

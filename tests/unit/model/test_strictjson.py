"""The canonical reading of JSON."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.event import MAX_PAYLOAD, DeadReason
from tocsin.model.text.strictjson import ReadError, _read_slowly, read_json

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b" [1, 1.5, -0, 1E2, 1e-400] \n", [1, 1.5, 0, 100.0, 0.0]),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\u0000"', "\0"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"1" * 308, int("1" * 308)),
        (b"null", None),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        (b'[{"a":1},' * 200 + b"0" + b"]" * 200, DeadReason.TOO_DEEP),
        (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
        (b"[" * 65 + b"]" * 65, DeadReason.TOO_DEEP),
        (b"[" * 63 + b'{"a":{}}' + b"]" * 63, DeadReason.TOO_DEEP),
        (b"[" * 200_000 + b"]" * 200_000, DeadReason.TOO_DEEP),
        (b"", DeadReason.NOT_JSON),
        (b"hello", DeadReason.NOT_JSON),
        (b"{} {}", DeadReason.NOT_JSON),
        (b"[1,]", DeadReason.NOT_JSON),
        (b"01", DeadReason.NOT_JSON),
        (b"1.", DeadReason.NOT_JSON),
        (b'"\x01"', DeadReason.NOT_JSON),
        (b"{'a': 1}", DeadReason.NOT_JSON),
        (b'"\\x"', DeadReason.NOT_JSON),
        (b'"\xff"', DeadReason.NOT_UTF8),
        (b'"\xed\xa0\x80"', DeadReason.NOT_UTF8),
        ('{"a": "é"}'.encode("utf-16"), DeadReason.NOT_UTF8),
        (b'{"a": NaN}', DeadReason.BAD_NUMBER),
        (b"[-Infinity]", DeadReason.BAD_NUMBER),
        (b"1e400", DeadReason.BAD_NUMBER),
        (b"9" * 310, DeadReason.BAD_NUMBER),
        (b"9" * 5000, DeadReason.BAD_NUMBER),
        (b'"\\ud800"', DeadReason.BAD_STRING),
        (b'{"\\udc00": 1}', DeadReason.BAD_STRING),
        (b'["\\ud83dx"]', DeadReason.BAD_STRING),
        (b'"' + b"a" * MAX_PAYLOAD + b'"', DeadReason.TOO_LARGE),
    ],
)
def test_every_trap_has_its_reading(payload: bytes, expected: object) -> None:
    """A value, or the one word that the dead letter will carry."""
    try:
        found: object = read_json(payload)
    except ReadError as e:
        found = e.reason
    assert expected == found


def test_largest_payload_is_read() -> None:
    """The limit itself still passes."""
    assert "a" * (MAX_PAYLOAD - 2) == read_json(b'"' + b"a" * (MAX_PAYLOAD - 2) + b'"')


@given(values)
def test_what_json_can_say_is_read_as_written(value: object) -> None:
    """What Python's writer writes comes back equal, by the fast way and by the slow one."""
    payload = json.dumps(value, ensure_ascii=False).encode("utf-8")
    assert value == read_json(payload) == _read_slowly(payload)


@given(st.binary(max_size=40) | st.text(alphabet='[]{}:,"\\u0dD8ef1-.+eE \n', max_size=30).map(str.encode))
def test_fast_and_slow_reading_agree_on_any_bytes(payload: bytes) -> None:
    """Both read it alike or both refuse it with the same word."""
    if not payload.startswith(b"\xef\xbb\xbf"):
        assert outcome(_read_slowly, payload) == outcome(read_json, payload)


def outcome(read: Callable[[bytes], object], payload: bytes) -> object:
    try:
        return read(payload)
    except ReadError as e:
        return e.reason

"""Where the events are in a message."""

import pytest

from tocsin.intake.formats import is_json, splitter
from tocsin.model.event import MAX_PAYLOAD, DeadReason


def pieces(form: str, message: bytes, **limits: int) -> list[object]:
    return [piece.dead or piece.value for piece in splitter(form, **limits)(message)]


@pytest.mark.parametrize(
    ("form", "message", "expected"),
    [
        ("auto", b'{"a": 1}', [{"a": 1}]),
        ("auto", b' [{"a": 1}, {"a": 2}] ', [{"a": 1}, {"a": 2}]),
        ("auto", b"[]", []),
        ("auto", b'{"a": 1}\n{"a": 2}\n\n', [{"a": 1}, {"a": 2}]),
        ("auto", b'{"a": 1}\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
        ("auto", b'{"a": 1}\nnonsense\n{"a": 2}', [{"a": 1}, DeadReason.NOT_JSON, {"a": 2}]),
        ("auto", b'"a": 1}\n{"a": 2}\n{"a": 3}', [DeadReason.NOT_JSON, {"a": 2}, {"a": 3}]),
        ("auto", b'[{"a"\n{"a": 2}', [DeadReason.NOT_JSON, {"a": 2}]),
        ("auto", b'[\n {"a": 1},\n {"a"\n', [DeadReason.NOT_JSON]),
        ("auto", b'{\n "a": 1\n}\n', [{"a": 1}]),
        ("auto", b'{\n "a": \n', [DeadReason.NOT_JSON]),
        ("auto", b'"{\\"a\\": 1}"', [{"a": 1}]),
        ("auto", b'"[{\\"a\\": 1}]"', [{"a": 1}]),
        ("auto", b'"words"', ["words"]),
        ("auto", b"17", [17]),
        ("auto", b"\xef\xbb\xbf[1]", [1]),
        ("auto", b'[{"a": 1}, {"a": NaN}, {"a": 3}]', [{"a": 1}, DeadReason.BAD_NUMBER, {"a": 3}]),
        ("auto", b'[{"a": 1}, {"a": 1e999}]', [{"a": 1}, DeadReason.BAD_NUMBER]),
        ("auto", b'[{"a": 1}, {"a": "\\ud800"}]', [{"a": 1}, DeadReason.BAD_STRING]),
        ("auto", b"[" + b"[" * 70 + b"]" * 70 + b', {"a": 1}]', [DeadReason.TOO_DEEP, {"a": 1}]),
        ("auto", b'[{"a": 1}, {"a"]', [DeadReason.NOT_JSON]),
        ("auto", b'[{"a": "\xff"}]', [DeadReason.NOT_UTF8]),
        ("auto", b'{"a": 1}\n{"a": "\xff"}', [{"a": 1}, DeadReason.NOT_UTF8]),
        ("auto", b"nonsense", [DeadReason.NOT_JSON]),
        ("one", b"[1, 2]", [[1, 2]]),
        ("array", b"[1, 2]", [1, 2]),
        ("array", b'{"a": 1}', [DeadReason.NOT_AN_EVENT]),
        ("json lines", b'{"a": 1}', [{"a": 1}]),
        ("json lines", b"1\n\n2\n", [1, 2]),
        ("records[]", b'{"records": [{"a": 1}, {"a": 2}]}', [{"a": 1}, {"a": 2}]),
        ("records[]", b'{"other": 1}', [DeadReason.NOT_AN_EVENT]),
        ("detail", b'{"detail": {"a": 1}}', [{"a": 1}]),
        ("Records[].parse_json(body)", b'{"Records": [{"body": "{\\"a\\": 1}"}]}', [{"a": 1}]),
        ("abs(x)", b'{"x": "y"}', [DeadReason.MAPPING_FAILED]),
        ("records[]", b"nonsense", [DeadReason.NOT_JSON]),
    ],
)
def test_events_are_found(form: str, message: bytes, expected: list[object]) -> None:
    """A bad event is a piece of its own and never takes its neighbours along."""
    assert expected == pieces(form, message)


def test_raw_is_the_events_own_bytes() -> None:
    """Raw keeps what was received, spaces and all."""
    assert [b'{"a":  1}', b'{ "b": 2}'] == [p.raw for p in splitter("auto")(b'[{"a":  1}, { "b": 2}]')]


def test_limits_are_of_the_event_and_of_the_message() -> None:
    """An array may be larger than an event; an event past 1 MiB is dead alone."""
    large = b'"' + b"x" * MAX_PAYLOAD + b'"'
    assert [1, DeadReason.TOO_LARGE, 2] == pieces("auto", b"[1," + large + b",2]", limit=4 * MAX_PAYLOAD)
    assert [DeadReason.TOO_LARGE] == pieces("auto", b"[1," + large + b",2]")
    assert [{"a": 1}, DeadReason.TOO_LARGE] == pieces("auto", b'{"a":1}\n' + large, limit=4 * MAX_PAYLOAD)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"{}", True),
        (b"NaN", True),
        (b'{"a": "\xff"}', True),
        (b"[" * 100_000, True),
        (b"9" * 5000, True),
        (b"nonsense\n{}", True),
        (b"", False),
        (b"nonsense", False),
        (b"nonsense\nmore", False),
        (b'{"a": ', False),
        (b"a=1&b=2", False),
    ],
)
def test_json_at_all(message: bytes, expected: bool) -> None:
    """What is JSON but cannot be read becomes a dead letter; only what is none is refused."""
    assert expected is is_json(message)

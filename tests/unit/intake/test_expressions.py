"""JMESPath over payloads: generated getters, any case, our functions."""

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.intake.expressions import ExpressionFailed, compile_getter, is_true, parse

PAYLOAD: dict[str, object] = {
    "id": 7,
    "data": {"runId": "r1", "runTags": {"a": "b"}, "RunStatus": "failed", "list": [1, {"x": 2}]},
    "text": "words",
    "topic": "/subscriptions/S1/resourceGroups/g/providers/X/workspaces/prod",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id", 7),
        ("data.runId", "r1"),
        ("data.runTags", {"a": "b"}),
        ("data.missing.deeper", None),
        ("text.length", None),
        ("data.list.x", None),
        ('data."runId"', "r1"),
        ("@", PAYLOAD),
        ("'word'", "word"),
        ("`[1, 2]`", [1, 2]),
        ("data.list[1].x", 2),
        ("data.missing || data.runId", "r1"),
        ("lower(data.RunStatus)", "failed"),
        ("upper(data.missing)", None),
        ("segment(topic, 'Workspaces')", "prod"),
        ("segment(topic, 'prod')", None),
        ("segment(id, 'x')", None),
        ("split(text, 'r')[0]", "wo"),
        ("parse_json('{\"a\": [1]}').a[0]", 1),
        ("parse_json('{')", None),
        ("parse_json(id)", None),
        ("base64_decode('eyJhIjogMX0=')", '{"a": 1}'),
        ("base64_decode('Pj4-Pz8_')", ">>>???"),
        ("base64_decode('eyJhIjogMX0')", '{"a": 1}'),
        ("base64_decode('no base64!')", None),
        ("base64_decode('/w==')", None),
        ("base64_decode(data.missing)", None),
        ("coalesce(data.missing, '', `false`, 'x')", False),
        ("coalesce(data.missing)", None),
        ("format('{}/{}', data.runId, id)", "r1/7"),
        ("format('{}/{}', data.runId, data.missing)", None),
        ("starts_with(data.missing, 'x')", None),
        ("contains(data.missing, 'x') || 'no'", "no"),
        ("join('-', [data.runId, data.missing])", None),
        ("max([data.missing, `1`])", None),
        ("url('https://x/{}?w={}', data.runId, 'a/b c')", "https://x/r1?w=a%2Fb%20c"),
        ("url('https://x/{}', data.missing)", None),
        ("url('https://x/{}/{}', data.runId)", None),
    ],
)
def test_every_expression_has_its_value(text: str, expected: object) -> None:
    """What JMESPath says, and our functions, which say null where they cannot answer."""
    assert (expected,) == compile_getter([text])(PAYLOAD)


def test_expressions_come_in_order_and_fail_alone() -> None:
    """The one that fails is named by its index."""
    assert ("r1", 7, None) == compile_getter(["data.runId", "id", "nothing"])(PAYLOAD)
    with pytest.raises(ExpressionFailed) as failed:
        compile_getter(["id", "abs(text)"])(PAYLOAD)
    assert 1 == failed.value.index


@pytest.mark.parametrize(
    ("payload", "text", "expected"),
    [
        ({"RunStatus": "a"}, "runStatus", "a"),
        ({"RunStatus": "a", "runStatus": "b"}, "runStatus", "b"),
        ({"RUNSTATUS": "a", "RunStatus": "b"}, "runStatus", "b"),
        ({"runStatus": None, "RunStatus": "b"}, "runStatus", "b"),
        ({"Data": {"RunId": "r"}}, "data.runId", "r"),
        ({"Data": {"RunId": "r"}}, "data.runId || 'none'", "r"),
        ({"Data": [{"X": 1}]}, "data[0].x", 1),
        ({"Data": "x"}, "data.runId || 'none'", "none"),
    ],
)
def test_any_case_prefers_what_is_written(payload: object, text: str, expected: object) -> None:
    """As written, else the last in another case that is not null; alike in generated code and in the interpreter."""
    assert (expected,) == compile_getter([text], ignore_case=True)(payload)


keys = st.sampled_from(["a", "b", "C"])
payloads = st.recursive(
    st.none() | st.integers() | st.just("s"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(payloads, st.lists(st.lists(keys, min_size=1, max_size=4).map(".".join), min_size=1, max_size=5))
def test_generated_code_says_what_jmespath_says(payload: object, paths: list[str]) -> None:
    """Plain paths over any payload."""
    assert tuple(jmespath.search(path, payload) for path in paths) == compile_getter(paths)(payload)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a.", "no JMESPath"), ("a ||", "no JMESPath"), ("lowr(a)", "did you mean 'lower'"), ("", "no JMESPath")],
)
def test_what_is_wrong_is_said_when_compiled(text: str, message: str) -> None:
    """Not at the first event."""
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (False, False), ("", False), ([], False), ({}, False), (0, True), ("x", True), (True, True)],
)
def test_truth_is_jmespaths(value: object, expected: bool) -> None:
    """Zero is true."""
    assert expected is is_true(value)

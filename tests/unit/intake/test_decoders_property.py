"""Whatever comes, a decoder gives events or dead letters, and raises nothing."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.config.content import files_in, packaged
from tocsin.intake.consumer import Consumer, Message, TooMany, load_consumers
from tocsin.intake.formats import splitter

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MOST = 50
CONSUMERS = load_consumers(files_in(packaged() / "consumers"))

WORDS = (
    "id", "runId", "run_id", "status", "state", "conclusion", "action", "workflow_run", "data", "time", "type", "source", "specversion", "eventType", "detail",
    "event", "run", "job", "name", "metadata", "object", "phase", "Records", "Message", "payload", "RunId", "Status", "tags", "created_at", "updated_at",
)  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(("completed", "failed", "FAILED", "2026-01-05T12:00:00Z", "1767614400", "{\"a\": 1}", "[", "\ud800", "a\x00b"))
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=25,
)


def written(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


payloads = (
    values.map(written)
    | st.lists(values, max_size=5).map(lambda many: b"\n".join(map(written, many)))
    | st.binary(max_size=200)
    | st.tuples(values.map(written), st.integers(0, 200)).map(lambda cut: cut[0][: cut[1]])
)


def samples(consumer: Consumer) -> list[Any]:
    """Payloads of its own inline tests: what is changed a little is read furthest."""
    return [test.payload for test in consumer.file.tests if getattr(test, "payload", None) is not None][:5]


@st.composite
def changed(draw: st.DrawFn, consumer: Consumer) -> bytes:
    """One of its samples, in which a value somewhere is another."""
    known = samples(consumer)
    if not known:
        return draw(payloads)
    value = json.loads(json.dumps(draw(st.sampled_from(known)), default=str))
    at: Any = value
    while isinstance(at, dict | list) and at:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = draw(st.sampled_from(list(keys)))
        if not isinstance(at[key], dict | list) or not at[key] or draw(st.booleans()):
            at[key] = draw(values)
            break
        at = at[key]
    return written(value)


@pytest.mark.parametrize("name", sorted(CONSUMERS))
@settings(max_examples=examples(40), deadline=None)
@given(data=st.data())
def test_every_shipped_consumer_reads_anything(name: str, data: st.DataObject) -> None:
    consumer = CONSUMERS[name]
    payload = data.draw(payloads | changed(consumer))
    try:
        decoded = consumer.decode([Message(payload=payload)], NOW, most=MOST)
    except TooMany:
        return
    found = sum(len(r.payloads) for r in decoded.raw) + sum(len(m.events) for m in decoded.mapped)
    assert found + len(decoded.dead) + decoded.filtered <= MOST
    assert sum(part.messages for part in decoded.parts(7, 2)) == found + len(decoded.dead)
    for letter in decoded.dead:
        assert letter.detail and letter.payload is not None


@pytest.mark.parametrize("form", ["auto", "one", "array", "json lines", "records", "a[].b"])
@settings(max_examples=examples(60), deadline=None)
@given(payload=payloads)
def test_a_format_cuts_anything_into_pieces(form: str, payload: bytes) -> None:
    for piece in splitter(form)(payload):
        assert (piece.dead is None) or piece.detail

"""The fast path and a mapping of the same events store the same rows, whatever stands in them."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.clock import ManualClock
from tocsin.intake.consumer import Consumer, Message, compile_consumer
from tocsin.intake.files import WIRE, ConsumerFile
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.columns import TABLES, KqlType

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FAST = compile_consumer("c", ConsumerFile(connector="http", canonical=True))
MAPPED = compile_consumer(
    "c",
    ConsumerFile(
        connector="http",
        filter="`true`",
        heartbeat="type == 'tocsin.run.heartbeat'",
        source="not_null(source, '')",
        event_id="id",
        time="time",
        mapping={name: f"data.{name}" for name in WIRE},
    ),
)

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
scalars = (
    words | st.integers(-(2**70), 2**70) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
objects = st.dictionaries(words, scalars | st.lists(scalars, max_size=2), max_size=3)
times = st.sampled_from(
    ["2026-11-23T11:00:00Z", "2026-11-23T11:00:00.1234567+02:00", "11/23/2026 1:36:31 PM", 1795428000, "1795428000123",
     "0001-01-01T00:00:00Z", "", None, "never", True]
)  # fmt: skip
names = st.sampled_from(["Running", "failed", "COMPLETED", "exploded", " Queued "])
by_type = {
    KqlType.STRING: words | scalars | objects,
    KqlType.DATETIME: times,
    KqlType.INT: scalars | st.sampled_from([1, "2", -1, 2**31, 2.5]),
    KqlType.LONG: scalars | st.sampled_from([1, "2", 2**62, 2**63, 1e3]),
    KqlType.REAL: scalars | st.sampled_from([0, 1, 0.5, "0.25", 2]),
    KqlType.BOOL: scalars | st.sampled_from([True, "true", "False", 1, 0]),
    KqlType.DYNAMIC: objects | scalars | st.lists(scalars, max_size=2),
}
optional = {name: by_type[column.type] for name, column in WIRE.items() if name not in ("RunId", "Status", "Reason")}
data = st.fixed_dictionaries(
    {"RunId": words.filter(str.strip) | st.integers(0, 9), "Status": names},
    optional={**optional, "Reason": st.sampled_from(["preempted", "QUOTA", "bad luck", "", None])},
)
events = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("tocsin.run.status"), "data": data},
        optional={"source": words | st.integers(), "time": times.filter(lambda t: t not in ("never", True))},
    ),
    min_size=1,
    max_size=20,
)
BARE = [c.name for c in TABLES["RunStatusChanged"] if c.name not in ("Raw", "IngestedAt")]


def rows(consumer: Consumer, payloads: list[bytes]) -> list[dict[str, Any]]:
    store = DuckLogStore.open(None, clock=ManualClock(NOON))
    try:
        commit = store.append([consumer.decode([Message(payload=p) for p in payloads], NOON).batch()])
        assert not commit.receipts[0].dead
        columns = ", ".join(f'"{name}"' for name in BARE)
        found: list[dict[str, Any]] = store.select(
            f"SELECT {columns} FROM RunStatusChanged ORDER BY EventId"
        ).to_pylist()
    finally:
        store.close()
    for row in found:
        row["Tags"], row["Properties"] = json.loads(row["Tags"]), json.loads(row["Properties"])
    return found


@settings(
    max_examples=examples(25),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(events)
def test_both_ways_store_the_same(given: list[dict[str, Any]]) -> None:
    """Column by column; an event's id is its number here."""
    payloads = [json.dumps({"id": f"e{n:02}", **event}).encode() for n, event in enumerate(given)]
    assert rows(FAST, payloads) == rows(MAPPED, payloads)

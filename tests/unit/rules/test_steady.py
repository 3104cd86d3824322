"""A window that slides over the same rows is read once; one that gains or loses a row is read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import Limits
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.rules.kinds.window.steady import Steady

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
COUNT = (
    'SELECT count(*) AS n FROM main."RunStatusChanged" WHERE TimeGenerated > make_timestamp($tocsin_lo::BIGINT)'
    " AND TimeGenerated <= make_timestamp($tocsin_hi::BIGINT)"
)


class _Counting(Steady):
    """Counts what is asked of the log."""

    def __init__(self, log: DuckLogStore) -> None:
        super().__init__(log)
        self.log = log
        self.asked = 0

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        before = len(self._answers)
        table = super().select(sql, params, limits)
        self.asked += len(self._answers) != before or not self._answers
        return table


@pytest.fixture
def log() -> Iterator[DuckLogStore]:
    store = DuckLogStore.open(None, clock=ManualClock(NOON + timedelta(hours=1)))
    _add(store, 0, 10)
    yield store
    store.close()


def _add(store: DuckLogStore, *minutes: int) -> None:
    events = [
        MappedEvent(
            source="s",
            event_id=f"e{m}",
            time=NOON + timedelta(minutes=m),
            columns={"RunId": "r", "Status": "Failed"},
            raw=b"{}",
        )
        for m in minutes
    ]
    store.append([Batch(mapped=(MappedEvents(consumer="c", events=events, received_us=0),))])


def _seen(reader: Steady, minute: float, **more: object) -> int:
    hi = round((NOON + timedelta(minutes=minute)).timestamp() * 1e6)
    count: int = reader.select(COUNT, {"tocsin_lo": hi - 15 * 60_000_000, "tocsin_hi": hi, **more}).column(0)[0].as_py()
    return count


def test_the_answers_are_those_of_the_log(log: DuckLogStore) -> None:
    """At every minute a remembered answer is what an evaluation would have seen, at both ends of the window too."""
    reader = Steady(log)
    minutes = [m / 2 for m in range(-2, 60)]
    assert [_seen(Steady(log), m) for m in minutes] == [_seen(reader, m) for m in minutes]
    assert {0, 1, 2} == {_seen(reader, m) for m in minutes}


def test_a_window_over_the_same_rows_is_read_once(log: DuckLogStore) -> None:
    """Sixty looks, four windows that hold other rows: none, the first, both, the second; none again is the empty end."""
    reader = _Counting(log)
    for minute in range(-1, 60):
        _seen(reader, minute)
    assert 5 == reader.asked


def test_what_comes_is_seen(log: DuckLogStore) -> None:
    """After a commit everything is read again."""
    reader = Steady(log)
    assert 2 == _seen(reader, 12)
    _add(log, 11)
    reader.turned()
    assert 3 == _seen(reader, 12)


def test_now_is_another_one_at_each_evaluation(log: DuckLogStore) -> None:
    """A query that means the instant itself is always asked."""
    reader = Steady(log)
    ages = [
        reader.select(
            COUNT.replace("count(*)", "max(epoch_us($kqlnow::TIMESTAMP))"),
            {"tocsin_lo": 0, "tocsin_hi": 1 << 60, "kqlnow": NOON.replace(tzinfo=None) + timedelta(minutes=m)},
        )
        .column(0)[0]
        .as_py()
        for m in (0, 1)
    ]
    assert 60_000_000 == ages[1] - ages[0]

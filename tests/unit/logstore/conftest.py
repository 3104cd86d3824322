"""A store in memory, and a way to put events into it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.unit.logstore.helpers import Bench
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
def store(clock: ManualClock) -> Iterator[DuckLogStore]:
    store = DuckLogStore.open(None, clock=clock)
    yield store
    store.close()


@pytest.fixture
def put(store: DuckLogStore, clock: ManualClock) -> Bench:
    """put(event, …) appends canonical events in one commit."""
    return Bench(store, clock)

"""A store whose file was deleted takes nothing: what is written to it now would end with the process."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tocsin.clock import ManualClock
from tocsin.errors import StoreError, StoreGone
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch
from tocsin.state.sqlite import SqliteState

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def test_stores_take_nothing_while_their_files_are_elsewhere(tmp_path: Path) -> None:
    """Brought back they go on; another file in their place is not theirs."""
    events, values, clock = tmp_path / "events.duckdb", tmp_path / "state.sqlite", ManualClock(NOW)
    store, state = DuckLogStore.open(events, clock=clock, reserve=0), SqliteState.open(values, clock=clock)
    state.put("key", "before")
    for path in (events, values):
        path.rename(path.with_suffix(".away"))
    values.touch()
    with pytest.raises(StoreGone, match=r"events\.duckdb was deleted or replaced"):
        store.append([Batch()])
    with pytest.raises(StoreError, match="was deleted or replaced; stop tocsin and bring it back"):
        state.put("key", "lost")
    with pytest.raises(StoreError, match="was deleted or replaced"):
        state.get("key")
    for path in (events, values):
        path.with_suffix(".away").rename(path)
    store.append([Batch()])
    assert "before" == state.get("key")
    state.close()
    store.close()

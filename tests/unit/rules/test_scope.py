"""What a window sees of ``Runs`` when later commits have come meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.logstore.helpers import Bench, event
from tests.unit.rules.said import bench_in_memory
from tocsin.rules.kinds.window.scope import Span, scope
from tocsin.rules.kinds.window.spec import Life

HOUR = timedelta(hours=1)


def seen(bench: Bench, table: str, seq: int, over: timedelta | Life = HOUR) -> list[dict[str, Any]]:
    cut = scope(frozenset({table}), Span(over, timedelta(0)), bench.clock.now(), seq, bench.store)
    return bench.rows(f"SELECT * FROM ({cut.tables[table]}) ORDER BY RunId, EventId" if table != "Runs" else
                      f"SELECT * FROM ({cut.tables[table]}) ORDER BY RunId", **cut.parameters)  # fmt: skip


def test_runs_are_as_of_the_instant() -> None:
    """The same row as when the instant's commit was the newest: names of an earlier event, not reopened by another
    source, its start derived.
    """
    with bench_in_memory() as bench:
        bench(event("r1", "Running", 0, ExperimentName="churn", Progress=0.5), event("r1", "Failed", 60))
        bench(event("r1", "Running", 70, source="watcher"))
        then = bench.store.head().seq
        before = seen(bench, "Runs", then)
        bench(event("r1", "Running", 80), event("r2", "Queued", 80))
        assert "Running" == bench.run("r1")["Status"]
        assert ["Failed", "churn", 60_000, 0.5] == [
            before[0][name] for name in ("Status", "ExperimentName", "DurationMs", "Progress")
        ]
        assert before == seen(bench, "Runs", then)


@pytest.mark.parametrize("over", [Life.RUN, Life.ROOT])
def test_the_life_of_a_run_is_as_of_the_instant(over: Life) -> None:
    """A run that has ended long ago is in no window of lives before the commit that reopens it."""
    with bench_in_memory() as bench:
        bench(event("r1", "Running", -200_000), event("r1", "Failed", -100_000))
        then = bench.store.head().seq
        assert [] == seen(bench, "RunStatusChanged", then, over)
        bench(event("r1", "Running", 0))
        assert [] == seen(bench, "RunStatusChanged", then, over)
        assert 3 == len(seen(bench, "RunStatusChanged", bench.store.head().seq, over))

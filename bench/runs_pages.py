"""Pages of runs: what a list reads of many runs, and the curves of a run that logged a million points.

The same SELECTs as the pages, on a log store of its own, without HTTP and HTML.

    python -m bench runs_pages --runs 100000 --points 1000000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.common import Figure, machine, percentile, report, say, spread, table
from tocsin.app.runs.curves import curves, logged
from tocsin.app.runs.find import RunsAsked, select
from tocsin.app.views.read import rows_of
from tocsin.clock import SystemClock, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, RawEvents

LISTS = {
    "list, the latest": RunsAsked(),
    "list, by a part of a tag": RunsAsked(tags=(("team", "T3"),), partial=True),
    "list, by a text": RunsAsked(search="run-3-77"),
    "list, by experiment and status": RunsAsked(experiment="E4", partial=True, status="Failed"),
    "list, sorted by another column, sixth page": RunsAsked(sort="ExperimentName", offset=500),
}
SHOWN = ("list, the latest", "list, by a text", "a run's curve")
"""In the closing table."""
LIST, CURVES = 0.1, 2.0
"""Seconds: the limits."""


def put(store: DuckLogStore, events: Sequence[dict[str, Any]]) -> None:
    """Append events in one commit."""
    now = micros(SystemClock().now())
    payloads = [json.dumps({"specversion": "1.0", "source": "bench", **event}).encode() for event in events]
    raw = RawEvents(consumer="c", payloads=payloads, times_us=[now] * len(payloads), own_time=False, received_us=now)
    store.append([Batch(raw=(raw,))])


def fill(store: DuckLogStore, runs: int, points: int) -> None:
    """``runs`` ended runs, and ``points`` values of one."""
    for start in range(0, runs, 5000):
        put(store, [
            {
                "type": "tocsin.run.status", "id": f"s{n}", "data": {
                    "RunId": f"run-{start // 5000}-{n - start}", "Status": "Completed" if n % 3 else "Failed", "ExperimentName": f"e{n % 50}",
                    "Target": "gpu", "Tags": {"team": f"t{n % 10}"},
                },
            }
            for n in range(start, min(runs, start + 5000))
        ])  # fmt: skip
    for start in range(0, points, 10_000):
        put(store, [
            {"type": "tocsin.run.metrics", "id": f"m{first}", "data": {"RunId": "run-0-0", "Metrics": [
                {"Name": "loss", "Value": 1 / (n + 1), "Step": n} for n in range(first, min(points, first + 200))
            ]}}
            for first in range(start, min(points, start + 10_000), 200)
        ])  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="bench runs_pages")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = DuckLogStore.open(Path(folder) / "log.duckdb", clock=SystemClock())
        say(f"making {options.runs:,} runs and {options.points:,} points")
        fill(store, options.runs, options.points)

        def ask(sql: str, **parameters: object) -> list[dict[str, Any]]:
            return rows_of(store.select(sql, parameters))

        def listed(asked: RunsAsked) -> object:
            sql, parameters = select(asked)
            return ask(sql, **parameters)

        works: dict[str, tuple[Callable[[], object], float]] = {
            name: (partial(listed, a), LIST) for name, a in LISTS.items()
        }
        works["a run's metrics"] = (partial(logged, ask, "run-0-0"), CURVES)
        works["a run's curve"] = (partial(curves, ask, ["run-0-0"], ["loss"]), CURVES)
        rows = []
        for name, (work, limit) in works.items():
            seconds = []
            for _ in range(options.rounds):
                began = perf_counter()
                work()
                seconds.append(perf_counter() - began)
            ms = [s * 1000 for s in seconds]
            workload = f"{options.runs:,} runs" if limit == LIST else f"{options.points:,} points of one run"
            if name in SHOWN:
                report(Figure(what=name, unit="ms", ours=ms, workload=workload))
            rows.append((name, f"{spread(ms, 0)} ms", f"{percentile(ms, 0.95):,.0f} ms", f"≤ {limit * 1000:g} ms"))
        store.close()
    print(f"{machine()}; {options.runs:,} runs, {options.points:,} points\n")
    print(table(("what", "median (smallest-largest)", "p95", "limit"), *rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The SDK beside training: log(), start_logging(), create_children(100), get_runs() over 100,000 runs, import tocsin.

Interactive runs in a fresh workspace with nobody to send events to. The ceiling of log() is appending the same tuple to a
list. `log` is amortised: 200,000 points with the background thread that writes them, until all are on disk. With mlflow
installed the same loop runs on its SQLite and file stores.

    python -m bench sdk --runs 100000 --points 200000
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from bench.common import Figure, Pair, machine, paired, percentile, report, say, spread, table
from tocsin import Experiment, Workspace
from tocsin.sdk.storage.rows import New

TARGETS = {"log": 20e-6, "start_logging": 20e-3, "create_children(100)": 50e-3, "get_runs": 100e-3, "import": 100e-3}
"""Seconds."""
MLFLOW_POINTS = 2_000


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of several calls."""
    out = []
    for _ in range(times):
        began = perf_counter()
        work()
        out.append(perf_counter() - began)
    return out


def log_rates(exp: Experiment, points: int, rounds: int) -> list[Pair]:
    """Points a second that log() takes until they are on disk, beside a bare list."""

    def ours(number: int) -> float:
        run = exp.start_logging(snapshot_directory=None)
        began = perf_counter()
        for i in range(points):
            run.log("loss", i * 0.5, step=i)
        run.flush()
        seconds = perf_counter() - began
        assert run.get_metrics()["loss"][-1] == (points - 1) * 0.5
        return points / seconds

    def ceiling(number: int) -> float:
        kept: list[Any] = []
        began = perf_counter()
        for i in range(points):
            kept.append((1, "loss", 0, i, 0, i * 0.5, None))
        return points / (perf_counter() - began)

    return paired(ours, ceiling, rounds)


def many_runs(ws: Workspace, runs: int) -> Experiment:
    """An experiment of ``runs`` runs: a tag that one in ten has, one that every run has, one that is rare."""
    exp = Experiment(ws, "many")
    for start in range(0, runs, 5_000):
        ws._session.store.create([
            New(
                run_id=f"many-{n}", experiment="many", status="Completed" if n % 3 else "Failed",
                tags={"team": f"t{n % 10}", "all": "yes", "rare": f"v{n // 100}"}, properties={"author": f"a{n % 50}"},
            )
            for n in range(start, min(start + 5_000, runs))
        ])  # fmt: skip
    return exp


def first_hundred(exp: Experiment, query: dict[str, Any]) -> int:
    """How many of the first hundred runs of a query there are."""
    return sum(1 for _ in islice(exp.get_runs(**query), 100))


def imports(times: int) -> list[float]:
    """Seconds that importing the SDK's four names takes in a fresh interpreter."""
    code = "import time; b = time.perf_counter(); from tocsin import Workspace, Experiment, Run, ScriptRunConfig; print(time.perf_counter() - b)"
    return [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(times)
    ]


def mlflow_rates(folder: Path) -> dict[str, float]:
    """Points a second that mlflow's log_metric takes on its two local stores; {} where mlflow is not installed."""
    if importlib.util.find_spec("mlflow") is None:
        return {}
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    mlflow: Any = importlib.import_module("mlflow")
    rates = {}
    for name, uri in {
        "mlflow, SQLite": f"sqlite:///{folder}/mlflow.db",
        "mlflow, files": f"file://{folder}/mlruns",
    }.items():
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("bench")
        with mlflow.start_run():
            began = perf_counter()
            for i in range(MLFLOW_POINTS):
                mlflow.log_metric("loss", i * 0.5, step=i)
            rates[name] = MLFLOW_POINTS / (perf_counter() - began)
    return rates


def main(arguments: Sequence[str]) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="bench sdk")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    os.environ["TOCSIN_URL"] = ""
    found: dict[str, list[float]] = {"import": imports(options.rounds)}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ws = Workspace.create("bench", path=folder)
        exp = Experiment(ws, "bench")
        exp.start_logging(snapshot_directory=None)  # the tables are made once
        pairs = log_rates(exp, options.points, options.rounds)
        found["log"] = [1 / pair.ours for pair in pairs]
        found["start_logging"] = timed(exp.start_logging, 20)
        parent = exp.start_logging(snapshot_directory=None)
        found["create_children(100)"] = timed(lambda: parent.create_children(100), 10)
        say(f"making {options.runs:,} runs")
        many = many_runs(ws, options.runs)
        queries: dict[str, dict[str, Any]] = {
            "get_runs, one in ten": {"tags": {"team": "t3"}},
            "get_runs, all": {"tags": {"all": "yes"}},
            "get_runs, a hundred": {"tags": {"rare": "v7"}},
            "get_runs, tags and properties": {"tags": {"team": "t3", "all": "yes"}, "properties": {"author": "a13"}},
            "get_runs, none": {"tags": {"team": "t3"}, "properties": {"author": "a14"}},
        }
        began = process_time()
        for name, query in queries.items():
            found[name] = timed(partial(first_hundred, many, query), 5)
        say(f"queries took {process_time() - began:.2f} s of CPU")
        others = mlflow_rates(Path(folder))
        os.chdir("/")
    rows = []
    mlflow = others.get("mlflow, SQLite")
    for name, seconds in found.items():
        target = TARGETS[name.partition(",")[0]]
        unit, scale = ("µs", 1e6) if target < 1e-3 else ("ms", 1e3)
        theirs = [scale / mlflow] * len(seconds) if mlflow and name == "log" else []
        if "," not in name or name.endswith("one in ten"):
            report(Figure(
                what=name, unit=unit, ours=[each * scale for each in seconds],
                peer="mlflow with SQLite" if name == "log" else "", theirs=theirs,
                workload=f"{options.points:,} points, until they are on disk" if name == "log" else f"{options.runs:,} runs stored",
            ))  # fmt: skip
        rows.append(
            (
                name,
                f"{spread([s * scale for s in seconds])} {unit}",
                f"{percentile(seconds, 0.95) * scale:,.2f} {unit}",
                f"≤ {target * scale:g} {unit}",
            )
        )
    print(f"{machine()}; {options.runs:,} runs, {options.points:,} points\n")
    print(table(("what", "median (smallest-largest)", "p95", "target"), *rows))
    print(f"\nlog() reaches {spread([p.ratio for p in pairs], 3)} of appending to a list.")
    logged = statistics.median(p.ours for p in pairs)
    for name, rate in others.items():
        print(f"log() is {logged / rate:,.0f} × as fast as {name} ({rate:,.0f} points/s).")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One scrape of /metrics: time and size, with many active alerts, rules and experiments.

    python -m bench.scrape [--active 10000] [--experiments 1000] [--rules 1000] [--scrapes 50]

`tocsin up` runs with labels of experiments on the metrics of runs, event rules that keep their alerts active, and a window rule
that exports a value of each experiment. Every run fails, so there are as many active alerts as asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common import Figure, cpu_seconds, machine, percentile, report, say, spread, table
from tests.acceptance.harness import Tocsin, settings
from tests.servers.eventually import eventually

MORE = {
    "metrics": {"run_labels": ["experiment"]},
    "log": {"format": "text", "level": "warning"},
}
BATCH = 500


def rules_text(rules: int) -> str:
    """Rules that share the experiments among themselves, and one that exports."""
    made: list[dict[str, Any]] = [
        {
            "name": f"failed-{number}",
            "when": {"status": "Failed", "where": f"Attempt == {number}"},
            "resolve": {"when": {"status": "Completed", "same": "RunId"}},
            "limit": {"per": "Source", "max": 1, "window": "1d", "then": "drop"},
        }
        for number in range(rules)
    ]
    made.append(
        {
            "name": "failures-by-experiment",
            "over": "1h",
            "every": "5s",
            "query": "RunStatusChanged | where Status == 'Failed' | summarize n = count() by ExperimentName",
            "condition": "n > 1000000",
            "by": ["ExperimentName"],
            "value": "n",
            "export": {"metric": "failures"},
        }
    )
    return json.dumps({"rules": made})


def bodies(active: int, experiments: int, rules: int) -> Iterator[bytes]:
    """A failed run for each alert that is to be active, in arrays as one request takes them."""
    now = datetime.now(UTC).isoformat()
    for begin in range(0, active, BATCH):
        yield json.dumps(
            [
                {
                    "specversion": "1.0", "type": "tocsin.run.status", "id": f"e{n}", "source": "lab", "time": now,
                    "data": {
                        "RunId": f"r{n}", "Status": "Failed", "Attempt": n % rules, "DurationMs": 60_000,
                        "ExperimentName": f"experiment-{n % experiments}",
                    },
                }
                for n in range(begin, min(begin + BATCH, active))
            ]
        ).encode()  # fmt: skip


def active_alerts(tocsin: Tocsin) -> int:
    """As /metrics says."""
    return int(sum(v for name, v in tocsin.metrics().items() if name.startswith("tocsin_alerts_active{")))


def at_rest(tocsin: Tocsin) -> bool:
    """Whether it does nothing, for a second."""
    before = cpu_seconds(tocsin.pid)
    threading.Event().wait(1)
    return cpu_seconds(tocsin.pid) - before < 0.05


def main(arguments: list[str]) -> None:
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="bench.scrape", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--active", type=int, default=10_000)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--scrapes", type=int, default=50)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as directory:
        tocsin = Tocsin(program=Path(sys.executable).with_name("tocsin"), home=Path(directory) / "home")
        tocsin.write("tocsin.yaml", settings(more=MORE))
        tocsin.write("rules/alerts/rules.yaml", rules_text(chosen.rules))
        tocsin.start(within=300)
        try:
            measure(tocsin, chosen)
        finally:
            tocsin.kill()


def measure(tocsin: Tocsin, chosen: argparse.Namespace) -> None:
    """Bring the alerts about, scrape, print."""
    for body in bodies(chosen.active, chosen.experiments, chosen.rules):
        answer = tocsin.send(body)
        if answer.status != 202:
            raise RuntimeError(f"{answer}")
    tocsin.idle(300)
    eventually(lambda: active_alerts(tocsin) >= chosen.active, within=120)
    exported = min(chosen.experiments, 1000)
    eventually(lambda: sum(name.startswith("failures{") for name in tocsin.metrics()) >= exported, within=60)
    eventually(lambda: at_rest(tocsin), within=120)  # the alerts are grouped and routed for some seconds more
    say(f"{active_alerts(tocsin):,} alerts are active")
    rows = []
    for way, accept in (
        ("text", "text/plain"),
        ("OpenMetrics", "application/openmetrics-text; version=1.0.0"),
    ):
        took, size, lines, cpu = [], 0, 0, cpu_seconds(tocsin.pid)
        for _ in range(chosen.scrapes):
            asked = urllib.request.Request(f"{tocsin.url}/metrics", headers={"Accept": accept})
            began = time.perf_counter()
            with urllib.request.urlopen(asked) as answer:
                body = answer.read()
            took.append((time.perf_counter() - began) * 1000)
            size, lines = len(body), sum(not line.startswith(b"#") for line in body.splitlines())
        each = (cpu_seconds(tocsin.pid) - cpu) / chosen.scrapes * 1000
        report(
            Figure(
                what=way, unit="ms", ours=took,
                workload=f"{chosen.active:,} active alerts of {chosen.rules:,} rules; {size / 2**20:.2f} MiB, {lines:,} samples",
            )
        )  # fmt: skip
        times = (spread(took, 0), f"{percentile(took, 0.95):,.0f}", f"{each:,.0f}")
        rows.append((way, *times, f"{size / 2**20:.2f}", f"{lines:,}"))
    print(
        f"{chosen.active:,} active alerts of {chosen.rules:,} rules, {chosen.experiments:,} experiments, a rule that exports "
        f"{exported:,} values; {chosen.scrapes} scrapes each; {machine()}.\n"
    )
    print(table(("form", "ms: median (smallest-largest)", "p95", "CPU of tocsin, ms", "MiB", "samples"), *rows))


if __name__ == "__main__":
    main(sys.argv[1:])

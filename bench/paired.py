"""Two checkouts against each other: the same benchmarks, interleaved, by the CPU that they take.

    python -m bench.paired ../before . --rounds 5

Each checkout has its own `.venv` (`make venv`). Each benchmark runs as a process of its own checkout, in turns A B, B A, …; what counts
is the user and system time of the process and its children, which other work on the machine changes least. Given is the
median of the paired ratios B / A with its spread. Target of a rebuild: at most 1.1 each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from bench.common import machine, say, table

BENCHES = {
    "event to mail": ("latency", "--seconds", "10", "--rate", "300", "--rules", "200"),
    "intake": ("ingest_store", "--before", "50000", "--rounds", "3"),
    "window ticks": ("windows", "--rows", "200000", "--rules", "1000", "--shapes", "20"),
    "reload": ("reload", "--rules", "2000"),
}
"""By what they measure: the module of ``bench``, and its arguments; each about ten seconds."""


def cpu_seconds(checkout: Path, arguments: tuple[str, ...]) -> float:
    """CPU of one run in ``checkout``, s. Also where it misses its target."""
    before = os.times()
    python = (checkout / ".venv/bin/python").absolute()
    subprocess.run(
        [python, "-m", f"bench.{arguments[0]}", *arguments[1:]],
        cwd=checkout, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a", type=Path, help="the checkout before")
    parser.add_argument("b", type=Path, help="the checkout after")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(BENCHES), default=[])
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    for name in options.only or BENCHES:
        ratios: list[float] = []
        for number in range(options.rounds):
            order = (options.a, options.b) if number % 2 == 0 else (options.b, options.a)
            took = {checkout: cpu_seconds(checkout, BENCHES[name]) for checkout in order}
            ratios.append(took[options.b] / took[options.a])
            say(f"{name}: {took[options.a]:.1f} s, {took[options.b]:.1f} s, ratio {ratios[-1]:.2f}")
        rows.append((name, f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"))
    print(table(("benchmark", "CPU, B / A", "spread"), *rows))
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

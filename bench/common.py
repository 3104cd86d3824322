"""What all benchmarks share: paired rounds, medians with their spread, Markdown tables, a word about the machine."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: the same work by us and by the ceiling, in the same unit; more is better."""

    ours: float
    ceiling: float

    @property
    def ratio(self) -> float:
        """How much of the ceiling we reach."""
        return self.ours / self.ceiling


def paired(ours: Callable[[int], float], ceiling: Callable[[int], float], rounds: int) -> list[Pair]:
    """Run both `rounds` times, interleaved, each first in every other round, so that drift of the machine hits both."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            above = ceiling(number)
            got = ours(number)
        else:
            got = ours(number)
            above = ceiling(number)
        pairs.append(Pair(got, above))
        say(f"round {number + 1}: {got:,.0f} of {above:,.0f}: {pairs[-1].ratio:.2f}")
    return pairs


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Median with smallest and largest: `0.81 (0.78-0.84)`."""
    listed = list(values)
    low, mid, high = (f"{v:,.{digits}f}" for v in (min(listed), statistics.median(listed), max(listed)))
    return f"{mid} ({low}-{high})"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def table(header: Sequence[str], *rows: Sequence[object]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """What it ran on."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("duckdb", "kafka-python", "pyarrow"))
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {versions}"


def say(text: str) -> None:
    """Progress, to stderr; results go to stdout."""
    print(text, file=sys.stderr, flush=True)


def peak_rss(pid: int) -> float:
    """Most memory that a living process has had resident so far, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} says nothing of its memory")


def cpu_seconds(pid: int) -> float:
    """CPU time that a living process has used so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

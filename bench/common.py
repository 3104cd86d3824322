"""What all benchmarks share: paired rounds, figures beside a peer's, Markdown tables, a word about the machine."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

FIGURES = "BENCH_FIGURES"
"""Environment variable: the file to which `report` appends, set by `python -m bench`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the closing table: a value a round of tocsin's, and of the peer's in the same rounds."""

    what: str
    unit: str
    ours: list[float]
    workload: str
    peer: str = ""  # who it is; "" where nothing is compared
    theirs: list[float] = field(default_factory=list)  # empty where the peer is not installed
    more: bool = False  # whether more is better

    @property
    def ratios(self) -> list[float]:
        """How many times as good as the peer, a round each: below 1 the peer is better. Empty without a peer."""
        pairs = [(a, b) for a, b in zip(self.ours, self.theirs, strict=False) if a and b]
        return [a / b if self.more else b / a for a, b in pairs]


def report(*figures: Figure) -> None:
    """Print figures, a line each, and append them to the file of the closing table, as JSON."""
    for figure in figures:
        theirs = f"; {figure.peer}: {span(figure.theirs)}" if figure.theirs else ""
        theirs += f"; ratio {span(figure.ratios)}" if figure.ratios else ""
        print(f"{figure.what}: {span(figure.ours)} {figure.unit}{theirs} ({figure.workload})", flush=True)
    if name := os.environ.get(FIGURES):
        with Path(name).open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(asdict(figure)) + "\n" for figure in figures)


def span(values: Sequence[float]) -> str:
    """Median, and where there are several the smallest and largest, each with three digits: `0.42 (0.40–0.49)`."""
    low, mid, high = (three(v) for v in (min(values), statistics.median(values), max(values)))
    return mid if low == high else f"{mid} ({low}–{high})"


def three(value: float) -> str:
    """A number with three digits that count: 1,234; 56.7; 0.891."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


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


PEERS = {
    "Prometheus": "prometheus",
    "Alertmanager": "prometheus-alertmanager",
    "uv": str(Path(sys.executable).with_name("uv")),
}


@cache
def versions() -> dict[str, str]:
    """The machine, and what took part, with versions; peers that are not installed say so."""
    found = {f"{os.cpu_count()} cores": platform.system(), "Python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in ("tocsin", "duckdb", "kafka-python", "pyarrow")}
    for name, program in PEERS.items():
        try:
            said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
        except OSError:
            found[name] = "not installed"
            continue
        version = re.search(r"\d+\.\d+[^\s,)]*", said.stdout + said.stderr)
        found[name] = version[0] if version else "?"
    return found


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

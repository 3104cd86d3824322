"""What `make bench` runs: each benchmark by name, with its options, how long it takes, and what its figures should reach."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
STORES = "{stores}"
"""In options: a directory of log stores that benchmarks of one run share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A benchmark with its options."""

    title: str  # what its figures are about
    module: str
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()  # further options, to try whether it works
    seconds: int  # about, on a quiet machine with 2 cores
    by_name: bool = False  # too long for `make bench`
    targets: Mapping[str, float] = field(default_factory=dict)  # by figure: at least or at most
    ratios: Mapping[str, float] = field(default_factory=dict)  # by figure: at least so many times as good as the peer

    @property
    def about(self) -> str:
        """The first line of what the module says of itself."""
        text = (HERE / f"{self.module}.py").read_text(encoding="utf-8")
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


PLAN = {
    "burst": Planned(
        title="Burst of mails, free SMTP server", module="burst", seconds=30,
        quick=("--failures=100", "--rounds=1"), targets={"mails": 500, "first mail": 0.3},
    ),
    "burst-slow": Planned(
        title="Burst of mails, slow SMTP server", module="burst", seconds=110,
        options=("--delay=0.1", "--most=50", "--rounds=2"), quick=("--failures=100", "--rounds=1"),
        targets={"mails": 300, "connections refused": 50},
    ),
    "latency": Planned(
        title="Event to mail", module="latency", seconds=130,
        options=("--rate=1000", "--rules=1000"), quick=("--rate=100", "--rounds=1", "--seconds=5"),
        targets={"p50": 100, "p99": 500},
    ),
    "latency-one-rule": Planned(
        title="Event to mail, one rule", module="latency", seconds=130,
        options=("--rate=500", "--rules=1"), quick=("--rate=100", "--rounds=1", "--seconds=5"),
        targets={"p50": 30, "p99": 100},
    ),
    "saturation": Planned(
        title="Event to mail by rate", module="saturation", seconds=115,
        options=("--rates", "125", "250", "500", "1000", "1500", "2000", "3000", "--seconds=8"),
        quick=("--rates", "100", "200", "--seconds=3", "--rules=50"),
    ),
    "saturation-mails": Planned(
        title="Event to mail by rate of mails", module="saturation", seconds=115,
        options=("--matching=1", "--rules=100", "--rates", "50", "100", "200", "300", "400", "600", "--seconds=8"),
        quick=("--rates", "50", "100", "--seconds=3"),
    ),
    "intake": Planned(
        title="Kafka to durable rows", module="intake", seconds=60,
        options=("--events=100000", "--horizon=200000", "--rounds=3"),
        quick=("--events=20000", "--horizon=20000", "--rounds=1"), ratios={"events": 0.25},
    ),
    "late": Planned(
        title="Late events", module="growth", seconds=170,
        options=("--only=commits", "--sizes", "1000", "--mixes", "fresh", "ancient", "--rounds=3",
                 "--rows", "500000", "5000000", f"--stores={STORES}"),
        quick=("--rows", "20000", "200000", "--rounds=1"),
        ratios={"a commit of 1,000 events, one in fifty of a run of long ago": 1 / 1.5},
    ),
    "startup": Planned(
        title="Commands and starts", module="startup", seconds=70,
        options=(f"--stores={STORES}",), quick=("--rows=200000", "--rules=50", "--rounds=1"),
        targets={"tocsin --help": 0.25, "tocsin rules list": 0.5, "tocsin check": 1, "ready": 2},
    ),
    "windows": Planned(
        title="A tick of window rules", module="windows", seconds=90,
        options=("--rows=1000000", "--ticks=3"), quick=("--rows=20000", "--rules=200", "--shapes=20"),
    ),
    "reload": Planned(title="Reload of rules", module="reload", seconds=15, quick=("--rules=500",)),
    "backtest": Planned(
        title="Backtest of a year", module="backtest", seconds=45,
        options=("--events=1000000", "--only=failure-rate", "--only=run-failed"), quick=("--events=50000",),
    ),
    "oncall": Planned(title="On call", module="oncall", seconds=10, options=("--active=20000",), quick=("--active=2000", "--rounds=3")),
    "scrape": Planned(title="A scrape of /metrics", module="scrape", seconds=30, quick=("--active=500", "--experiments=100", "--rules=50", "--scrapes=5")),
    "pages": Planned(title="Pages of runs", module="runs_pages", seconds=40, quick=("--runs=5000", "--points=20000", "--rounds=2")),
    "sdk": Planned(title="The SDK", module="sdk", seconds=20, quick=("--runs=5000", "--points=20000", "--rounds=2")),
    "store": Planned(title="The log store alone", module="ingest_store", seconds=20, quick=("--before=20000", "--rounds=1", "--events=2000")),
    "absence": Planned(title="Deadline to mail", module="absence", seconds=300, by_name=True),
    "flood": Planned(title="A flood of alerts", module="flood", seconds=500, by_name=True),
    "growth": Planned(title="Ten times the history", module="growth", seconds=3000, by_name=True),
    "backtest-absence": Planned(title="Backtest of absence rules", module="backtest_absence", seconds=600, by_name=True),
    "history": Planned(title="A log store's file", module="history", seconds=100, by_name=True),
}  # fmt: skip
"""In the order in which `make bench` runs them."""

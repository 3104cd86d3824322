"""What the benchmarks of backtests share: a store that is filled once, and rules that are taken through it both ways.

Each rule has a process of its own, so its peak memory is its own, that of the program and of the opened store included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

import duckdb

from bench.common import Figure, machine, peak_rss, report, say, table
from tocsin.clock import SystemClock
from tocsin.logstore.duck import DuckLogStore

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
Fill = Callable[[duckdb.DuckDBPyConnection, int, int], None]
"""Fills RunStatusChanged through a connection with so many events, so many of them a commit."""

_COMMITS = """
INSERT INTO tocsin.commits BY NAME
SELECT CommitSeq AS seq, max(IngestedAt) AS ingested_at, count(*) AS rows, 0 AS heartbeats FROM RunStatusChanged GROUP BY CommitSeq
"""
_RUNS = """
INSERT INTO tocsin.runs BY NAME
SELECT RunId, any_value(ParentRunId) AS ParentRunId, any_value(RootRunId) AS RootRunId, any_value(ExperimentName) AS ExperimentName,
  any_value(Target) AS Target, any_value(Tags) AS Tags, arg_max(Status, TimeGenerated) AS Status, max(TimeGenerated) AS StatusSince,
  min(IngestedAt) AS FirstSeen, max(IngestedAt) AS LastSeen, min(TimeGenerated) AS FirstTime, max(TimeGenerated) AS LastTime,
  max(CommitSeq) AS CommitSeq, any_value(Consumer) AS Consumer, any_value(Source) AS Source, max(StartTime) AS StartTime,
  max(EndTime) AS EndTime, max(DurationMs) AS DurationMs, max(Progress) AS Progress,
  md5_number(RunId) AS RunKey, md5_number_lower(any_value(JobKey)) AS JobHash
FROM RunStatusChanged GROUP BY RunId
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A rule, taken through a history."""

    rule: str
    as_if_live: bool
    events: int
    kinds: str  # what was notified, by kind
    notified: int
    seconds: float
    cpu: float  # seconds of both cores
    ceiling: float  # seconds that the plain query took; 0 where there is none
    rss: float  # peak, MiB
    errors: tuple[str, ...]

    @property
    def row(self) -> tuple[object, ...]:
        """Of the table."""
        mode = "as if live" if self.as_if_live else "as stored"
        ratio = f"{self.seconds / self.ceiling:.1f}" if self.ceiling else ""
        return (
            self.rule, mode, f"{self.events:,}", f"{self.notified:,}", f"{self.seconds:.1f}", f"{self.cpu:.1f}", ratio, f"{self.rss:.0f}",
        )  # fmt: skip


def replay(
    about: str | None, rules: str, fill: Fill, *, ceiling: str = "", arguments: Sequence[str] | None = None
) -> None:
    """Fill a store, or take one that is there, and backtest each rule both ways. ``ceiling`` is a query that is
    timed beside.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--each", type=int, default=3, help="events a commit")
    parser.add_argument("--store", type=Path, help="use this file, and keep it; filled where it is not there")
    parser.add_argument(
        "--only", action="append", default=[], metavar="RULE", help="this rule; may be given several times"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        path = options.store or Path(directory) / "events.duckdb"
        if not path.exists():
            _make(path, fill, options.events, options.each)
        names = options.only or _names(rules)
        rounds: list[Round] = []
        for name in names:
            for as_if_live in (False, True):
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    one = pool.submit(play, path, rules, name, as_if_live, ceiling).result()
                rounds.append(one)
                say(f"{name}, {one.row[1]}: {one.seconds:.1f} s, {one.kinds}, peak RSS {one.rss:.0f} MiB {one.errors}")
    header = ("rule", "history", "events", "notified", "seconds", "CPU s", "× ceiling", "peak RSS, MiB")
    print(table(header, *(one.row for one in rounds)))
    report(
        *(
            Figure(
                what=one.rule, unit="s", ours=[one.seconds],
                workload=f"{one.events:,} events; {one.rss:.0f} MiB",
            )
            for one in rounds
            if not one.as_if_live
        )
    )  # fmt: skip
    print(f"\n{machine()}")


def _make(path: Path, fill: Fill, events: int, each: int) -> None:
    """A store with events, and what the store would have made of them: runs and commits."""
    DuckLogStore.open(path, clock=SystemClock()).close()
    con = duckdb.connect(str(path), config={"memory_limit": "3GiB", "threads": 2})
    fill(con, events, each)
    say("rows are there")
    con.execute(_COMMITS)
    con.execute(_RUNS)
    con.close()


def _names(rules: str) -> list[str]:
    from ruamel.yaml import YAML

    return [str(rule["name"]) for rule in YAML(typ="safe").load(rules)["rules"]]


def play(
    path: Path,
    rules: str,
    name: str,
    as_if_live: bool,
    ceiling: str = "",
    since: datetime = SINCE,
    span: timedelta = YEAR + timedelta(days=1),
) -> Round:
    """Take the rule called ``name`` through a span of a store's history; in a process of its own, since it says its
    peak memory.
    """
    from tocsin.kql.schema import schema_with
    from tocsin.rules.backtest.run import backtest
    from tocsin.rules.compile.load import load_rules
    from tocsin.rules.kinds.base import Span

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "rules.yaml"
        file.write_text(rules)
        rule = load_rules([file], schema_with({})).rules[name]
    store = DuckLogStore.open(path, clock=SystemClock())
    began = perf_counter()
    if ceiling:
        store.select(ceiling)
    took = perf_counter() - began if ceiling else 0.0
    cpu = process_time()
    found = backtest(rule, store, Span(since=since, until=since + span), clock=SystemClock(), as_if_live=as_if_live)
    cpu = process_time() - cpu
    store.close()
    return Round(
        rule=name,
        as_if_live=as_if_live,
        events=found.events,
        kinds=", ".join(f"{kind} {n:,}" for kind, n in found.by_kind.items()),
        notified=sum(found.by_kind.values()),
        seconds=found.seconds,
        cpu=cpu,
        ceiling=took,
        rss=peak_rss(os.getpid()),
        errors=found.errors,
    )

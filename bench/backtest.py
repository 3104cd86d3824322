"""Backtests over a year of 10 M events, stored as they came and taken as if live. Target: 10 s for the failure-rate rule,
60 s for each of the others.

The ceiling is one plain aggregation of the same rows: what DuckDB needs to read them once, by the tick in which they come.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

import duckdb

from bench.common import machine, peak_rss, say, table
from tocsin.clock import SystemClock
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.rules.backtest import backtest
from tocsin.rules.load import load_rules

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
RULES = """
rules:
  - {name: run-failed, when: {status: Failed, final: true}, keep: [ExperimentName, Target, Reason, OwnerEmail]}
  - name: one-experiment-failed
    when: {status: [Failed, NotResponding], where: "ExperimentName == 'exp-7' and Reason != 'user_canceled'"}
  - name: says-out-of-memory
    query: RunStatusChanged | where Message has 'memory' and Tags.env =~ 'prod'
  - name: failure-rate
    over: 1h
    every: 1m
    query: |
      RunStatusChanged
      | where Status in ('Completed', 'Failed')
      | summarize failed = countif(Status == 'Failed'), finished = count() by ExperimentName
      | extend rate = todouble(failed) / finished
      | where finished >= 5 and rate > 0.2
    by: [ExperimentName]
    value: rate
    clear: "rate < 0.1"
    for: 2 of 3
    keep_firing_for: 10m
    lateness: 2m
"""
CEILING = """
SELECT count(*), sum(failed) FROM (
  SELECT time_bucket(INTERVAL 1 MINUTE, TimeGenerated) AS tick, count(*) AS finished,
    count(*) FILTER (WHERE Status = 'Failed') AS failed, max(ExperimentName)
  FROM RunStatusChanged WHERE Status IN ('Completed', 'Failed') GROUP BY tick)
"""
FILL = """
INSERT INTO RunStatusChanged BY NAME
SELECT
  'e' || i AS EventId, 'bench' AS Source, 'http' AS Consumer, happened AS TimeGenerated, true AS TimeGiven,
  happened + INTERVAL 2 SECOND AS IngestedAt, (i // {each} + 1)::BIGINT AS CommitSeq,
  'run-' || (i // 5) AS RunId, '' AS ParentRunId, 'run-' || (i // 5) AS RootRunId, '' AS JobKey, 0 AS Attempt, false AS WillRetry,
  CASE i % 5 WHEN 0 THEN 'Queued' WHEN 1 THEN 'Preparing' WHEN 2 THEN 'Running' WHEN 3 THEN 'Finalizing'
    ELSE CASE WHEN hash(i // 5 + 10000000) % 100 < 8 THEN 'Failed' ELSE 'Completed' END END AS Status,
  Status AS OriginalStatus,
  CASE WHEN Status = 'Failed' THEN ['out_of_memory', 'code_error', 'timeout'][(hash(i) % 3)::INT + 1] ELSE '' END AS Reason,
  CASE WHEN Status = 'Failed' THEN 'CUDA out of memory. Tried to allocate ' || i || ' MiB' ELSE '' END AS Message,
  '' AS ErrorCode, '' AS LogTail, 'exp-' || (hash(i // 5) % 200) AS ExperimentName, 'ws' AS WorkspaceName, 'training' AS RunType,
  'a run' AS DisplayName, 'gpu-' || (hash(i // 5) % 12) AS Target, 'anna' AS TriggeringUserName, 'anna@example.org' AS OwnerEmail,
  '{{"env": "' || CASE WHEN hash(i // 5) % 3 = 0 THEN 'prod' ELSE 'dev' END || '"}}' AS Tags, '{{}}' AS Properties, '' AS Url,
  '{{}}' AS Raw
FROM (SELECT i, TIMESTAMP '2025-01-01' + to_microseconds((i * {gap_us})::BIGINT) AS happened FROM range({first}, {last}) t(i))
"""


def fill(path: Path, events: int, each: int) -> None:
    """A store with a year of runs of five events each, 8 % of which fail; ``each`` events a commit."""
    clock = SystemClock()
    DuckLogStore.open(path, clock=clock).close()
    con = duckdb.connect(str(path), config={"memory_limit": "2GiB"})
    gap_us = int(timedelta(days=365) / timedelta(microseconds=1)) // events
    for first in range(0, events, 1_000_000):
        con.execute(FILL.format(each=each, gap_us=gap_us, first=first, last=min(events, first + 1_000_000)))
        say(f"filled {min(events, first + 1_000_000):,}")
    con.execute(
        "INSERT INTO tocsin.commits BY NAME SELECT CommitSeq AS seq, max(IngestedAt) AS ingested_at, count(*) AS rows,"
        " 0 AS heartbeats FROM RunStatusChanged GROUP BY CommitSeq"
    )
    con.execute(
        "INSERT INTO tocsin.runs BY NAME SELECT RunId, max(Status) AS Status, min(IngestedAt) AS FirstSeen,"
        " max(IngestedAt) AS LastSeen, min(TimeGenerated) AS FirstTime, max(TimeGenerated) AS LastTime"
        " FROM RunStatusChanged GROUP BY RunId"
    )
    con.close()


def main() -> None:
    """Fill a store, or take one that is there, and backtest each rule both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--each", type=int, default=3, help="events a commit")
    parser.add_argument("--store", type=Path, help="use this file; filled where it is not there")
    parser.add_argument("--only", default="", help="name of one rule")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = options.store or Path(directory) / "events.duckdb"
        if not path.exists():
            fill(path, options.events, options.each)
        rules_file = Path(directory) / "rules.yaml"
        rules_file.write_text(RULES)
        rules = load_rules([rules_file], schema_with({}))
        store = DuckLogStore.open(path, clock=SystemClock())
        rows = []
        for name, rule in rules.rules.items():
            if options.only not in ("", name):
                continue
            for as_if_live in (False, True):
                began = perf_counter()
                store.select(CEILING)
                ceiling = perf_counter() - began
                cpu = process_time()
                found = backtest(
                    rule, store, SINCE, SINCE + timedelta(days=366), clock=SystemClock(), as_if_live=as_if_live
                )
                mode = "as if live" if as_if_live else "as stored"
                ratio = f"{found.seconds / ceiling:.1f}"
                rows.append(
                    (
                        name,
                        mode,
                        f"{found.events:,}",
                        f"{found.told_count:,}",
                        f"{found.seconds:.1f}",
                        f"{process_time() - cpu:.1f}",
                        ratio,
                    )
                )
                say(f"{name}, {mode}: {found.seconds:.1f} s {found.errors}")
        store.close()
    print(table(("rule", "history", "events", "told", "seconds", "CPU s", "× ceiling"), *rows))
    print(f"\npeak RSS {peak_rss(os.getpid()):.0f} MiB; {machine()}")


if __name__ == "__main__":
    main()

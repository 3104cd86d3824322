"""Backtest of rules that wait over a year: 10 M events, some of whose runs hang. Target: 60 s each."""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
  - {name: run-stuck, when: {status: [Queued, Preparing], in_status_for: 45m}}
  - {name: run-silent, when: {status: Running, silent_for: 10m}, severity: error}
  - {name: no-progress, when: {status: Running, unchanged: Progress, for: 1h}}
  - name: hourly-missing
    when: {absent: {status: Completed, where: "ExperimentName == 'exp-7'"}, cron: "0 * * * *", grace: 15m}
"""
PLAN = """
CREATE TABLE plan AS
WITH runs AS (
  SELECT r, hash(r) % 1000 AS dice, TIMESTAMP '2025-01-01' + to_microseconds((r * {gap_us})::BIGINT) AS begins
  FROM range({runs}) t(r)
)
SELECT r, n,
  begins + to_seconds(CAST(CASE n
      WHEN 0 THEN 0 WHEN 1 THEN CASE WHEN dice = 0 THEN 5400 ELSE 60 END WHEN 2 THEN CASE WHEN dice = 0 THEN 5700 ELSE 240 END
      WHEN 3 THEN 540 + CASE WHEN dice < 2 THEN 7200 ELSE 0 END ELSE 700 + CASE WHEN dice < 3 THEN 9000 ELSE 0 END END AS BIGINT)) AS happened,
  to_seconds(CAST(1 + CASE WHEN hash(r * 5 + n) % 100 = 7 THEN 400 ELSE 0 END AS BIGINT)) AS late
FROM runs, range(5) s(n)
WHERE NOT (dice = 3 AND n > 2 AND hash(r + 1) % 10 = 0)
"""
FILL = """
INSERT INTO RunStatusChanged BY NAME
SELECT
  'e' || (r * 5 + n) AS EventId, 'bench' AS Source, 'http' AS Consumer, happened AS TimeGenerated, true AS TimeGiven,
  happened + late AS IngestedAt, row_number() OVER (ORDER BY happened + late) // {each} + 1 AS CommitSeq,
  'run-' || r AS RunId, '' AS ParentRunId, RunId AS RootRunId, '' AS JobKey, 0 AS Attempt, false AS WillRetry,
  CASE n WHEN 0 THEN 'Queued' WHEN 1 THEN 'Preparing' WHEN 2 THEN 'Running' WHEN 3 THEN 'Running'
    ELSE CASE WHEN hash(r) % 100 < 8 THEN 'Failed' ELSE 'Completed' END END AS Status,
  Status AS OriginalStatus, '' AS Reason, '' AS Message, '' AS ErrorCode, '' AS LogTail,
  'exp-' || (hash(r) % 200) AS ExperimentName, 'ws' AS WorkspaceName, 'training' AS RunType, 'a run' AS DisplayName,
  'gpu-' || (hash(r) % 12) AS Target, 'anna' AS TriggeringUserName, 'anna@example.org' AS OwnerEmail,
  CASE WHEN n > 1 THEN (n - 1) / 4.0 END AS Progress, '{{"env": "prod"}}' AS Tags, '{{}}' AS Properties, '' AS Url, '{{}}' AS Raw
FROM plan
"""
RUNS = """
INSERT INTO tocsin.runs BY NAME
SELECT RunId, arg_max(Status, TimeGenerated) AS Status, min(IngestedAt) AS FirstSeen, max(IngestedAt) AS LastSeen,
  min(TimeGenerated) AS FirstTime, max(TimeGenerated) AS LastTime, max(CommitSeq) AS CommitSeq,
  arg_max(Consumer, TimeGenerated) AS Consumer
FROM RunStatusChanged GROUP BY RunId
"""


def fill(path: Path, events: int, each: int) -> None:
    """A store with a year of runs of five events, one in a thousand of which is stuck, silent or stands still for hours, some for
    ever; one event in a hundred arrives minutes late. ``each`` events a commit.
    """
    DuckLogStore.open(path, clock=SystemClock()).close()
    con = duckdb.connect(str(path), config={"memory_limit": "3GiB", "threads": 2})
    con.execute("SET preserve_insertion_order = true")
    runs = events // 5
    say("planning")
    con.execute("ATTACH ':memory:' AS scratch")
    con.execute(
        PLAN.replace("TABLE plan", "TABLE scratch.plan").format(
            gap_us=timedelta(days=365) // timedelta(microseconds=1) // runs, runs=runs
        )
    )
    con.execute(FILL.replace("FROM plan", "FROM scratch.plan ORDER BY CommitSeq").format(each=each))
    say("rows are there")
    con.execute(
        "INSERT INTO tocsin.commits BY NAME SELECT CommitSeq AS seq, max(IngestedAt) AS ingested_at, count(*) AS rows,"
        " 0 AS heartbeats FROM RunStatusChanged GROUP BY CommitSeq"
    )
    con.execute(RUNS)
    con.close()


def main() -> None:
    """Fill a store, or take one that is there, and backtest each rule both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--each", type=int, default=3, help="events a commit")
    parser.add_argument("--store", type=Path, help="use this file; filled where it is not there")
    parser.add_argument("--only", default="", help="this rule alone")
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
            for as_if_live in (False, True):
                if options.only not in ("", name):
                    continue
                found = backtest(
                    rule, store, SINCE, SINCE + timedelta(days=366), clock=SystemClock(), as_if_live=as_if_live
                )
                mode = "as if live" if as_if_live else "as stored"
                rss = f"{peak_rss(os.getpid()):.0f}"
                rows.append((name, mode, f"{found.events:,}", f"{found.told_count:,}", f"{found.seconds:.1f}", rss))
                say(f"{name}, {mode}: {found.seconds:.1f} s, {found.by_kind}, peak RSS {rss} MiB {found.errors}")
        store.close()
    print(table(("rule", "history", "events", "told", "seconds", "peak RSS, MiB"), *rows))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

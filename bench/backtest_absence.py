"""Backtest of absence rules over a year: 10 M events, some of whose runs hang. Target: 60 s each, 400 MiB of memory."""

from __future__ import annotations

from datetime import timedelta

import duckdb

from bench.replay import YEAR, replay

RULES = """
rules:
  - {name: run-stuck, when: {status: [Queued, Preparing], in_status_for: 45m}}
  - {name: run-silent, when: {status: Running, silent_for: 10m}, severity: error}
  - {name: no-progress, when: {status: Running, unchanged: Progress, for: 1h}}
  - {name: too-slow, when: {status: Running, duration: {above: 1.5 * p95, of: [ExperimentName], last: 30d, min_runs: 10}}}
  - name: hourly-missing
    when: {absent: {status: Completed, where: "ExperimentName == 'exp-57'"}, cron: "0 * * * *", grace: 15m}
"""
PLAN = """
CREATE TABLE plan AS
WITH runs AS (
  SELECT r, hash(r + 20000000) % 1000 AS dice, TIMESTAMP '2025-01-01' + to_microseconds((r * {gap_us})::BIGINT) AS begins
  FROM range({runs}) t(r)
)
SELECT r, n,
  begins + to_seconds(CAST(CASE n
      WHEN 0 THEN 0 WHEN 1 THEN CASE WHEN dice = 0 THEN 5400 ELSE 60 END WHEN 2 THEN CASE WHEN dice = 0 THEN 5700 ELSE 240 END
      WHEN 3 THEN 540 + CASE WHEN dice < 2 THEN 7200 ELSE 0 END ELSE 700 + (hash(r + 7) % 200)::BIGINT + CASE WHEN dice < 3 THEN 9000 ELSE 0 END END AS BIGINT)) AS happened,
  to_seconds(CAST(1 + CASE WHEN hash(r * 5 + n) % 100 = 7 THEN 400 ELSE 0 END AS BIGINT)) AS late,
  begins + to_seconds(CAST(CASE WHEN dice = 0 THEN 5700 ELSE 240 END AS BIGINT)) AS began
FROM runs, range(5) s(n)
WHERE NOT (dice = 3 AND n > 2 AND hash(r + 1) % 10 = 0)
"""
COMMITS = """
SELECT *, max(happened + late) OVER (PARTITION BY CommitSeq) AS committed
FROM (SELECT *, row_number() OVER (ORDER BY happened + late) // {each} + 1 AS CommitSeq FROM scratch.plan)
"""
"""The rows of a commit have its time, as in a store: else a backtest cannot say when a row came."""
FILL = """
INSERT INTO RunStatusChanged BY NAME
SELECT
  'e' || (r * 5 + n) AS EventId, 'bench' AS Source, 'http' AS Consumer, happened AS TimeGenerated, true AS TimeGiven,
  committed AS IngestedAt, CommitSeq,
  'run-' || r AS RunId, '' AS ParentRunId, RunId AS RootRunId, '' AS JobKey, 0 AS Attempt, false AS WillRetry,
  CASE n WHEN 0 THEN 'Queued' WHEN 1 THEN 'Preparing' WHEN 2 THEN 'Running' WHEN 3 THEN 'Running'
    ELSE CASE WHEN hash(r + 10000000) % 100 < 8 THEN 'Failed' ELSE 'Completed' END END AS Status,
  Status AS OriginalStatus, '' AS Reason, '' AS Message, '' AS ErrorCode, '' AS LogTail,
  'exp-' || (hash(r) % 200) AS ExperimentName, 'ws' AS WorkspaceName, 'training' AS RunType, 'a run' AS DisplayName,
  'gpu-' || (hash(r) % 12) AS Target, 'anna' AS TriggeringUserName, 'anna@example.org' AS OwnerEmail,
  CASE WHEN n = 4 THEN began END AS StartTime, CASE WHEN n = 4 THEN happened END AS EndTime,
  CASE WHEN n = 4 THEN epoch_ms(happened) - epoch_ms(began) END AS DurationMs, n = 4 AS StartDerived,
  CASE WHEN n > 1 THEN (n - 1) / 4.0 END AS Progress, '{"env": "prod"}' AS Tags, '{}' AS Properties, '' AS Url, '{}' AS Raw
FROM plan
"""


def fill(con: duckdb.DuckDBPyConnection, events: int, each: int) -> None:
    """A year of runs of five events, one in a thousand of which is stuck, silent or stands still for hours, some for
    ever; one event
    in a hundred arrives minutes late. ``each`` events a commit.
    """
    con.execute("SET preserve_insertion_order = true")
    con.execute("ATTACH ':memory:' AS scratch")
    runs = events // 5
    plan = PLAN.replace("TABLE plan", "TABLE scratch.plan")
    con.execute(plan.format(gap_us=YEAR // timedelta(microseconds=1) // runs, runs=runs))
    con.execute(FILL.replace("FROM plan", f"FROM ({COMMITS.format(each=each)}) ORDER BY CommitSeq"))


if __name__ == "__main__":
    replay(__doc__, RULES, fill)

"""Backtests over a year of 10 M events, stored as they came and taken as if live.

The ceiling is one plain aggregation of the same rows: what DuckDB needs to read them once, by the tick in which they come.
"""

from __future__ import annotations

from datetime import timedelta

import duckdb

from bench.common import say
from bench.replay import YEAR, replay

RULES = """
rules:
  - {name: run-failed, when: {status: Failed, final: true}, fields: [ExperimentName, Target, Reason, OwnerEmail]}
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
    condition: "finished >= 5 and rate > 0.2"
    by: [ExperimentName]
    value: rate
    resolve: {when: "rate < 0.1"}
    for: 2 of 3
    keep_firing_for: 10m
    lateness: 2m
  - name: sweep-failing
    when: {status: Failed}
    collapse: {to: root, when: {failed: 12%, at_least: 6}, update: [50%, end]}
  - name: failed-till-completed
    when: {status: Failed, final: true}
    resolve: {when: {status: Completed, same: ExperimentName}}
  - {name: too-fast, when: {status: Completed, duration: {below: 0.2 * p05, of: [ExperimentName], last: 30d, min_runs: 10}}}
  - {name: keeps-being-preempted, when: {status: Queued, after: Running, times: 2, within: 6h, by: [RunId]}}
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
  committed + INTERVAL 2 SECOND AS IngestedAt, (i // {each} + 1)::BIGINT AS CommitSeq,
  'run-' || r AS RunId, '' AS ParentRunId, 'sweep-' || (r // 50) AS RootRunId, '' AS JobKey, 0 AS Attempt, false AS WillRetry,
  CASE WHEN hash(r + 20000000) % 200 = 0 THEN CASE i % 2 WHEN r % 2 THEN 'Queued' ELSE 'Running' END
    ELSE CASE i % 5 WHEN 0 THEN 'Queued' WHEN 1 THEN 'Preparing' WHEN 2 THEN 'Running' WHEN 3 THEN 'Finalizing'
      ELSE CASE WHEN hash(r + 10000000) % 100 < 8 THEN 'Failed' ELSE 'Completed' END END END AS Status,
  Status AS OriginalStatus,
  CASE WHEN Status = 'Failed' THEN ['out_of_memory', 'code_error', 'timeout'][(hash(i) % 3)::INT + 1] ELSE '' END AS Reason,
  CASE WHEN Status = 'Failed' THEN 'CUDA out of memory. Tried to allocate ' || i || ' MiB' ELSE '' END AS Message,
  '' AS ErrorCode, '' AS LogTail, 'exp-' || (hash(r) % 200) AS ExperimentName, 'ws' AS WorkspaceName, 'training' AS RunType,
  'a run' AS DisplayName, 'gpu-' || (hash(r) % 12) AS Target, 'anna' AS TriggeringUserName, 'anna@example.org' AS OwnerEmail,
  CASE WHEN Status IN ('Completed', 'Failed') THEN
    CASE WHEN hash(r + 30000000) % 1000 = 0 THEN 5000 ELSE 600000 + (hash(r) % 3000)::BIGINT * 1000 END END AS DurationMs,
  CASE WHEN Status IN ('Completed', 'Failed') THEN happened END AS EndTime,
  '{{"env": "' || CASE WHEN hash(r) % 3 = 0 THEN 'prod' ELSE 'dev' END || '"}}' AS Tags, '{{}}' AS Properties, '' AS Url,
  '{{}}' AS Raw
FROM (
  SELECT i, i // 5 AS r, TIMESTAMP '2025-01-01' + to_microseconds((i * {gap_us})::BIGINT) AS happened,
    TIMESTAMP '2025-01-01' + to_microseconds(((i // {each} + 1) * {each} - 1) * {gap_us}::BIGINT) AS committed
  FROM range({first}, {last}) t(i)
)
"""


def fill(con: duckdb.DuckDBPyConnection, events: int, each: int) -> None:
    """A year of runs of five events each, fifty a sweep: 8 % fail, one in 200 is preempted again and again, one in a
    thousand is
    done in five seconds; ``each`` events a commit.
    """
    gap_us = YEAR // timedelta(microseconds=1) // events
    for first in range(0, events, 1_000_000):
        con.execute(FILL.format(each=each, gap_us=gap_us, first=first, last=min(events, first + 1_000_000)))
        say(f"filled {min(events, first + 1_000_000):,}")


if __name__ == "__main__":
    replay(__doc__, RULES, fill, ceiling=CEILING)

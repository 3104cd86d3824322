"""A log store's file as it lies after years of events, written by DuckDB itself: fifty million rows in minutes.

Runs of five events each (Queued, Preparing, Running, Finalizing, and Completed or one in twenty Failed), two hundred
at once, spread
evenly over the span that ends `end`; the last two hundred have not ended. One event a commit, as at such a rate.
Rows, `Runs` and
commits are what the store would have written, which a test holds. EventIds and RunIds are hashes, so as good as
random, and an event
can be sent again (`event`).

    python -m bench.history FILE --rows 50000000 --years 10
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path

import duckdb

from bench.common import say
from tocsin.clock import SystemClock, from_micros, micros
from tocsin.logstore.duck import DuckLogStore

STEPS = ("Queued", "Preparing", "Running", "Finalizing", "Completed")
AT_ONCE = 200
GROUP = AT_ONCE * len(STEPS)
PIECE = 2_000_000
FAILING = 20
EXPERIMENTS = [f"experiment-{n}" for n in range(40)]
DAY = timedelta(days=1)
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB"

_EVENTS = """
INSERT INTO RunStatusChanged BY NAME
WITH numbered AS (
    SELECT i, i // $group * $at_once + i % $at_once AS r, i % $group // $at_once AS s FROM range($begin, $end) AS range(i)
), said AS (
    SELECT i, r, s, $first + i * $step AS us, make_timestamp($first + i * $step) AS t,
        'run-' || left(md5($salt || 'run' || r), 16) AS run, md5($salt || 'event' || i) AS id,
        s = 4 AND r % $failing = 0 AS bad, s = 4 AS ended,
        make_timestamp($first + (i - 2 * $at_once) * $step) AS started
    FROM numbered
)
SELECT id AS EventId, 'trainer-' || (r % 8) AS Source, 'bench' AS Consumer, t AS TimeGenerated, t AS IngestedAt, i + 1 AS CommitSeq,
    run AS RunId, 'sweep-' || (r // $at_once) AS ParentRunId, 'sweep-' || (r // $at_once) AS RootRunId, run AS JobKey,
    1 AS Attempt, false AS WillRetry,
    CASE WHEN bad THEN 'Failed' ELSE $steps[s + 1] END AS Status,
    CASE WHEN bad THEN 'Failed' ELSE $steps[s + 1] END AS OriginalStatus,
    CASE WHEN bad THEN 'out_of_memory' ELSE '' END AS Reason, CASE WHEN bad THEN $message ELSE '' END AS Message,
    '' AS ErrorCode, '' AS LogTail, 'experiment-' || (r % 40) AS ExperimentName, 'research' AS WorkspaceName,
    'training' AS RunType, 'eager_sail_' || (r % 40) AS DisplayName, 'aks-' || (r % 3) AS Target,
    'agnes' AS TriggeringUserName, 'agnes@example.org' AS OwnerEmail, 0.5 AS Progress,
    '{"team":"ranking","env":"prod"}' AS Tags, '{"gpus":"8","image":"train:3.2"}' AS Properties,
    CASE WHEN ended THEN started END AS StartTime, CASE WHEN ended THEN t END AS EndTime,
    CASE WHEN ended THEN epoch_ms(t) - epoch_ms(started) END AS DurationMs,
    'https://runs.example.org/' || run AS Url,
    concat('{"specversion":"1.0","type":"tocsin.run.status","id":"', id, '","source":"trainer-', r % 8, '","time":"',
        strftime(t, '%Y-%m-%dT%H:%M:%S.%fZ'), '","data":{"RunId":"', run, '","ParentRunId":"sweep-', r // $at_once,
        '","RootRunId":"sweep-', r // $at_once, '","JobKey":"', run, '","Attempt":1,"WillRetry":false,"Status":"',
        CASE WHEN bad THEN 'Failed' ELSE $steps[s + 1] END, '","Reason":"', CASE WHEN bad THEN 'out_of_memory' ELSE '' END,
        '","Message":"', CASE WHEN bad THEN $message ELSE '' END, '","ExperimentName":"experiment-', r % 40,
        '","WorkspaceName":"research","RunType":"training","DisplayName":"eager_sail_', r % 40, '","Target":"aks-', r % 3,
        '","TriggeringUserName":"agnes","OwnerEmail":"agnes@example.org","Progress":0.5,',
        '"Tags":{"team":"ranking","env":"prod"},"Properties":{"gpus":"8","image":"train:3.2"},',
        '"Url":"https://runs.example.org/', run, '"}}') AS Raw,
    true AS TimeGiven, ended AS StartDerived
FROM said
WHERE NOT (ended AND i >= $rows - $at_once)
"""

_RUNS = """
INSERT INTO tocsin.runs BY NAME
WITH numbered AS (
    SELECT r, r // $at_once * $group + r % $at_once AS i, r >= $rows // $group * $at_once - $at_once AS open
    FROM range($begin, $end) AS range(r)
), said AS (
    SELECT r, open, i + $at_once * (CASE WHEN open THEN 3 ELSE 4 END) AS last,
        make_timestamp($first + i * $step) AS begun,
        make_timestamp($first + (i + 2 * $at_once) * $step) AS started,
        make_timestamp($first + (i + $at_once * CASE WHEN open THEN 3 ELSE 4 END) * $step) AS t,
        'run-' || left(md5($salt || 'run' || r), 16) AS run, 'trainer-' || (r % 8) AS source,
        CASE WHEN open THEN 'Finalizing' WHEN r % $failing = 0 THEN 'Failed' ELSE 'Completed' END AS status
    FROM numbered
)
SELECT run AS RunId, 'sweep-' || (r // $at_once) AS ParentRunId, 'sweep-' || (r // $at_once) AS RootRunId, run AS JobKey,
    false AS WillRetry, status AS OriginalStatus, CASE status WHEN 'Failed' THEN 'out_of_memory' ELSE '' END AS Reason,
    CASE status WHEN 'Failed' THEN $message ELSE '' END AS Message, '' AS ErrorCode, '' AS LogTail,
    'experiment-' || (r % 40) AS ExperimentName, 'research' AS WorkspaceName, 'training' AS RunType,
    'eager_sail_' || (r % 40) AS DisplayName, 'aks-' || (r % 3) AS Target, 'agnes' AS TriggeringUserName,
    'agnes@example.org' AS OwnerEmail, '{"team":"ranking","env":"prod"}' AS Tags,
    '{"gpus":"8","image":"train:3.2"}' AS Properties, 'https://runs.example.org/' || run AS Url, source AS Source,
    'bench' AS Consumer, status AS Status, t AS StatusSince, begun AS FirstSeen, t AS LastSeen, started AS StartTime,
    CASE WHEN NOT open THEN t END AS EndTime,
    CASE WHEN NOT open THEN epoch_ms(t) - epoch_ms(started) END AS DurationMs, 1 AS Attempt, 1 AS Attempts, 0.5 AS Progress,
    begun AS FirstTime, t AS LastTime, last + 1 AS CommitSeq, t AS StateTime, md5($salt || 'event' || last) AS StateEvent,
    t AS MaxTime, NOT open AS MaxTerminal, source AS MaxSource, md5($salt || 'event' || last) AS MaxEvent,
    md5_number(run) AS RunKey, md5_number_lower(run) AS JobHash,
    CASE WHEN open THEN []::VARCHAR[] ELSE [source] END AS EndedBy, [1] AS AttemptNumbers, NULL AS GivenStart, started AS FirstRunning,
    NULL AS GivenEnd, NULL AS GivenMs, 0.5 AS EventProgress, t AS EventProgressAt, '' AS Description
FROM said
"""

_COMMITS = """
INSERT INTO tocsin.commits
SELECT i + 1, make_timestamp($first + i * $step), 1, 0 FROM range($begin, $end) AS range(i)
WHERE NOT (i % $group // $at_once = 4 AND i >= $rows - $at_once)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a file holds."""

    rows: int  # a multiple of GROUP; the last AT_ONCE of them have not come yet
    span: timedelta
    end: datetime
    salt: str = "history"

    @property
    def step(self) -> int:
        """Microseconds between two events."""
        return self.span // timedelta(microseconds=1) // self.rows

    @property
    def first(self) -> int:
        """Time of the first event, µs since the epoch."""
        return micros(self.end) - self.rows * self.step

    def event(self, i: int) -> bytes:
        """The payload of event number ``i``, as it came (its Raw)."""
        run_number, step = i // GROUP * AT_ONCE + i % AT_ONCE, i % GROUP // AT_ONCE
        run = "run-" + md5(f"{self.salt}run{run_number}".encode(), usedforsecurity=False).hexdigest()[:16]
        bad = step == 4 and run_number % FAILING == 0
        sweep = f"sweep-{run_number // AT_ONCE}"
        wire = {
            "specversion": "1.0", "type": "tocsin.run.status",
            "id": md5(f"{self.salt}event{i}".encode(), usedforsecurity=False).hexdigest(),
            "source": f"trainer-{run_number % 8}",
            "time": from_micros(self.first + i * self.step).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "data": {
                "RunId": run, "ParentRunId": sweep, "RootRunId": sweep, "JobKey": run, "Attempt": 1, "WillRetry": False,
                "Status": "Failed" if bad else STEPS[step], "Reason": "out_of_memory" if bad else "",
                "Message": MESSAGE if bad else "", "ExperimentName": f"experiment-{run_number % 40}",
                "WorkspaceName": "research", "RunType": "training", "DisplayName": f"eager_sail_{run_number % 40}",
                "Target": f"aks-{run_number % 3}", "TriggeringUserName": "agnes", "OwnerEmail": "agnes@example.org",
                "Progress": 0.5, "Tags": {"team": "ranking", "env": "prod"}, "Properties": {"gpus": "8", "image": "train:3.2"},
                "Url": f"https://runs.example.org/{run}",
            },
        }  # fmt: skip
        return json.dumps(wire, separators=(",", ":")).encode()


def write(path: Path, history: History, *, threads: int = 2) -> None:
    """Make the file at ``path``, which is not there yet. Raises ValueError for rows that are no whole groups."""
    if history.rows % GROUP:
        raise ValueError(f"rows: {history.rows} is no multiple of {GROUP}")
    DuckLogStore.open(path, clock=SystemClock()).close()
    given = {
        "first": history.first, "step": history.step, "salt": history.salt, "group": GROUP, "at_once": AT_ONCE,
        "failing": FAILING, "steps": list(STEPS), "message": MESSAGE, "rows": history.rows,
    }  # fmt: skip
    runs = history.rows // len(STEPS)
    began = time.perf_counter()
    for statement, count in ((_EVENTS, history.rows), (_RUNS, runs), (_COMMITS, history.rows)):
        named = {k: v for k, v in given.items() if f"${k}" in statement}
        for begin in range(0, count, PIECE):
            # A new instance each time: one whose memory has filled up takes five times as long for a piece.
            with duckdb.connect(str(path), config={"threads": threads, "memory_limit": "2GiB"}) as con:
                con.execute("SET TimeZone = 'UTC'")
                con.execute(statement, {**named, "begin": begin, "end": min(count, begin + PIECE)})
            say(f"{statement.split()[2]}: {min(count, begin + PIECE):,} after {time.perf_counter() - began:.0f} s")
    _about(path).write_text(
        json.dumps({"rows": history.rows, "end": history.end.isoformat(), "days": history.span / DAY})
    )


def read(path: Path) -> History:
    """The history of a file that `write` has made. Raises FileNotFoundError."""
    said = json.loads(_about(path).read_text())
    return History(rows=said["rows"], span=said["days"] * DAY, end=datetime.fromisoformat(said["end"]))


def kept(directory: Path, rows: int, years: float) -> Path:
    """The file of that history in ``directory``, made where it is not there."""
    path = directory / f"{rows}-{years:g}.duckdb"
    if not is_made(path):
        say(f"making {path.name}")
        path.unlink(missing_ok=True)
        write(path, History(rows=rows, span=years * 365 * DAY, end=datetime.now(UTC)))
    return path


def is_made(path: Path) -> bool:
    """Whether `write` has made this file, as a whole."""
    return _about(path).exists()


def _about(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def main(arguments: list[str]) -> None:
    """Make a file."""
    parser = argparse.ArgumentParser(prog="bench.history", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--years", type=float, default=1)
    parser.add_argument("--end", type=datetime.fromisoformat, default=datetime.now(UTC), help="time of the last event")
    chosen = parser.parse_args(arguments)
    span = timedelta(days=365 * chosen.years)
    write(chosen.file, History(rows=chosen.rows, span=span, end=chosen.end))


if __name__ == "__main__":
    main(sys.argv[1:])

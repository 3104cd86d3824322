"""The log store alone: rows a second of one core for large commits, milliseconds for small ones.

    python -m bench.ingest_store [--before 5000000] [--rounds 7] [--events 20000]

Canonical events of about 700 bytes with every column filled, in realistic lives of runs, go into a store that holds
`--before` rows of random ids over the days before. What is given is CPU time of the writing thread (DuckDB with one
thread), so
that a busy machine distorts it less, and the wall clock beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from bench.common import Figure, report
from tocsin.clock import SystemClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.columns import RUN_STATUS_CHANGED
from tocsin.model.event import STATUS_TYPE, Batch, RawEvents

STEPS = ("Queued", "Preparing", "Running", "Finalizing", "Completed")
T0 = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z, µs


def lives(seed: int, open_runs: int = 2000) -> Iterator[bytes]:
    """Events of runs that go through their lives, a millisecond apart; one in ten ends as Failed."""
    rng, made, at = random.Random(seed), 0, T0
    runs: list[tuple[str, int]] = []
    while True:
        if len(runs) < open_runs:
            made += 1
            runs.append((f"run-{seed}-{made:07d}", 0))
        k = rng.randrange(len(runs))
        run, step = runs[k]
        status = "Failed" if step == 4 and rng.random() < 0.1 else STEPS[step]
        if step == 4:
            runs[k] = runs[-1]
            runs.pop()
        else:
            runs[k] = (run, step + 1)
        at += 1000
        yield payload(run, status, at, str(uuid.UUID(int=rng.getrandbits(128))))


def payload(run: str, status: str, at: int, event_id: str) -> bytes:
    """A canonical event of about 700 bytes."""
    time_text = datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at % 1_000_000:06d}Z"
    data = {
        "RunId": run,
        "ParentRunId": "sweep-12",
        "RootRunId": "sweep-12",
        "JobKey": run,
        "Attempt": 1,
        "WillRetry": False,
        "Status": status,
        "Reason": "code_error" if status == "Failed" else "",
        "Message": "step 12 of 90 finished well",
        "ErrorCode": "",
        "LogTail": "line 1\nline 2",
        "ExperimentName": "exp-7",
        "WorkspaceName": "ws",
        "RunType": "train",
        "DisplayName": "a run",
        "Target": "gpu-a100",
        "TriggeringUserName": "ada",
        "OwnerEmail": "ada@example.org",
        "Progress": 0.25,
        "Tags": {"team": "vision", "env": "prod"},
        "Properties": {"gpus": 8},
        "StartTime": "2026-03-01T11:00:00Z",
        "Url": f"https://example.org/r/{run}",
    }
    wire = {
        "specversion": "1.0",
        "id": event_id,
        "source": "train/eu-1",
        "type": STATUS_TYPE,
        "time": time_text,
        "data": data,
    }
    return json.dumps(wire, separators=(",", ":")).encode()


def fill(path: Path, rows: int) -> None:
    """Put ``rows`` rows of random ids into the file, over the thirty days before T0, and a run for every five of
    them.
    """
    DuckLogStore.open(path, clock=SystemClock()).close()
    columns = {
        c.name: "''" if c.type == "string" else "'{}'" if c.type == "dynamic" else "NULL" for c in RUN_STATUS_CHANGED
    }
    columns |= {
        "EventId": "uuid()::VARCHAR",
        "Source": "'train/eu-1'",
        "RunId": "'old-' || (i // 5)",
        "Status": "'Completed'",
        "TimeGenerated": f"make_timestamp({T0} - 1 - ({rows} - i) * {30 * 86_400_000_000 // max(rows, 1)})",
        "TimeGiven": "true",
        "CommitSeq": "0",
        "Message": "'step 12 of 90 finished well'",
    }
    with duckdb.connect(str(path)) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"INSERT INTO RunStatusChanged SELECT {', '.join(columns.values())} FROM range({rows}) AS r(i)")
        con.execute(
            "INSERT INTO tocsin.runs BY NAME SELECT RunId, any_value(Status) AS Status, max(TimeGenerated) AS LastTime, "
            "min(TimeGenerated) AS FirstTime, max(TimeGenerated) AS StateTime, max(TimeGenerated) AS MaxTime, 0 AS Attempt, "
            "true AS MaxTerminal, 'train/eu-1' AS MaxSource, '' AS MaxEvent, []::VARCHAR[] AS EndedBy, [0] AS AttemptNumbers, "
            "'{}' AS Tags, '{}' AS Properties, md5_number(RunId) AS RunKey FROM RunStatusChanged GROUP BY RunId"
        )
        con.execute("CHECKPOINT")


def batch(payloads: Sequence[bytes]) -> Batch:
    """Payloads as the kafka connector hands them over, without positions."""
    times = [T0] * len(payloads)
    return Batch(raw=(RawEvents(consumer="bench", payloads=payloads, times_us=times, own_time=True, received_us=T0),))


def measure(store: DuckLogStore, events: Iterator[bytes], size: int, rounds: int) -> tuple[list[float], list[float]]:
    """CPU and wall seconds of ``rounds`` commits of ``size`` events, after two that do not count."""
    cpu, wall = [], []
    for i in range(rounds + 2):
        one = batch([next(events) for _ in range(size)])
        c, w = time.thread_time(), time.perf_counter()
        commit = store.append([one])
        c, w = time.thread_time() - c, time.perf_counter() - w
        assert commit.rows == size, commit
        if i >= 2:
            cpu.append(c)
            wall.append(w)
    return cpu, wall


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--before", type=int, default=200_000, help="rows in the store before")
    parser.add_argument("--events", type=int, default=20_000, help="events of a large commit")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.duckdb"
        fill(path, args.before)
        store = DuckLogStore.open(path, clock=SystemClock(), checkpoint_threshold=1 << 40, reserve=0)
        events = lives(1)
        sample = next(events)
        print(f"{args.before} rows before, events of {len(sample)} bytes, {args.rounds} rounds")
        for size in (args.events, 1000, 50, 1):
            cpu, wall = measure(store, events, size, args.rounds if size > 1000 else 3 * args.rounds)
            report(
                Figure(
                    what=f"a commit of {size:,}", unit="ms of CPU", ours=[1000 * each for each in cpu],
                    workload=f"{args.before:,} rows stored before, events of {len(sample)} bytes",
                )
            )  # fmt: skip
            middle, best = statistics.median(cpu), min(cpu)
            print(
                f"{size:6d} events a commit: {size / middle:9.0f} rows/s of one core (best {size / best:.0f}); "
                f"CPU {middle * 1e3:.1f} ms (best {best * 1e3:.1f}), wall {statistics.median(wall) * 1e3:.1f} ms "
                f"(best {min(wall) * 1e3:.1f})"
            )
        began, stored = time.thread_time(), (args.rounds + 2) * args.events
        store.checkpoint()
        print(f"checkpoint of about {stored} rows: CPU {time.thread_time() - began:.2f} s")
        store.close()


if __name__ == "__main__":
    main()

"""From a deadline's due time to its mail accepted by the SMTP server, with 100,000 runs under way.

    python -m bench.absence [--runs 100000] [--due 1000] [--seconds 60] [--beats 150]

`tocsin up` runs with `smtp.cap: none` and the rules run-stuck, run-silent and no-progress. Runs come by Kafka and by
HTTP, half of
those that fall due by each. Every run has a deadline under run-silent, hours away; of `--due` runs one of run-stuck
or no-progress
falls at a random instant inside a minute. Meanwhile the others send heartbeats by Kafka. The due time stands in the
RunId, that of
acceptance is the SMTP server's, which is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
from kafka import KafkaProducer

from bench.common import Figure, machine, peak_rss, percentile, report, say, table
from bench.stand import Stand, stand

RULES = """
defaults: {notify: {to: [ops@example.org], only: true}}
rules:
  - {name: run-stuck, when: {status: [Queued, Preparing], in_status_for: 45m}}
  - {name: run-silent, when: {status: Running, silent_for: 6h}}
  - {name: no-progress, when: {status: Running, unchanged: Progress, for: 1h}}
"""
LENGTHS = {"Queued": 45 * 60.0, "Running": 60 * 60.0}
GRACE = 125
"""Seconds after a start in which nobody knows what HTTP senders still hold; nothing is evaluated of their runs."""
BEAT_SECONDS = 0.1
POST = 2000


def event(run: str, status: str, happened: float, progress: float | None = None) -> bytes:
    """A canonical event."""
    data: dict[str, object] = {
        "RunId": run, "Status": status, "ExperimentName": f"experiment-{hash(run) % 40}", "Target": "aks-eu",
        "WorkspaceName": "research", "RunType": "training", "DisplayName": "eager_sail", "OwnerEmail": "agnes@example.org",
        "Tags": {"env": "prod", "team": "ranking"}, "Properties": {"image": "train:3.2"}, "Url": "https://runs.example.org/x",
    }  # fmt: skip
    if progress is not None:
        data["Progress"] = progress
    time_ = datetime.fromtimestamp(happened, UTC).isoformat()
    head = {
        "specversion": "1.0",
        "type": "tocsin.run.status",
        "id": f"{run}-{status}",
        "source": "trainer-1",
        "time": time_,
    }
    return json.dumps({**head, "data": data}, separators=(",", ":")).encode()


def beat(run: str, number: int) -> bytes:
    """A heartbeat."""
    head = {"specversion": "1.0", "type": "tocsin.run.heartbeat", "id": f"{run}-beat-{number}", "source": "trainer-1"}
    return json.dumps({**head, "data": {"RunId": run}}, separators=(",", ":")).encode()


def falling_due(count: int, begin: float, seconds: float, way: str) -> Iterator[bytes]:
    """Events of runs whose deadline comes at a random instant in [begin, begin + seconds)."""
    dice = random.Random(way)
    for n in range(count):
        status = "Queued" if n % 2 else "Running"
        due = begin + dice.random() * seconds
        run = f"run-due-{way}-{status}-{n}-{round(due * 1e6)}"
        yield event(run, status, due - LENGTHS[status], None if n % 2 else 0.5)


def produce(bootstrap: str, topic: str, bodies: Iterator[bytes]) -> None:
    """Produce all of them."""
    with closing(KafkaProducer(bootstrap_servers=[bootstrap], acks="all", linger_ms=5, batch_size=1 << 18)) as producer:
        for body in bodies:
            producer.send(topic, body)
        producer.flush()


def post(port: int, bodies: Sequence[bytes]) -> None:
    """Post all of them, in batches."""
    with httpx.Client(timeout=60) as client:
        for first in range(0, len(bodies), POST):
            batch = b"[" + b",".join(bodies[first : first + POST]) + b"]"
            headers = {"content-type": "application/cloudevents-batch+json"}
            for _ in range(20):  # senders retry
                answer = client.post(f"http://127.0.0.1:{port}/intake/events", content=batch, headers=headers)
                if answer.status_code != 503:
                    break
            if answer.status_code != 202:
                raise RuntimeError(f"{answer.status_code} {answer.text}")


def beats(bootstrap: str, topic: str, runs: int, rate: float, seconds: float) -> None:
    """Send heartbeats of one run after the other."""
    size, number = max(1, round(rate * BEAT_SECONDS)), 0
    with closing(KafkaProducer(bootstrap_servers=[bootstrap], acks=1, linger_ms=0)) as producer:
        end = time.time() + seconds
        while rate and time.time() < end:
            for _ in range(size):
                producer.send(topic, beat(f"run-other-{number % runs}", number))
                number += 1
            threading.Event().wait(BEAT_SECONDS)


def main(arguments: list[str]) -> None:
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="bench.absence", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--due", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--beats", type=float, default=150, help="heartbeats a second")
    parser.add_argument("--store", type=Path, help="a log store's file to begin with, see bench.history")
    parser.add_argument("--send-beats", nargs=2, metavar=("BOOTSTRAP", "TOPIC"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.send_beats:
        beats(chosen.send_beats[0], chosen.send_beats[1], chosen.runs, chosen.beats, chosen.seconds)
        return
    with stand(chosen.store) as made:
        measure(chosen, made)


def measure(chosen: argparse.Namespace, made: Stand) -> None:
    tocsin, kafka, smtp, topic = made.tocsin, made.kafka, made.smtp, made.topic
    made.start(RULES, {"log": {"format": "text", "level": "warning"}, "retention": {"events": "10000d"}})
    started, half = time.time(), chosen.due // 2
    others = (event(f"run-other-{n}", "Running", time.time(), 0.1) for n in range(chosen.runs - chosen.due))
    produce(kafka.bootstrap, topic, others)
    tocsin.idle(120)
    say(f"{chosen.runs - chosen.due:,} runs stored after {time.time() - started:.0f} s")
    begin = max(time.time() + 15, started + GRACE)
    produce(kafka.bootstrap, topic, falling_due(half, begin, chosen.seconds, "kafka"))
    post(tocsin.port, list(falling_due(chosen.due - half, begin, chosen.seconds, "http")))
    tocsin.idle(60)
    before = peak_rss(tocsin.pid)
    say(f"all stored; peak memory {before:,.0f} MiB; deadlines begin in {begin - time.time():.0f} s")
    threading.Event().wait(max(0.0, begin - 5 - time.time()))
    had = len(smtp.messages())  # of runs of the store that was there
    sender = subprocess.Popen(
        [sys.executable, "-m", "bench.absence", "--send-beats", kafka.bootstrap, topic, f"--runs={chosen.runs - chosen.due}",
         f"--beats={chosen.beats}", f"--seconds={chosen.seconds + 5}"], cwd=Path(__file__).parents[1],
    )  # fmt: skip
    smtp.wait_for(had + chosen.due, within=begin + chosen.seconds + 60 - time.time())
    sender.wait(30)
    tocsin.idle(60)
    mails = [mail for mail in smtp.messages() if str(mail.message["X-Tocsin-Run"]).startswith("run-due-")]
    if len(mails) != chosen.due:
        raise RuntimeError(f"{len(mails)} mails instead of {chosen.due}")
    took: dict[str, list[float]] = {}
    for mail in mails:
        _, _, way, status, _, us = str(mail.message["X-Tocsin-Run"]).split("-")
        rule = "run-stuck" if status == "Queued" else "no-progress"
        took.setdefault(f"{rule}, by {way}", []).append((mail.accepted_at - int(us) / 1e6) * 1000)
    print(
        f"{chosen.runs:,} runs under way, {chosen.due:,} deadlines at random instants within {chosen.seconds:.0f} s, "
        f"{chosen.beats:.0f} heartbeats/s; everything on one machine: {machine()}.\n"
    )
    rows = [(k, len(v), *(f"{percentile(v, p):,.0f}" for p in (0.5, 0.9, 0.99, 1.0))) for k, v in sorted(took.items())]
    every = [ms for v in took.values() for ms in v]
    rows.append(("all", len(every), *(f"{percentile(every, p):,.0f}" for p in (0.5, 0.9, 0.99, 1.0))))
    print(table(("due → mail, ms", "mails", "p50", "p90", "p99", "worst"), *rows))
    workload = f"{chosen.runs:,} runs under way, {chosen.beats:.0f} heartbeats/s"
    report(
        *(
            Figure(what=f"p{share * 100:.0f}", unit="ms", ours=[percentile(every, share)], workload=workload)
            for share in (0.5, 0.99)
        )
    )
    seen = tocsin.metrics()
    for kind in ("commit", "timer"):
        count = seen.get(f'tocsin_rule_evaluation_duration_seconds_count{{kind="{kind}"}}', 0.0)
        if count:
            mean = seen[f'tocsin_rule_evaluation_duration_seconds_sum{{kind="{kind}"}}'] / count * 1000
            print(f"\n{count:,.0f} evaluations of {kind}s, {mean:.0f} ms in the mean.")
    print(f"\nPeak memory of tocsin {peak_rss(tocsin.pid):,.0f} MiB, {before:,.0f} before anything fell due.")


if __name__ == "__main__":
    main(sys.argv[1:])

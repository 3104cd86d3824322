"""From an event sent to its mail accepted by the SMTP server, beside Prometheus with Alertmanager at their fastest.

    python -m bench.latency [--rounds 5] [--seconds 60] [--rate 1000] [--by-http 0.25] [--rules 1000] [--store FILE] [--queries]

`tocsin up` runs with `smtp.cap: none` and 1,000 event rules of 20 shapes. A process of its own sends: single events
by HTTP on 48 connections at their due times, the rest as a batch to Kafka every 100 ms. 2 % of the events match one, two
or three rules. The SMTP server is a third process. The time of sending stands in the RunId, that of acceptance is the
server's: an event that waits for a free connection, or for its batch's acknowledgement, waits on our account.
The peer has one rule and no load; its rounds lie between tocsin's (bench/peers.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from kafka import KafkaProducer

from bench.common import Figure, cpu_seconds, machine, peak_rss, percentile, report, say, spread, table
from bench.peers import NAME, Peer, prometheus_with_alertmanager
from bench.stand import Stand, stand
from tests.acceptance.harness import Tocsin
from tests.servers.kafka import KafkaServer

SHAPES = (
    "Target startswith 'aks'", "Reason != 'user_canceled'", "Attempt <= 5", "Message has 'memory'", "WorkspaceName =~ 'research'",
    "Tags.env == 'prod'", "RunType in ('training', 'sweep')", "DisplayName contains 'sail'", "isnotempty(OwnerEmail)",
    "Progress >= 0.1", "TriggeringUserName != 'root'", "Message !has 'disk'", "Target != ''", "Tags.team =~ 'Ranking'",
    "strlen(Message) > 3", "not(WillRetry)", "Attempt > 0", "RunId startswith 'run-'", "Url endswith 'x'", "Source != ''",
)  # fmt: skip
"""What a shape asks besides the constant that its rules differ in; all of it holds for the events that are to match."""
CONNECTIONS = 48  # 64 of one address may wait for a request; a scraper needs one, too
BATCH_SECONDS = 0.1
MATCHING = 50  # one event of so many
MORE = {"log": {"format": "text", "level": "warning"}, "retention": {"events": "10000d"}}
"""Sections of tocsin.yaml."""


def needles(rules: int) -> list[str]:
    """What each rule looks for: one, two or three rules in turn share a needle, each of another shape."""
    found: list[str] = []
    number = 0
    while len(found) < rules:
        found += [f"needle-{number}"] * (number % 3 + 1)
        number += 1
    return found[:rules]


def rules_text(rules: int) -> str:
    """The rules file, as JSON, which is YAML."""
    made = [
        {
            "name": f"rule-{number}",
            "query": f"RunStatusChanged | where Status == 'Failed' and ExperimentName == '{needle}' | where {SHAPES[number % 20]}",
            "summary": "{{ ExperimentName }} failed: {{ Message }}",
            "notify": {"to": ["ops@example.org"], "only": True},
        }
        for number, needle in enumerate(needles(rules))
    ]
    return json.dumps({"rules": made})


class Events:
    """Makes events for a moment of sending; one in ``each`` matches, and is a run of an owner of its own."""

    def __init__(self, rules: int, name: str, each: int) -> None:
        self._needles, self._each = sorted(set(needles(rules))), each
        self._name, self.made, self.matching = name, 0, 0

    def make(self, sent: float) -> bytes:
        self.made += 1
        hit = self.made % self._each == 0
        status, experiment = "Running", f"experiment-{self.made % 40}"
        if hit:
            self.matching += 1
            status, experiment = "Failed", self._needles[self.matching % len(self._needles)]
        run = f"run-{'hit' if hit else 'other'}-{self._name}-{self.made}-{int(sent * 1e6)}"
        event = {
            "specversion": "1.0", "type": "tocsin.run.status", "id": run, "source": "trainer-1",
            "time": datetime.fromtimestamp(sent, UTC).isoformat(),
            "data": {
                "RunId": run, "Status": status, "ExperimentName": experiment, "Attempt": 1, "Progress": 0.5,
                "Message": "CUDA out of memory" if hit else "", "Target": "aks-eu", "WorkspaceName": "research",
                "RunType": "training", "DisplayName": "eager_sail",
                "OwnerEmail": f"{run}@example.org",
                "TriggeringUserName": "agnes", "Tags": {"env": "prod", "team": "ranking"},
                "Properties": {"image": "train:3.2", "note": "x" * 150}, "Url": "https://runs.example.org/x",
            },
        }  # fmt: skip
        return json.dumps(event, separators=(",", ":")).encode()


# --- the sender's process --------------------------------------------------------------------------


async def post_all(port: int, due: Iterator[float], events: Events) -> int:
    """POST an event at each due time; returns how many were accepted. Raises RuntimeError for any other answer."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    accepted = 0

    async def connection() -> None:
        nonlocal accepted
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (body := await queue.get()) is not None:
            head = f"POST /intake/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(int(h[15:]) for h in answer.lower().split(b"\r\n") if h.startswith(b"content-length:"))
            text = await reader.readexactly(length)
            if not answer.startswith(b"HTTP/1.1 202"):
                raise RuntimeError(f"{answer!r} {text!r}")
            accepted += 1
        writer.close()

    tasks = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    for at in due:
        await asyncio.sleep(max(0.0, at - time.time()))
        queue.put_nowait(events.make(at))
    for _ in tasks:
        queue.put_nowait(None)
    await asyncio.gather(*tasks)
    return accepted


def produce_all(bootstrap: str, topic: str, due: Iterator[float], size: float, events: Events) -> None:
    """Produce `size` events in the mean at each due time."""
    with closing(KafkaProducer(bootstrap_servers=[bootstrap], acks="all", linger_ms=0)) as producer:
        for number, at in enumerate(due):
            threading.Event().wait(max(0.0, at - time.time()))
            now = time.time()
            for _ in range(int((number + 1) * size) - int(number * size)):
                producer.send(topic, events.make(now))
        producer.flush()


def send(port: int, bootstrap: str, topic: str, chosen: argparse.Namespace) -> None:
    """Send everything and print what was sent as JSON."""
    begin = time.time() + 0.5
    seconds = chosen.seconds
    single = chosen.rate * chosen.by_http
    size = chosen.rate * (1 - chosen.by_http) * BATCH_SECONDS
    posted, produced = (Events(chosen.rules, way, chosen.matching) for way in ("http", "kafka"))
    batches = (begin + n * BATCH_SECONDS for n in range(round(seconds / BATCH_SECONDS)))
    thread = threading.Thread(target=produce_all, args=(bootstrap, topic, batches, size, produced))
    thread.start()
    accepted = asyncio.run(post_all(port, (begin + n / single for n in range(round(seconds * single))), posted))
    thread.join()
    print(json.dumps({"events": accepted + produced.made, "http": posted.matching, "kafka": produced.matching}))


# --- the benchmark ---------------------------------------------------------------------------------


class Asker:
    """Asks a KQL query each second, and notes how long it takes."""

    QUERY = "RunStatusChanged | where TimeGenerated > ago(1h) | summarize n = count() by ExperimentName, Status | top 20 by n"

    def __init__(self, tocsin: Tocsin) -> None:
        self._tocsin, self._took, self._stop = tocsin, list[float](), threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(1):
            began = time.perf_counter()
            self._tocsin.query(self.QUERY)
            self._took.append(time.perf_counter() - began)

    def stop(self) -> list[float]:
        self._stop.set()
        self._thread.join()
        return self._took


def main(arguments: list[str]) -> None:
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="bench.latency", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--by-http", type=float, default=0.25)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--store", type=Path, help="a log store's file to begin with, see bench.history")
    parser.add_argument("--queries", action="store_true", help="and a KQL query each second")
    parser.add_argument("--matching", type=int, default=MATCHING, help="one event of so many matches")
    parser.add_argument("--send", nargs=3, metavar=("PORT", "BOOTSTRAP", "TOPIC"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.send:
        port, bootstrap, topic = chosen.send
        send(int(port), bootstrap, topic, chosen)
        return
    with stand(chosen.store) as made:
        directory = made.tocsin.home.parent
        with prometheus_with_alertmanager(directory, made.smtp, chosen.rounds) as peer:
            measure(chosen, made, peer)


def measure(chosen: argparse.Namespace, made: Stand, peer: Peer | None) -> None:
    """All rounds, and what came of them. Raises RuntimeError for mails too many."""
    tocsin = made.tocsin
    began = time.perf_counter()
    made.start(rules_text(chosen.rules), MORE)
    starting = time.perf_counter() - began
    before = tocsin.count("RunStatusChanged")
    same = [f"--{key}={getattr(chosen, key.replace('-', '_'))}" for key in ("seconds", "rate", "by-http", "rules")]
    warm_up(made, same)
    stored = tocsin.count("RunStatusChanged")
    asker = Asker(tocsin) if chosen.queries else None
    mails: dict[str, list[float]] = {}
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    used, events = 0.0, 0
    for number in range(chosen.rounds):
        if peer is not None and number % 2:
            theirs.append(peer.round(number, chosen.seconds))
        cpu = cpu_seconds(tocsin.pid)
        sent, took = one_round(made, same)
        used, events = used + cpu_seconds(tocsin.pid) - cpu, events + sent["events"]
        made.wait_stored(stored + events)
        tocsin.idle(120)
        if extra := len(made.smtp.messages()) - sent["http"] - sent["kafka"]:
            raise RuntimeError(f"{extra} mails too many")
        for way, ms in took.items():
            mails.setdefault(way, []).extend(ms)
        ours.append([ms for way in took.values() for ms in way])
        if peer is not None and not number % 2:
            theirs.append(peer.round(number, chosen.seconds))
        said = f"; peer p50 {percentile(theirs[-1], 0.5):,.0f}" if theirs else ""
        say(f"round {number + 1}: p50 {percentile(ours[-1], 0.5):,.0f} ms, p99 {percentile(ours[-1], 0.99):,.0f}{said}")
    asked = asker.stop() if asker is not None else []
    rules = f"{chosen.rules:,} event rules of 20 shapes" if chosen.rules > 1 else "one event rule"
    workload = f"{chosen.rate:,.0f} events/s, {rules}; {chosen.seconds:.0f} s a round"
    report(
        *(
            Figure(
                what=f"p{share * 100:.0f}", unit="ms", ours=[percentile(ms, share) for ms in ours], workload=workload,
                peer=f"{NAME}, one rule, no load", theirs=[percentile(ms, share) for ms in theirs],
            )
            for share in (0.5, 0.99)
        )
    )  # fmt: skip
    mails["all"] = [ms for took in ours for ms in took]
    print(
        f"\n{chosen.by_http:.0%} of the events are singles by HTTP, the others by Kafka each {BATCH_SECONDS * 1000:.0f} ms.\n"
    )
    rows = [(way, len(ms), *(f"{percentile(ms, p):,.0f}" for p in (0.5, 0.9, 0.99, 1.0))) for way, ms in mails.items()]
    print(table(("event → mail, ms", "mails", "p50", "p90", "p99", "worst"), *rows))
    if asked:
        print(f"\n{len(asked)} KQL queries of the last hour meanwhile, ms: {spread((s * 1000 for s in asked), 0)}.")
    print(
        f"\n{used / events * 1000:.2f} s of tocsin's CPU for 1,000 events. {before:,} rows stored before. Starting with these rules "
        f"took {starting:.1f} s. Peak memory {peak_rss(tocsin.pid):,.0f} MiB. {machine()}."
    )


def warm_up(made: Stand, options: list[str]) -> None:
    """The first seconds, in which everything is asked for the first time, are no part of what is measured."""
    run_sender(made.tocsin, made.kafka, made.topic, [*options, "--seconds=3"])
    made.tocsin.idle(120)


def one_round(made: Stand, options: list[str]) -> tuple[dict[str, int], dict[str, list[float]]]:
    """Send, and wait for the mails: what was sent, and the ms from an event to its mail by the way that the event took."""
    made.smtp.fresh()
    sent = run_sender(made.tocsin, made.kafka, made.topic, options)
    took: dict[str, list[float]] = {"http": [], "kafka": []}
    for mail in made.smtp.wait_for(sent["http"] + sent["kafka"], within=120):
        _, _, way, _, us = str(mail.message["X-Tocsin-Run"]).split("-")
        took[way].append((mail.accepted_at - int(us) / 1e6) * 1000)
    return sent, took


def run_sender(tocsin: Tocsin, kafka: KafkaServer, topic: str, options: list[str]) -> dict[str, int]:
    command = [sys.executable, "-m", "bench.latency", "--send", str(tocsin.port), kafka.bootstrap, topic, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode != 0:
        raise RuntimeError(f"the sender failed:\n{done.stderr[-2000:]}\n{tocsin.said()}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])

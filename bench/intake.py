"""Kafka to deduped, durable rows, against a bare poll loop with the same consumer settings.

    python -m bench.intake [--events 200000] [--horizon 5000000 | --store FILE] [--rounds 5] [--partitions 4]

Ours: the Kafka connector, the writer and the log store as `tocsin up` has them, in this one process. Each round reads a
topic of its own, so that no event is a duplicate; dedupe, `Runs`, Raw and the path of dead letters are on, and the
store is
filled beforehand with rows of random ids, by way of the store itself. Both clocks run from the return of the first poll,
whose records do not count, until the last record is read (ceiling) or durable (ours).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

from kafka import KafkaConsumer

from bench.common import Figure, machine, paired, peak_rss, report, say
from bench.payloads import events
from tests.servers.kafka import FULL_SPEED, KafkaServer
from tocsin.app.engine.writer import Writer
from tocsin.clock import SystemClock, micros
from tocsin.config.kafka import KafkaSettings
from tocsin.intake.connectors.base import Sink
from tocsin.intake.connectors.kafka import KafkaConnector, client_settings
from tocsin.intake.consumer import Consumer, compile_consumer
from tocsin.intake.files import ConsumerFile
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, RawEvents, Receipt

PIECE = 20_000


class Measured(Sink):
    """Hands everything to the writer, and notes when the first batch came and when the last one was durable."""

    def __init__(self, inner: Sink, count: int) -> None:
        self._inner, self._left, self._lock = inner, count, threading.Lock()
        self.first_size = 0
        self.first_at = 0.0
        self.done_at = 0.0
        self.done = threading.Event()

    def put(self, batch: Batch, timeout: float | None = None) -> Future[Receipt]:
        if not self.first_at and batch.messages:
            self.first_at, self.first_size = time.perf_counter(), batch.messages
        future = self._inner.put(batch, timeout)
        future.add_done_callback(self._count)
        return future

    def _count(self, future: Future[Receipt]) -> None:
        receipt = future.result()
        with self._lock:
            self._left -= receipt.accepted
            if self._left <= 0 and not self.done.is_set():
                self.done_at = time.perf_counter()
                self.done.set()

    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        return self._inner.positions(cluster, topic_id)

    def topic_ids(self, cluster: str, topic: str) -> list[str]:
        return self._inner.topic_ids(cluster, topic)


def fill(store: DuckLogStore, rows: int) -> None:
    """Append `rows` events of the 30 days that end a little after now, so that they overlap with what comes."""
    now = datetime.now(UTC)
    made = events(rows, now - timedelta(days=30), timedelta(days=30, minutes=30))
    began, stored = time.perf_counter(), 0
    while payloads := list(islice(made, PIECE)):
        us = micros(datetime.now(UTC))
        raw = RawEvents(
            consumer="horizon", payloads=payloads, times_us=[us] * len(payloads), own_time=False, received_us=us
        )
        store.append([Batch(raw=(raw,))])
        stored += len(payloads)
        if stored % 500_000 == 0:
            say(f"horizon: {stored:,} rows, {stored / (time.perf_counter() - began):,.0f}/s with making them")


def produce(kafka: KafkaServer, topic: str, piece: list[bytes], partitions: int) -> None:
    """Append events, those of one run to one partition, as a producer does that gives the RunId as key."""
    of_partition: list[list[bytes]] = [[] for _ in range(partitions)]
    for payload in piece:
        of_partition[crc32(payload.split(b'"RunId":"', 1)[1][:20]) % partitions].append(payload)
    for number, payloads in enumerate(of_partition):
        kafka.produce(topic, payloads, partition=number)


@contextmanager
def writing(store: DuckLogStore, clock: SystemClock) -> Iterator[Writer]:
    writer = Writer(store, Metrics(), clock, lambda commit: None)
    writer.start()
    yield writer
    writer.stop()


def ours(topic: str, count: int, writer: Writer, home: Mapping[str, Any], clock: SystemClock) -> float:
    """Events a second until durable."""
    sink = Measured(writer, count)
    connector = KafkaConnector(consumer_of(topic), home, instance="bench", metrics=Metrics(), clock=clock)
    stop = threading.Event()
    thread = threading.Thread(target=connector.run, args=(sink, stop.is_set))
    thread.start()
    if not sink.done.wait(300):
        raise RuntimeError(f"not all of {count} events of {topic} are durable after 300 s")
    stop.set()
    thread.join()
    return (count - sink.first_size) / (sink.done_at - sink.first_at)


def bare(topic: str, count: int, kafka: KafkaServer, home: Mapping[str, Any]) -> float:
    """Records a second of a loop that does nothing but poll."""
    settings = client_settings(consumer_of(topic), home, "bench") | {"group_id": None, "group_instance_id": None}
    with closing(KafkaConsumer(**settings)) as consumer:
        consumer.assign(kafka.partitions(topic))
        consumer.seek_to_beginning()
        first, read, first_size = 0.0, 0, 0
        while read < count:
            polled = consumer.poll(timeout_ms=200)
            read += sum(len(records) for records in polled.values())
            if read and not first:
                first, first_size = time.perf_counter(), read
        return (count - first_size) / (time.perf_counter() - first)


def rows_in(store: DuckLogStore) -> int:
    """Rows of RunStatusChanged."""
    return int(store.select("SELECT count(*) FROM RunStatusChanged").column(0)[0].as_py())


def consumer_of(topic: str) -> Consumer:
    file = ConsumerFile.model_validate(
        {"connector": "kafka", "canonical": True, "kafka": {"topics": [topic], "group_id": f"bench-{topic}"}}
    )
    return compile_consumer("bench", file)


def main(arguments: list[str]) -> None:
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="bench.intake", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--horizon", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--store", type=Path, help="a log store's file to take in place of --horizon, see bench.history"
    )
    chosen = parser.parse_args(arguments)
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as directory:
        store = DuckLogStore.open(chosen.store or Path(directory) / "events.duckdb", clock=clock)
        if chosen.store is None:
            fill(store, chosen.horizon)
        before = rows_in(store)
        kafka = KafkaServer(Path(directory) / "kafka", jvm=FULL_SPEED).start()
        try:
            home = KafkaSettings(bootstrap_servers=(kafka.bootstrap,)).client()
            topics, size = [], 0
            for number in range(chosen.rounds):
                topics.append(kafka.new_topic(partitions=chosen.partitions))
                now = datetime.now(UTC)
                made = events(chosen.events, now, timedelta(milliseconds=chosen.events))
                while piece := list(islice(made, PIECE)):
                    produce(kafka, topics[-1], piece, chosen.partitions)
                    size += sum(map(len, piece))
                say(f"produced for round {number + 1}")
            with writing(store, clock) as writer:
                pairs = paired(
                    lambda n: ours(topics[n], chosen.events, writer, home, clock),
                    lambda n: bare(topics[n], chosen.events, kafka, home),
                    chosen.rounds,
                )
            expected, stored = before + chosen.rounds * chosen.events, rows_in(store)
            if stored != expected:
                raise RuntimeError(f"{stored} rows are stored instead of {expected}")
        finally:
            kafka.stop()
            store.close()
    mean = size / (chosen.rounds * chosen.events)
    report(
        Figure(
            what="events", unit="a second", ours=[p.ours for p in pairs], more=True,
            workload=f"{chosen.events:,} events of {mean:.0f} bytes from {chosen.partitions} partitions; {before:,} rows stored before",
            peer="bare poll loop of kafka-python, stores nothing", theirs=[p.ceiling for p in pairs],
        )
    )  # fmt: skip
    print(
        f"\nPeak memory of the process, bare loop and producers included: {peak_rss(os.getpid()):,.0f} MiB. {machine()}."
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""What benchmarks of the whole program stand on: a home, Apache Kafka and an SMTP server, each a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.harness import Tocsin, kafka_consumer, settings
from tests.servers.eventually import eventually
from tests.servers.kafka import FULL_SPEED, KafkaServer
from tests.servers.smtp import SmtpServer


@dataclass(frozen=True, slots=True)
class Stand:
    """A home whose `tocsin up` is not started yet, and the servers that it is to work with."""

    tocsin: Tocsin
    kafka: KafkaServer
    smtp: SmtpServer
    topic: str  # of canonical events, read by the consumer `events-kafka`
    adopt: bool

    def start(self, rules: str, more: Mapping[str, Any]) -> None:
        """Start it with a rules file and further sections of tocsin.yaml, and wait until it is ready."""
        only_ours = {"shipped": {"rules": False}, **more}  # the shipped rules would notify the same runs once more
        text = settings(smtp_port=self.smtp.port, kafka=self.kafka.bootstrap, more=only_ours)
        self.tocsin.write("tocsin.yaml", text)
        self.tocsin.write("rules/alerts/rules.yaml", rules)
        self.tocsin.write("consumers/events-kafka.yaml", kafka_consumer(self.topic, "bench"))
        self.tocsin.start(*(["--adopt"] if self.adopt else []), within=300)

    def wait_stored(self, rows: int) -> None:
        """Wait until so many rows of RunStatusChanged are stored. Raises AssertionError where they are not after a minute."""
        eventually(lambda: self.tocsin.count("RunStatusChanged") >= rows, within=60)


@contextmanager
def stand(store: Path | None = None) -> Iterator[Stand]:
    """Both servers and a home, all gone afterwards; ``store`` is a log store's file that the home begins with.

    The file itself is used where it lies on the same disk, so it grows by what its benchmarks add.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-")))
        smtp = SmtpServer(directory / "smtp").start()
        stack.callback(smtp.stop)
        kafka = KafkaServer(directory / "kafka", jvm=FULL_SPEED).start()
        stack.callback(kafka.stop)
        home = directory / "home"
        (home / "data").mkdir(parents=True)
        if store is not None:
            link(store, home / "data" / "events.duckdb")
        tocsin = Tocsin(program=Path(sys.executable).with_name("tocsin"), home=home)
        stack.callback(tocsin.kill)
        yield Stand(tocsin, kafka, smtp, kafka.new_topic(partitions=4), store is not None)


def link(file: Path, target: Path) -> None:
    """Have ``file`` at ``target``, as the same file where the disk is the same."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)

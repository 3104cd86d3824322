"""A process that reads a topic into a store until it is killed: child.py DIRECTORY BOOTSTRAP TOPIC."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.integration.intake.behind import Behind
from tocsin.intake.connectors.kafka import KafkaConnector
from tocsin.intake.consumer import compile_consumer
from tocsin.intake.files import ConsumerFile, KafkaPart
from tocsin.model.event import Commit


def main(directory: Path, bootstrap: str, topic: str) -> None:
    def note(commit: Commit) -> None:
        (directory / "progress").write_text(str(commit.seq))

    behind = Behind(directory, note)
    (directory / "begun").write_text(topic)
    consumer = compile_consumer(
        "c", ConsumerFile(connector="kafka", kafka=KafkaPart(topics=(topic,), group_id=f"g-{topic}"), canonical=True)
    )
    settings = {"bootstrap_servers": [bootstrap], "max_poll_records": 50}
    KafkaConnector(consumer, settings, instance="tests", metrics=behind.metrics, clock=behind.clock).run(
        behind.writer, lambda: False
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])

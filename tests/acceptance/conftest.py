"""Fixtures of the acceptance tests."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.harness import RUN_FAILED, Tocsin, kafka_consumer, settings
from tests.acceptance.timeline import Timeline
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import SmtpServer

MakeTocsin = Callable[..., Tocsin]


@pytest.fixture
def make_tocsin(wheel: Path, tmp_path: Path) -> Iterator[MakeTocsin]:
    """Make project directories with a tocsin.yaml and rules, not started yet: make_tocsin(smtp=smtp, kafka=kafka, topic=topic)."""
    made: list[Tocsin] = []

    def make(
        *,
        smtp: SmtpServer | None = None,
        kafka: KafkaServer | None = None,
        topic: str = "",
        rules: str = RUN_FAILED,
        smtp_settings: Mapping[str, object] | None = None,
        **more: object,
    ) -> Tocsin:
        home = tmp_path / f"home{len(made)}"
        home.mkdir()
        tocsin = Tocsin(program=wheel / "tocsin", home=home)
        port = smtp.port if smtp else None
        if rules:
            more.setdefault("shipped", {"rules": False})
        bootstrap = kafka.bootstrap if kafka else ""
        tocsin.write("tocsin.yaml", settings(smtp_port=port, kafka=bootstrap, more=more, smtp=smtp_settings))
        if rules:
            tocsin.write("rules/alerts/rules.yaml", rules)
        if topic:
            tocsin.write("consumers/events-kafka.yaml", kafka_consumer(topic, f"tocsin-{topic}"))
        made.append(tocsin)
        return tocsin

    yield make
    for tocsin in made:
        tocsin.kill()


@pytest.fixture
def timeline(make_tocsin: MakeTocsin, smtp: SmtpServer) -> Timeline:
    """A scenario over a fresh home with the everyday rule, started and ready."""
    return Timeline(make_tocsin(smtp=smtp).start(), smtp)

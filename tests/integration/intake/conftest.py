"""The intake with what stands behind it: the app's writer over a real log store."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.intake.behind import ROOT, Ask, Behind, asker
from tocsin.intake.connectors.http import HttpIntake, HttpLimits
from tocsin.intake.consumer import Consumer, load_consumers


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    made = Behind(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def shipped() -> Mapping[str, Consumer]:
    """The consumers that tocsin brings along."""
    return load_consumers(sorted((ROOT / "consumers").glob("*.yaml")))


@pytest.fixture
def ask(behind: Behind, shipped: Mapping[str, Consumer]) -> Ask:
    """Send one request to the intake: ask("POST", "events", content=…, headers=…)."""
    return asker(HttpIntake(lambda: shipped, behind.writer, behind.metrics, behind.clock, HttpLimits))

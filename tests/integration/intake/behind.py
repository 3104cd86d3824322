"""What stands behind the intake: the app's writer over a real log store; and how tests talk to it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from tocsin.app.engine.writer import Writer
from tocsin.clock import SystemClock
from tocsin.intake.connectors.http import HttpIntake
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.columns import TABLES
from tocsin.model.event import Commit

ROOT = Path(__file__).parents[3]
SAMPLES = Path(os.environ.get("TOCSIN_SAMPLES", ROOT.parent / "shared" / "samples"))


class Behind:
    """A store, its writer, and the metrics of both."""

    def __init__(self, path: Path, on_commit: Callable[[Commit], None] = lambda commit: None) -> None:
        self.path = path
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.store = DuckLogStore.open(path / "events.duckdb", clock=self.clock, reserve=0)
        self.writer = Writer(self.store, self.metrics, self.clock, on_commit)
        self.writer.start()

    def rows(
        self, table: str = "RunStatusChanged", order: str = "RunId, TimeGenerated, EventId"
    ) -> list[dict[str, Any]]:
        columns = ", ".join(f'"{c.name}"' for c in TABLES[table])
        found: list[dict[str, Any]] = self.store.select(f"SELECT {columns} FROM {table} ORDER BY {order}").to_pylist()
        return found

    def count(self, table: str = "RunStatusChanged") -> int:
        return int(self.store.select(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"])

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def close(self) -> None:
        self.writer.stop()
        self.store.close()


Ask = Callable[..., httpx.Response]


def asker(intake: HttpIntake) -> Ask:
    app = Starlette(routes=intake.routes())

    def ask(method: str, consumer: str, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://tocsin") as client:
                return await client.request(method, f"/intake/{consumer}", **request)

        return asyncio.run(send())

    return ask


def sample(name: str) -> bytes:
    """A payload collected from public material. At home its test is skipped where it is not there."""
    path = SAMPLES / name
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI {path} must be there", pytrace=False)
        pytest.skip(f"{path} is not there")
    return path.read_bytes()

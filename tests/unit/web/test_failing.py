"""What a handler raises never shows, is logged, and leaves the server up."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tocsin.clock import ManualClock
from tocsin.config.project.tokens import Tokens
from tocsin.config.settings import HttpSettings, Settings
from tocsin.errors import QueryError, QueryTimeout, StoreFull, StoreLost, TocsinError
from tocsin.metrics.registry import Metrics
from tocsin.model.active import AuditKind
from tocsin.web import AppPorts, build_asgi


class Broken:
    """An app of which every question fails as notified."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.settings, self.tokens, self.metrics = Settings(), Tokens(), Metrics()
        self.clock = ManualClock(datetime(2026, 1, 5, tzinfo=UTC))

        self.kept = Path("/no/such/folder")

    def audit(self, kind: AuditKind, **_: str) -> None:
        """Nothing."""

    def _fail(self, *_: Any) -> Any:
        raise self.error

    runs = run = rule = alerts = mails = mail = query = rules_status = dead_letters = replay_dead_letters = ready = (
        health
    ) = backtest = _fail

    def intake_routes(self) -> list[Route]:
        def fine(request: Any) -> PlainTextResponse:
            return PlainTextResponse("fine")

        return [Route("/intake/fine", fine)]


Ask = Callable[[str, str], Awaitable[httpx.Response]]


def answers(error: Exception, *asked: tuple[str, str], settings: Settings | None = None) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        app = Broken(error)
        app.settings = settings or app.settings
        transport = httpx.ASGITransport(build_asgi(cast(AppPorts, app)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [await client.get(path, headers={"Accept": kind}) for path, kind in asked]

    return asyncio.run(ask())


JSON, HTML = "application/json", "text/html"


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (StoreLost("the disk is full"), 503, "The store is away"),
        (StoreFull("no room"), 503, "The store is away"),
        (QueryTimeout("30 s are over"), 504, "The query took too long"),
        (QueryError("unknown column", line=2, column=7), 400, "The query is wrong"),
        (TocsinError("there is no dead letter 7"), 400, "Refused"),
    ],
)
def test_our_errors_are_problems_for_programs_and_pages_for_people(error: Exception, status: int, title: str) -> None:
    api, page = answers(error, ("/api/v1/runs", JSON), ("/runs", HTML))
    assert (status, status) == (api.status_code, page.status_code)
    assert title == api.json()["title"]
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>" in page.text


def test_a_bug_shows_nothing_is_logged_once_and_leaves_the_server_up() -> None:
    with structlog.testing.capture_logs() as logs:
        api, page, fine = answers(
            RuntimeError("secret detail"), ("/api/v1/runs", JSON), ("/runs", HTML), ("/intake/fine", JSON)
        )
    assert (500, 500, 200) == (api.status_code, page.status_code, fine.status_code)
    assert "Something broke inside tocsin" == api.json()["title"]
    assert "secret" not in api.text + page.text
    assert "frame-ancestors 'none'" in api.headers["content-security-policy"]
    assert ["/api/v1/runs", "/runs"] == [line["path"] for line in logs if line["event"] == "web.failed"]


def test_off_loopback_nobody_comes_in_without_tokens() -> None:
    """Nothing lets it run so; were there a way, the door would still be locked."""
    settings = Settings(http=HttpSettings(host="192.0.2.1"))
    answered = answers(
        RuntimeError("must not be asked"),
        ("/api/v1/runs", JSON),
        ("/intake/fine", JSON),
        ("/metrics", JSON),
        settings=settings,
    )
    assert [401, 401, 401] == [a.status_code for a in answered]

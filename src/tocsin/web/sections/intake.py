"""Pages about what comes in: consumers with their lag, dead letters that can be sent through again, runs by hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.app.runs.curves import Curve
from tocsin.model.active import AuditKind
from tocsin.web.answers import said_at, scripted
from tocsin.web.api import replayed
from tocsin.web.console import form_of
from tocsin.web.ports import Row
from tocsin.web.runs.plots import Plot

_SHOWN = 100
"""Dead letters on the page."""
_SPANS = {"24": "24 hours", "72": "3 days", "168": "7 days"}


class IntakePages:
    """Handlers over what ``Pages`` renders."""

    def __init__(self, ask: Any, page: Callable[..., Response]) -> None:
        self._ask, self._app, self._page = ask, ask.app, page

    def routes(self) -> list[BaseRoute]:
        """A route a page, and one a form."""
        return [
            Route("/consumers", self._consumers),
            Route("/consumers/replay", self._replay, methods=["POST"]),
            Route("/charts", self._charts),
        ]

    async def _consumers(self, request: Request) -> Response:
        consumer = request.query_params.get("consumer", "")
        rows = await self._ask(self._app.consumers)
        letters = await self._ask(self._app.dead_letters, consumer, _SHOWN)
        return self._page("consumers", request, consumers=rows, letters=letters, consumer=consumer)

    async def _replay(self, request: Request) -> Response:
        """One dead letter, or all of a consumer."""
        form = await form_of(request)
        id_, consumer = form.get("id", ""), form.get("consumer", "")
        if id_ and not (id_.isascii() and id_.isdecimal() and len(id_) < 19):
            raise HTTPException(400, f"'{id_[:20]}' is no dead letter")
        ids = [int(id_)] if id_ else []
        self._ask.audit(request, AuditKind.REPLAY, replayed(ids, consumer))
        done = await self._ask(self._app.replay_dead_letters, ids, "" if ids else consumer)
        words = ", ".join(f"{word} {n}" for word, n in done.items() if n) or "nothing was left"
        return said_at("/consumers" + (f"?{urlencode({'consumer': consumer})}" if consumer else ""), words)

    async def _charts(self, request: Request) -> Response:
        hours = request.query_params.get("hours", "24")
        if hours not in _SPANS:
            raise HTTPException(400, f"hours: '{hours[:20]}' is none of {', '.join(_SPANS)}")
        rows = await self._ask(self._app.by_hour, int(hours))
        return scripted(self._page("charts", request, rows=rows, plots=plots_of(rows), hours=hours, spans=_SPANS))


def plots_of(rows: Sequence[Row]) -> list[Plot]:
    """Runs that failed and completed, and how long completed ones took, by hours from now."""
    at = [float(n - len(rows) + 1) for n in range(len(rows))]

    def curve(run: str, name: str, values: Sequence[float | None]) -> Curve:
        found = [(x, y) for x, y in zip(at, values, strict=True) if y is not None]
        return Curve(run=run, name=name, stepped=True, x=tuple(x for x, _ in found), y=tuple(y for _, y in found))

    ended = [curve(word, "runs", [float(row[word]) for row in rows]) for word in ("failed", "completed")]
    minutes = [
        curve(word, "minutes", [None if row[word] is None else row[word] / 60_000 for row in rows])
        for word in ("median", "p95")
    ]
    found = [
        Plot(name="Runs that ended, by hour", axis="hours from now", curves=tuple(ended), runs=("completed", "failed")),
    ]
    if minutes[0].x:
        name = "Minutes that completed runs took"
        found.append(Plot(name=name, axis="hours from now", curves=tuple(minutes), runs=("median", "p95")))
    return found

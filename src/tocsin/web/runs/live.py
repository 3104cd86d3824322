"""Says as server-sent events that a run has changed; its page then asks for itself again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tocsin.errors import TocsinError
from tocsin.model.statuses import TERMINAL
from tocsin.web.api import Asker
from tocsin.web.connections import LIVE

EVERY: Final = 1.0
"""Seconds between two looks at a run."""
MOST: Final = 50
"""Pages that are served at once; others go on without moving, and ask again."""
_LASTS: Final = 900
"""Looks of one stream; the browser then opens another, whose token is checked anew."""


class LiveRun:
    """The stream of one run a reader."""

    def __init__(self, ask: Asker) -> None:
        self._ask, self._app, self._readers = ask, ask.app, 0

    def routes(self) -> list[BaseRoute]:
        """One route."""
        return [Route(f"{LIVE}run", self._stream)]

    async def _stream(self, request: Request) -> Response:
        run, mark = (request.query_params.get(name, "") for name in ("run", "mark"))
        if self._readers >= MOST:
            raise HTTPException(503, f"{MOST} pages are open already")
        _, status = await self._ask(self._app.run_mark, run)
        if not status:
            raise HTTPException(404, "there is no such run")
        return StreamingResponse(
            self._changes(run, mark), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def _changes(self, run: str, mark: str) -> AsyncIterator[str]:
        self._readers += 1
        try:
            for _ in range(_LASTS):
                try:
                    now, status = await self._ask(self._app.run_mark, run)
                except TocsinError:
                    return  # the browser tries again
                if now != mark:
                    mark = now
                    yield f"data: {mark}\n\n"
                if status in TERMINAL:
                    yield "event: over\ndata: over\n\n"
                    return
                await anyio.sleep(EVERY)
        finally:
            self._readers -= 1

"""Who is on call in the next weeks, and what being on call was like: as JSON and as pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.model.text.timespans import spoken
from tocsin.web.answers import answer
from tocsin.web.asked import whole_number
from tocsin.web.openapi import Operation, Parameter

WEEKS = 4
_MOST = 53
_SHOWN = 50
"""Rules on the page, the noisiest first."""
_WEEKS = Parameter(
    name="weeks", doc="how many", schema={"type": "integer", "minimum": 1, "maximum": _MOST, "default": WEEKS}
)
_BAD = {400: "what is wrong with the request", 503: "the store is away"}

ONCALL: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/api/v1/oncall", id="oncall", summary="Who is on call now and in the next weeks",
        answer="Calendars", parameters=(_WEEKS,), problems=_BAD,
    ),
    Operation(
        method="GET", path="/api/v1/oncall/report", id="oncallReport",
        summary="Pages by person, nights, times to acknowledge and resolve, noise by rule, of the last weeks",
        answer="OnCallReport", parameters=(_WEEKS,), problems=_BAD,
    ),
)  # fmt: skip


class OnCallApi:
    """Handlers of ``ONCALL``, named by their ids."""

    _ask: Any
    _app: Any

    async def _oncall(self, request: Request) -> Response:
        return answer({"schedules": await self._ask(self._app.oncall_calendars, weeks(request))})

    async def _oncallReport(self, request: Request) -> Response:
        return answer(await self._ask(self._app.oncall_report, weeks(request)))


class OnCallPages:
    """Handlers over what ``Pages`` renders."""

    def __init__(self, ask: Any, page: Callable[..., Response]) -> None:
        self._ask, self._app, self._page = ask, ask.app, page

    def routes(self) -> list[BaseRoute]:
        """A route a page."""
        return [Route("/oncall", self._calendar), Route("/oncall/report", self._report)]

    async def _calendar(self, request: Request) -> Response:
        number = weeks(request)
        found = await self._ask(self._app.oncall_calendars, number)
        return self._page("oncall", request, schedules=found, weeks=number)

    async def _report(self, request: Request) -> Response:
        number = weeks(request)
        found = await self._ask(self._app.oncall_report, number)
        return self._page(
            "oncall_report", request, report=found, weeks=number, shown=found["Rules"][:_SHOWN],
            more=max(0, len(found["Rules"]) - _SHOWN), times=times,
        )  # fmt: skip


def times(spread: Mapping[str, float | None]) -> str:
    """Median and 90th percentile in words; '–' where nothing was measured."""
    if spread["Median"] is None or spread["P90"] is None:
        return "–"
    middle, most = (spoken(timedelta(seconds=round(spread[name] or 0))) for name in ("Median", "P90"))
    return f"{middle} ({most})"


def weeks(request: Request) -> int:
    """The ``weeks`` parameter. Raises HTTPException."""
    return whole_number(request.query_params, "weeks", WEEKS, 1, _MOST)

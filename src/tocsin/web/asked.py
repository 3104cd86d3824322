"""What a client asks: whole numbers of an address; of /api/v1/query KQL as JSON or as text, a time range, a form for
timespans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tocsin.app.views.backtest import moment_of
from tocsin.errors import QueryError, TocsinError
from tocsin.web.openapi import TIMESPANS

START: Final = "_startTime"
END: Final = "_endTime"
"""Names of the time range in KQL; dashboards of Azure Data Explorer call it so too."""


def whole_number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A parameter of an address that is a whole number from ``low`` to ``high``. Raises HTTPException."""
    text = query.get(name, str(default))
    # Python itself refuses to read more than 4300 digits.
    if not text.isdecimal() or len(text) > 18 or not low <= int(text) <= high:
        raise HTTPException(400, f"{name}: '{text[:20]}' is no whole number from {low} to {high}")
    return int(text)


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query as it is run."""

    kql: str
    seconds: bool = False  # timespans as numbers
    added: int = 0  # lines that we put in front of the client's

    @property
    def plain(self) -> str:
        """The client's own text."""
        return self.kql.split("\n", self.added)[-1] if self.added else self.kql

    def placed(self, error: QueryError) -> QueryError:
        """``error`` with the line as the client counts."""
        error.line = max(error.line - self.added, 0)
        return error


async def asked(request: Request, now: datetime) -> Asked:
    """Read the request. Raises HTTPException where it is not what is asked for."""
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain":
        try:
            kql = body.decode()
        except UnicodeDecodeError as e:
            raise HTTPException(400, f"the body is not what is asked for: {e}") from e
    else:
        try:
            kql = msgspec.json.decode(body, type=_Query).query
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise HTTPException(400, f"the body is not what is asked for: {e}") from e
    q = request.query_params
    timespan = q.get("timespan", TIMESPANS[0])
    if timespan not in TIMESPANS:
        raise HTTPException(400, f"timespan: '{timespan[:20]}' is neither {' nor '.join(TIMESPANS)}")
    range_ = "".join(
        f"let {name} = datetime({moment(key, q[key], now):%Y-%m-%dT%H:%M:%S.%fZ});"
        for key, name in (("from", START), ("to", END))
        if key in q
    )
    return Asked(kql=f"{range_}\n{kql}" if range_ else kql, seconds=timespan == "seconds", added=1 if range_ else 0)


def moment(key: str, text: str, now: datetime) -> datetime:
    """A time of the parameter ``key`` as ``moment_of`` reads it, or milliseconds since the epoch, as Grafana's ``${__from}`` gives it. Raises
    HTTPException.
    """
    try:
        if text.isdecimal() and len(text) <= 15:
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        return moment_of(text, now)
    except (TocsinError, ValueError, OverflowError) as e:
        raise HTTPException(400, f"{key}: {e}") from e

"""What the server sends: JSON with times in UTC, RFC 9457 problems, and the way back from a form."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from tocsin.model.text.timespans import kql_text
from tocsin.turns import turn
from tocsin.web.ports import ColumnInfo, Row

SCRIPT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_CHUNK = 200
"""Rows encoded at once: a large answer never stands whole in memory as text."""


def plain(value: Any) -> Any:
    """``value`` of what JSON knows. Times end in Z, timespans are KQL's ``d.hh:mm:ss``, NaN and infinities null."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, timedelta):
        return kql_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)


def in_seconds(rows: Sequence[Row]) -> list[Row]:
    """``rows`` with timespans as seconds."""
    return [
        {name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in row.items()}
        for row in rows
    ]


def encode(value: Any) -> bytes:
    """JSON text of anything ``plain`` takes."""
    return msgspec.json.encode(plain(value))


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode(value), status, dict(headers or {}), media_type="application/json")


def scripted(page: Response) -> Response:
    """``page``, on which our own scripts may run."""
    page.headers["Content-Security-Policy"] = SCRIPT_POLICY
    return page


def rows_answer(columns: Sequence[ColumnInfo], rows: Sequence[Row]) -> Response:
    """``{"columns": […], "rows": [{…}]}``, streamed."""

    def parts() -> Iterator[bytes]:
        yield b'{"columns":' + encode(list(columns)) + b',"rows":['
        for start in range(0, len(rows), _CHUNK):
            with turn():
                text = encode(list(rows[start : start + _CHUNK]))[1:-1]
            yield (b"," if start else b"") + text
        yield b"]}"

    return StreamingResponse(parts(), media_type="application/json")


def problem(
    status: int, title: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """An ``application/problem+json`` response (RFC 9457). ``detail`` says what would be right."""
    body = {"type": "about:blank", "title": title, "status": status, **({"detail": detail} if detail else {}), **more}
    return Response(encode(body), status, dict(headers or {}), media_type="application/problem+json")


# -- what was done -----------------------------------------------------------------------------------------------------

_SAID = "tocsin_said"
"""A cookie with what the last form did, shown once. An address holds no text that a page would show as tocsin's own."""
_MOST_SAID = 3_000  # bytes of the cookie, of which browsers keep 4,096


def local(to: str, otherwise: str = "/") -> str:
    """``to`` where it is a page of ours, else ``otherwise``."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) else otherwise


def said_at(to: str, said: str) -> Response:
    """Go to ``to``, a page of ours, which says what was done."""
    answer = RedirectResponse(local(to), 303)
    while len(kept := quote(said)) > _MOST_SAID:
        said = said[: len(said) * 3 // 4] + "…"
    answer.set_cookie(_SAID, kept, max_age=60, httponly=True, samesite="lax")
    return answer


def said_to(request: Request) -> str:
    """What the reader's last form did; '' where the page says nothing of it."""
    return unquote(request.cookies.get(_SAID, ""))


def forget_said(request: Request, answer: Response) -> None:
    """It was shown."""
    if _SAID in request.cookies:
        answer.delete_cookie(_SAID, httponly=True, samesite="lax")

"""Puts guard, API, pages and the intake's routes together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from tocsin.errors import TocsinError
from tocsin.web.access.sessions import Sessions
from tocsin.web.api import Api, Asker, fault
from tocsin.web.console import Console
from tocsin.web.guard import Guard
from tocsin.web.links import LinkPages
from tocsin.web.pages import Pages
from tocsin.web.ports import AppPorts
from tocsin.web.runs.pages import RunPages
from tocsin.web.sections.intake import IntakePages
from tocsin.web.sections.oncall import OnCallPages
from tocsin.web.sections.open import OpenPages
from tocsin.web.sections.query import QueryPages


def build(app: AppPorts, local_token: str = "") -> ASGIApp:
    """The whole server."""
    ask, sessions = Asker(app), Sessions(app.kept / "sessions.json")
    pages = Pages(ask, sessions)
    console = Console(ask, pages.page)

    async def failed(request: Request, e: Exception) -> Response:
        answer = fault(request, e)
        path = request.url.path
        if path.startswith(("/api/", "/intake/")) or "text/html" not in request.headers.get("accept", ""):
            return answer
        if isinstance(e, HTTPException):
            title, detail = ("Not found" if e.status_code == 404 else "The request is wrong"), e.detail
        elif isinstance(e, TocsinError):
            title, detail = "Not now", str(e)
        else:
            title, detail = "Something broke inside tocsin", "Its log says what."
        return pages.trouble(request, answer.status_code, title, detail)

    inner = Starlette(
        routes=[
            *app.intake_routes(),
            *Api(ask).routes(),
            *pages.routes(),
            *console.routes(),
            *OpenPages(console).routes(),
            *OnCallPages(ask, pages.page).routes(),
            *RunPages(ask, pages.page).routes(),
            *IntakePages(ask, pages.page).routes(),
            *QueryPages(ask, pages.page).routes(),
            *LinkPages(ask, pages.page).routes(),
        ],
        exception_handlers={HTTPException: failed, TocsinError: failed, Exception: failed},
    )
    inner.router.redirect_slashes = False  # a program that asks for /runs/ is notified so, not sent elsewhere
    return Guard(inner, app, sessions, local_token)

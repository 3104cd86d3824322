"""Pages of signed links: a GET shows what one permits, a POST does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.app.views.acting import NoSuchAlert
from tocsin.model.text.signed import BadLink, Permit, Unsubscribe
from tocsin.notify.routing.matchers import Op, matcher, text_of
from tocsin.web.api import Asker
from tocsin.web.console import form_of
from tocsin.web.guard import LINKS


class LinkPages:
    """Handlers over what ``Pages`` renders."""

    def __init__(self, ask: Asker, page: Callable[..., Response]) -> None:
        self._ask, self._app, self._page = ask, ask.app, page

    def routes(self) -> list[BaseRoute]:
        """The one route."""
        return [Route(f"{LINKS}{{token}}", self._link, methods=["GET", "POST"])]

    async def _link(self, request: Request) -> Response:
        permit = self._permit(request)
        if isinstance(permit, Unsubscribe):
            return await self._unsubscribe(request, permit)
        done: dict[str, Any] | None = None
        try:
            if request.method == "POST":
                done = await self._ask(lambda: self._app.acting.act(permit.kind, permit.alert, permit.by, via="link"))
            alert = await self._ask(lambda: self._app.acting.alert(permit.alert))
        except NoSuchAlert as e:
            raise HTTPException(404, "there is no such alert any more") from e
        return self._page("link", request, alert=alert, kind=permit.kind.value, by=permit.by, done=done)

    async def _unsubscribe(self, request: Request, permit: Unsubscribe) -> Response:
        """A POST is enough (RFC 8058: ``List-Unsubscribe=One-Click``); one with ``undo`` subscribes again."""
        acting = self._app.acting
        about = {"rule": text_of([matcher("rule", Op.EQUAL, permit.rule)])}
        if permit.experiment:
            about["experiment"] = text_of([matcher("ExperimentName", Op.EQUAL, permit.experiment)])
        if request.method == "POST":
            form = await form_of(request)
            what = about.get(form.get("what", ""), about["rule"])
            undo = form.get("undo", "") == "1"
            await self._ask(lambda: acting.unsubscribe(what, permit.by, undo=undo, via="link"))
        muted = {what: await self._ask(acting.unsubscribed, text, permit.by) for what, text in about.items()}
        names = {"rule": f"rule {permit.rule}", "experiment": f"runs of {permit.experiment}"}
        return self._page("unsubscribe", request, by=permit.by, muted=muted, names=names)

    def _permit(self, request: Request) -> Permit | Unsubscribe:
        try:
            return self._app.links.read(request.path_params["token"], self._app.clock.now())
        except BadLink as e:
            raise HTTPException(410 if "expired" in str(e) else 404, str(e)) from e

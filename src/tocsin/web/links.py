"""Pages of signed links: a GET shows what one permits, a POST does it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.app.views.acting import NoSuchAlert
from tocsin.model.active import ActionKind
from tocsin.model.text.signed import BadLink, Permit, Unsubscribe
from tocsin.notify.routing.matchers import Op, matcher, text_of
from tocsin.web.api import Asker
from tocsin.web.console import form_of, length_of, silence_of
from tocsin.web.guard import LINKS

VERBS = {
    "acknowledge": "acknowledged", "snooze": "snoozed", "assign": "assigned", "comment": "commented on",
    "silence": "silenced",
}  # fmt: skip
"""What the link of a message permits its reader to do with its alert, and how it is said that it was done."""
LENGTHS = ("30m", "1h", "2h", "8h", "1d")
LONGEST = timedelta(days=1)


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
        said = ""
        try:
            if request.method == "POST":
                said = await self._act(permit, await form_of(request))
            alert = await self._ask(lambda: self._app.acting.alert(permit.alert))
        except NoSuchAlert as e:
            raise HTTPException(404, "there is no such alert any more") from e
        return self._page(
            "link", request, alert=alert, by=permit.by, said=said, lengths=LENGTHS, silence=silence_of(alert)
        )

    async def _act(self, permit: Permit, form: dict[str, str]) -> str:
        """Do what the form says, as the reader of the message; a bare POST acknowledges. What was done, in words."""
        verb, text, acting = form.get("verb", permit.kind.value), form.get("text", "").strip(), self._app.acting
        if verb not in VERBS or (verb in ("assign", "comment") and not text):
            raise HTTPException(400, "say what to do: " + ", ".join(VERBS) + "; assign and comment need a text")
        lasts = length_of(form.get("for", "2h"))
        if lasts > LONGEST:
            raise HTTPException(400, "a link snoozes and silences for a day at most; the alert's page does longer")
        until = self._app.clock.now() + lasts
        if verb == "silence":
            alert = await self._ask(lambda: acting.alert(permit.alert))
            await self._ask(lambda: acting.add_silence(silence_of(alert), None, until, permit.by, text, via="link"))
            return f"silenced by {permit.by}"
        kind = ActionKind(verb)
        done = await self._ask(
            lambda: acting.act(
                kind, permit.alert, permit.by, until=until if verb == "snooze" else None, text=text, via="link"
            )
        )
        return f"{VERBS[verb]} by {permit.by}" if done["Done"] else ""

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

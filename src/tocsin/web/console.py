"""Pages on which people act: what is open now, one alert, silences. Plain forms: no script is needed, nor allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tocsin.app.views.acting import NoSuchAlert, NoSuchMessage
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import TocsinError
from tocsin.model.active import ActionKind, PreferenceKind
from tocsin.notify.routing.matchers import Op, matcher, text_of
from tocsin.web.answers import said_at
from tocsin.web.api import Asker
from tocsin.web.guard import caller

SHOWN = 50
"""Active alerts on the first page; the others are counted."""
BY = "tocsin_by"
"""Cookie: under which name this browser acts."""
LENGTHS = ("30m", "1h", "2h", "8h", "1d", "7d")
_LONGEST = timedelta(days=366)
_YEAR = 31_536_000


class Console:
    """Handlers over what ``Pages`` renders."""

    def __init__(self, ask: Asker, page: Callable[..., Response]) -> None:
        self.ask, self._app, self.page = ask, ask.app, page

    def routes(self) -> list[BaseRoute]:
        """A route a page, and one a form."""
        return [
            Route("/alerts/{id}", self._alert),
            Route("/alerts/{id}/silence", self._silence, methods=["GET", "POST"]),
            Route("/alerts/{id}/mute", self._mute, methods=["POST"]),
            Route("/alerts/{id}/{verb}", self._act, methods=["POST"]),
            Route("/subscriptions", self._subscriptions, methods=["GET", "POST"]),
            Route("/subscriptions/{id}/end", self._end, methods=["POST"]),
            Route("/silences", self._silences),
            Route("/silences/{id}/expire", self._expire, methods=["POST"]),
            Route("/notifications/{id}/resend", self._resend, methods=["POST"]),
        ]

    # -- an alert ------------------------------------------------------------------------------------------------------

    async def _alert(self, request: Request) -> Response:
        alert = await self._found(request)
        return self.page(
            "alert", request, alert=alert, by=self.by(request), people=self.people(), lengths=LENGTHS,
            silence=silence_of(alert),
        )  # fmt: skip

    async def _act(self, request: Request) -> Response:
        try:
            kind = ActionKind(request.path_params["verb"])
        except ValueError as e:
            raise HTTPException(404, "there is no such form") from e
        form = await form_of(request)
        by = self.who(request, form)
        until = self._app.clock.now() + length_of(form.get("for", "")) if kind is ActionKind.SNOOZE else None
        id_ = request.path_params["id"]
        if form.get("groups") == "1":
            acting = self._app.acting
            said = await self.ask(lambda: acting.act_all(kind, acting.of_groups([id_]), by, via="page"))
            return back(
                f"/alerts/{id_}", f"{said['Done']} acknowledged." if kind is ActionKind.ACKNOWLEDGE else "Done.", by
            )
        try:
            done = await self.ask(
                lambda: self._app.acting.act(kind, id_, by, until=until, text=form.get("text", "").strip(), via="page")
            )
        except NoSuchAlert as e:
            raise HTTPException(404, str(e)) from e
        return back(form.get("back", "") or f"/alerts/{done['AlertId']}", _said(done), by)

    # -- silences ------------------------------------------------------------------------------------------------------

    async def _silence(self, request: Request) -> Response:
        """GET shows what it would hide, POST sets it."""
        alert = await self._found(request)
        form = await form_of(request) if request.method == "POST" else dict(request.query_params)
        matchers = form.get("matchers", "") or silence_of(alert)
        error = ""
        if request.method == "POST":
            by = self.who(request, form)
            end = self._app.clock.now() + length_of(form.get("for", ""))
            try:
                comment = form.get("comment", "")
                await self.ask(lambda: self._app.acting.add_silence(matchers, None, end, by, comment, via="page"))
                return back(f"/alerts/{alert['AlertId']}", "Silenced.", by)
            except TocsinError as e:
                error = str(e)
        preview: dict[str, Any] = {}
        try:
            preview = dict(await self.ask(lambda: self._app.acting.preview(matchers)))
        except TocsinError as e:
            error = error or str(e)
        return self.page(
            "silence", request, 400 if error else 200, alert=alert, matchers=matchers, preview=preview, error=error,
            lengths=LENGTHS, by=self.by(request), people=self.people(), chosen=form.get("for", "2h"),
            comment=form.get("comment", ""),
        )  # fmt: skip

    async def _silences(self, request: Request) -> Response:
        rows = await self.ask(lambda: self._app.acting.silences(expired=True))
        active = [row for row in rows if row["State"] != "expired"]
        over = [row for row in reversed(rows) if row["State"] == "expired"][:SHOWN]
        return self.page("silences", request, silences=active, over=over)

    async def _expire(self, request: Request) -> Response:
        await form_of(request)
        id_ = request.path_params["id"]
        by = self.by(request)
        await self.ask(lambda: self._app.acting.expire_silence(id_, by=by, via="page"))
        return RedirectResponse("/silences", 303)

    async def _resend(self, request: Request) -> Response:
        """A message once more."""
        await form_of(request)
        try:
            made = await self.ask(lambda: self._app.acting.resend(request.path_params["id"]))
        except NoSuchMessage as e:
            raise HTTPException(404, str(e)) from e
        except TocsinError as e:
            raise HTTPException(400, str(e)) from e
        return RedirectResponse(f"/notifications/{made.id}", 303)

    # -- what people want for themselves -------------------------------------------------------------------------------

    async def _mute(self, request: Request) -> Response:
        """Mute the experiment of an alert, or its rule, for who asks."""
        alert = await self._found(request)
        form = await form_of(request)
        by = self.who(request, form)
        experiment = alert["Fields"].get("ExperimentName", "")
        about = ("ExperimentName", experiment) if experiment else ("rule", alert["Rule"])
        chosen = form.get("for", "")
        until = None if chosen == "" else self._app.clock.now() + length_of(chosen)
        matchers = text_of([matcher(about[0], Op.EQUAL, about[1])])
        await self._prefer(PreferenceKind.MUTE, by, matchers, until)
        return back(
            f"/alerts/{alert['AlertId']}", f"{by} is mailed about {about[1]} no more, but as who is on call.", by
        )

    async def _prefer(self, kind: PreferenceKind, by: str, matchers: str, until: datetime | None) -> None:
        address = self._app.address_of(by)
        try:
            await self.ask(lambda: self._app.acting.prefer(kind, address, matchers, by=by, via="page", until=until))
        except TocsinError as e:
            raise HTTPException(400, str(e)) from e

    async def _subscriptions(self, request: Request) -> Response:
        """GET lists them, POST adds one."""
        if request.method == "POST":
            form = await form_of(request)
            by = self.who(request, form)
            given = {"ExperimentName": form.get("experiment", "").strip(), "rule": form.get("rule", "").strip()}
            matchers = text_of([matcher(name, Op.EQUAL, value) for name, value in given.items() if value])
            kind = PreferenceKind.MUTE if form.get("kind") == "mute" else PreferenceKind.SUBSCRIBE
            await self._prefer(kind, by, matchers if any(given.values()) else "", None)
            return back("/subscriptions", "Done.", by)
        rows = await self.ask(lambda: self._app.acting.preferences())
        return self.page("subscriptions", request, rows=rows, by=self.by(request), people=self.people())

    async def _end(self, request: Request) -> Response:
        await form_of(request)
        id_ = request.path_params["id"]
        by = self.by(request)
        await self.ask(lambda: self._app.acting.take_back(id_, by=by, via="page"))
        return RedirectResponse("/subscriptions", 303)

    # -- who -----------------------------------------------------------------------------------------------------------

    async def _found(self, request: Request) -> dict[str, Any]:
        try:
            return dict(await self.ask(lambda: self._app.acting.alert(request.path_params["id"])))
        except NoSuchAlert as e:
            raise HTTPException(404, "there is no such alert any more") from e

    def people(self) -> list[str]:
        """Names that may stand in a form."""
        return sorted(self._app.people)

    def by(self, request: Request) -> str:
        """Under which name the reader acted last, or the token's."""
        return unquote(request.cookies.get(BY, ""))[:200] or caller(request)

    def who(self, request: Request, form: Mapping[str, str]) -> str:
        """Who sends ``form``. Raises HTTPException where nobody says it."""
        by = form.get("by", "").strip()[:200] or self.by(request)
        if not by:
            raise HTTPException(400, "say who you are: a name or an address")
        return by


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name. Raises HTTPException."""
    try:
        found = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError as e:
        raise HTTPException(400, "the form has too many fields") from e
    return {name: values[0] for name, values in found.items()}


def length_of(text: str) -> timedelta:
    """What a form calls a length. Raises HTTPException."""
    try:
        found = parse_duration(text)
    except ValueError as e:
        raise HTTPException(400, f"'{text[:20]}' is not a length; write 2h") from e
    if not timedelta(0) < found <= _LONGEST:
        raise HTTPException(400, f"'{text[:20]}' is not between now and a year")
    return found


def _said(done: dict[str, Any]) -> str:
    if done["Done"]:
        return "Done."
    if done["EndedAt"] is not None:
        return "Nothing was changed: the alert has ended."
    return f"Nothing was changed: {done['AcknowledgedBy']} has it already."


def back(to: str, said: str, by: str) -> Response:
    """Go to ``to``, a page of ours, which says what was done; the browser keeps who did it."""
    answer = said_at(to, said)
    answer.set_cookie(BY, quote(by), max_age=_YEAR, httponly=True, samesite="lax")
    return answer


def silence_of(alert: dict[str, Any]) -> str:
    """Matchers of the alert's rule and experiment: what comes next of the same is hidden too."""
    fields = {"rule": alert["Rule"], "ExperimentName": alert["Fields"].get("ExperimentName", "")}
    return text_of([matcher(name, Op.EQUAL, value) for name, value in fields.items() if value])

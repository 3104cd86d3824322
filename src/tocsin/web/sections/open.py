"""Open alerts as a list to choose from: several are acknowledged, assigned, silenced or closed at once, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tocsin.model.active import ActionKind
from tocsin.notify.routing.matchers import Op, matcher, text_of
from tocsin.web.answers import said_at
from tocsin.web.console import Console, back

SHOWN = 200
"""Alerts on the page."""
_READ = 1000
"""The worst alerts, among which a filter chooses."""
_VERBS = {ActionKind.ACKNOWLEDGE: "acknowledged", ActionKind.ASSIGN: "assigned", ActionKind.CLOSE: "closed"}


class OpenPages:
    """Handlers over what ``Console`` knows of who acts."""

    def __init__(self, console: Console) -> None:
        self._console, self._ask, self._app = console, console.ask, console.ask.app

    def routes(self) -> list[BaseRoute]:
        """The page and its form."""
        return [Route("/open", self._open), Route("/open", self._act, methods=["POST"])]

    async def _open(self, request: Request) -> Response:
        asked = {name: request.query_params.get(name, "").strip()[:200] for name in ("rule", "search")}
        found = await self._ask(lambda: self._app.acting.alerts(limit=_READ, worst=True))
        rows = [row for row in found if _fits(row, asked)]
        total = await self._ask(self._app.acting.count)
        return self._console.page(
            "open", request, alerts=rows[:SHOWN], found=len(rows), total=total, asked=asked,
            every=request.query_params.get("every") == "1",
            by=self._console.by(request), people=self._console.people(),
        )  # fmt: skip

    async def _act(self, request: Request) -> Response:
        try:
            form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=SHOWN + 20)
        except ValueError as e:
            raise HTTPException(400, f"choose at most {SHOWN} alerts") from e
        ids = form.get("id", [])
        given = {name: values[0] for name, values in form.items()}
        here = "/open?" + urlencode({name: given[name] for name in ("rule", "search") if given.get(name)})
        if given.get("verb") == "silence":
            return await self._silence(ids, here)
        try:
            kind = ActionKind(given.get("verb", ""))
            done = _VERBS[kind]
        except (ValueError, KeyError) as e:
            raise HTTPException(400, f"'{given.get('verb', '')[:20]}' is none of {', '.join(_VERBS)}, silence") from e
        by = self._console.who(request, given)
        to = given.get("to", "").strip()
        if not ids or (kind is ActionKind.ASSIGN and not to):
            return back(here, "Nothing was changed: choose alerts" + (" and say to whom" if ids else "") + ".", by)
        said = await self._ask(lambda: self._app.acting.act_all(kind, ids, by, text=to, via="page"))
        rest = f"; {said['NotDone']} were taken already or have ended" if said["NotDone"] else ""
        return back(here, f"{said['Done']} {done}{rest}.", by)

    async def _silence(self, ids: Sequence[str], here: str) -> Response:
        """To the form, with what all that were chosen have in common."""
        rows = {
            row["AlertId"]: row for row in await self._ask(lambda: self._app.acting.alerts(limit=_READ, worst=True))
        }
        chosen = [rows[id_] for id_ in ids if id_ in rows]
        common = _common(chosen)
        if not common:
            why = "they have no field in common that a silence could match" if chosen else "choose alerts"
            return said_at(here, f"Nothing was silenced: {why}.")
        matchers = text_of([matcher(name, Op.EQUAL, value) for name, value in common.items()])
        return RedirectResponse(f"/alerts/{chosen[0]['AlertId']}/silence?{urlencode({'matchers': matchers})}", 303)


def _fits(row: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    text = f"{row['Title']} {row['RunId']} {row['Fields'].get('ExperimentName', '')}".lower()
    return (not asked["rule"] or row["Rule"] == asked["rule"]) and asked["search"].lower() in text


def _common(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Fields with the same value in all; of one alert alone its rule and experiment."""
    if not rows:
        return {}
    first = {"rule": rows[0]["Rule"], **rows[0]["Fields"]}
    if len(rows) == 1:
        first = {name: first[name] for name in ("rule", "ExperimentName") if name in first}
    first.pop("severity", None)  # it may rise
    every = [{"rule": row["Rule"], **row["Fields"]} for row in rows]
    return {name: value for name, value in first.items() if value and all(e.get(name) == value for e in every)}

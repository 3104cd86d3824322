"""Handlers of the pages of runs. All work without a script; scripts make plots larger and logs go on by themselves."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, quote

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.app.runs.actions import NoSuchRun
from tocsin.app.runs.curves import MOST_NAMES
from tocsin.app.runs.find import MOST, tag_of
from tocsin.app.runs.tree import lines, tree
from tocsin.errors import StoreError, TocsinError
from tocsin.model.statuses import STATUS_WORDS, TERMINAL
from tocsin.web.answers import local, said_at, scripted
from tocsin.web.api import Asker
from tocsin.web.pages import cell, span
from tocsin.web.runs import markdown
from tocsin.web.runs.asked import COLUMNS, ListAsked
from tocsin.web.runs.files import FilePages
from tocsin.web.runs.live import LiveRun
from tocsin.web.runs.plots import folded, plots

MOST_COMPARED: Final = 20
"""Runs that are compared at once."""


class RunPages:
    """Handlers over what ``Pages`` renders."""

    def __init__(self, ask: Asker, page: Callable[..., Response]) -> None:
        self._ask, self._app, self._page = ask, ask.app, page
        self._files = FilePages(ask, self._scripted)

    def routes(self) -> list[BaseRoute]:
        """A route a page, and one for forms."""
        return [
            Route("/runs", self._runs),
            Route("/runs.csv", self._csv),
            Route("/runs/{id:path}", self._run),
            Route("/compare", self._compare),
            Route("/run/{verb}", self._act, methods=["POST"]),
            *self._files.routes(),
            *LiveRun(self._ask).routes(),
        ]

    def _scripted(self, name: str, request: Request, code: int = 200, **context: Any) -> Response:
        """A page on which our own scripts may run."""
        return scripted(self._page(name, request, code, **context))

    async def _runs(self, request: Request) -> Response:
        asked = ListAsked.of(request.query_params, self._app.clock.now())
        rows = await self._ask(self._app.runs, asked.asked)
        choices = await self._ask(self._app.choices)
        ids = [row["RunId"] for row in rows[: asked.limit]]
        curves = await self._ask(self._app.curves, ids, asked.charts) if asked.charts else []
        drawn = list(dict.fromkeys(c.run for c in curves))[:MOST_COMPARED]
        return (self._scripted if drawn else self._page)(
            "runs", request, plots=folded(plots([c for c in curves if c.run in drawn], drawn)), drawn=drawn,
            views=await self._ask(self._app.run_views.all), runs=rows[: asked.limit], more=len(rows) > asked.limit, asked=asked, all_columns=COLUMNS,
            statuses=sorted(STATUS_WORDS), choices=choices, terminal=TERMINAL,
        )  # fmt: skip

    async def _csv(self, request: Request) -> Response:
        """The list's runs as a table for a spreadsheet: its filters, order and columns, all pages up to MOST runs."""
        asked = ListAsked.of(request.query_params, self._app.clock.now())
        rows = await self._ask(self._app.runs, replace(asked.asked, limit=MOST, offset=0))
        text = io.StringIO()
        table = csv.writer(text)
        names = ("RunId", *asked.columns)
        table.writerow(names)
        table.writerows([_harmless(cell(row[name])) for name in names] for row in rows)
        how = {"Content-Disposition": 'attachment; filename="runs.csv"'}
        return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=how)

    async def _run(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        mark, _ = await self._ask(self._app.run_mark, id_)  # before the rest: what comes meanwhile counts as new
        found = await self._ask(self._app.run, id_)
        if found is None:
            raise HTTPException(404, "there is no such run")
        run = found["run"]
        family = await self._ask(self._app.family, run["RootRunId"])
        logged = await self._ask(self._app.logged, id_)
        names = [row["Name"] for row in logged if row["Numbers"]]
        curves = await self._ask(self._app.curves, [id_], names)
        kept = await run_sync(self._app.run_actions.folders.find, id_)
        files = [] if kept is None else await run_sync(kept.files)
        return self._scripted(
            "run", request, **found, mark=mark, tree=tree(family, id_), family=len(family), logged=logged[:MOST_NAMES],
            cut=len(logged) > MOST_NAMES, plots=folded(plots(curves, [id_])), kept=kept is not None, files=files,
            described=markdown.html(run["Description"], id_), periods=_periods(found["events"], run, self._app.clock.now()),
            over=run["Status"] in TERMINAL,
        )  # fmt: skip

    async def _compare(self, request: Request) -> Response:
        ids = list(dict.fromkeys(request.query_params.getlist("run")))
        if len(ids) > MOST_COMPARED:
            raise HTTPException(400, f"at most {MOST_COMPARED} runs are compared at once; these are {len(ids)}")
        runs = [found["run"] for id_ in ids if (found := await self._ask(self._app.run, id_)) is not None]
        ids = [run["RunId"] for run in runs]
        logged = {id_: await self._ask(self._app.logged, id_) for id_ in ids}
        names = sorted({row["Name"] for rows in logged.values() for row in rows if row["Numbers"]})
        curves = await self._ask(self._app.curves, ids, names)
        last = [{row["Name"]: _last(row) for row in logged[id_]} for id_ in ids]
        return self._scripted(
            "compare", request, runs=runs, plots=folded(plots(curves, ids)),
            facts=lines([_facts(run) for run in runs]), tags=lines([run["Tags"] for run in runs]),
            properties=lines([run["Properties"] for run in runs]), metrics=lines(last), hidden=max(0, len(names) - MOST_NAMES),
        )  # fmt: skip

    # -- acts ----------------------------------------------------------------------------------------------------------

    async def _act(self, request: Request) -> Response:
        verb = request.path_params["verb"]
        form = await _form(request)
        ids = form.get("run", [])[:100]
        if verb in ("save-view", "remove-view"):
            return await self._view(verb, form)
        back = (form.get("back") or [""])[0] or (f"/runs/{quote(ids[0], safe='')}" if len(ids) == 1 else "/runs")
        if not ids:
            return said_at(local(back, "/runs"), "Nothing was changed: no run is selected.")
        try:
            return said_at(local(back, "/runs"), await self._done(verb, ids, form))
        except NoSuchRun as e:
            raise HTTPException(404, str(e)) from e

    async def _view(self, verb: str, form: dict[str, list[str]]) -> Response:
        name, address = (form.get("name") or [""])[0], local((form.get("back") or [""])[0], "/runs")
        try:
            if verb == "save-view":
                await self._ask(self._app.run_views.save, name, address)
                return said_at(address, "View saved: everybody finds it here.")
            await self._ask(self._app.run_views.remove, name)
        except StoreError:
            raise
        except TocsinError as e:
            raise HTTPException(400, str(e)) from e
        return said_at(address, "View removed.")

    async def _done(self, verb: str, ids: Sequence[str], form: dict[str, list[str]]) -> str:
        """What became of it, in a sentence."""
        acts = self._app.run_actions
        texts = [text for text in form.get("tag", []) if text.strip()]
        keys = form.get("key", [])  # as they stand, '=' among them too
        if verb == "describe":
            await acts.describe(ids[0], (form.get("text") or [""])[0])
            return "Described."
        if verb == "cancel":
            said = []
            for id_ in ids:
                try:
                    said.append(f"{id_}: {await acts.cancel(id_)}.")
                except NoSuchRun:
                    raise
                except TocsinError as e:
                    said.append(f"Not canceled: {e}.")
            return " ".join(said)
        if verb in ("tag", "untag"):
            if not texts and not keys:
                return "Nothing was changed: write a tag, for example team=ranking."
            pairs = [tag_of(text) for text in texts]
            for id_ in ids:
                if verb == "tag":
                    await acts.tag(id_, dict(pairs))
                else:
                    await acts.tag(id_, {}, keys or [key for key, _ in pairs])
            return f"{'Tagged' if verb == 'tag' else 'Tag removed'}: {len(ids)} run{'s' if len(ids) > 1 else ''}."
        raise HTTPException(404, "there is no such form")


def _harmless(text: str) -> str:
    """``text`` that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _last(row: dict[str, Any]) -> Any:
    if row["Last"] is not None:
        return f"{row['Last']:.6g}"
    return row["LastText"] or None


def _facts(run: dict[str, Any]) -> dict[str, Any]:
    names = (
        "ExperimentName",
        "Status",
        "Target",
        "RunType",
        "TriggeringUserName",
        "DurationMs",
        "ErrorCode",
        "Message",
    )
    shown = run | {"DurationMs": span(run["DurationMs"])}
    return {COLUMNS.get(name, name): shown[name] for name in names if shown[name] not in (None, "")}


def _periods(events: Sequence[dict[str, Any]], run: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Statuses one after the other with their share of the whole time, at least one in a hundred each."""
    changes: list[tuple[str, datetime]] = []
    for event in events:
        if not changes or changes[-1][0] != event["Status"]:
            changes.append((event["Status"], event["TimeGenerated"]))
    if not changes:
        return []
    end = changes[-1][1] if changes[-1][0] in TERMINAL else max(now, changes[-1][1])
    times = [*(at for _, at in changes), end]
    whole = max((end - changes[0][1]).total_seconds(), 1e-6)
    out, at = [], 0.0
    for (status, start), until in zip(changes, times[1:], strict=True):
        seconds = max((until - start).total_seconds(), 0.0)
        share = max(100 * seconds / whole, 1.0)
        out.append({"status": status, "start": start, "ms": int(seconds * 1000), "x": at, "width": share})
        at += share
    return out


async def _form(request: Request) -> dict[str, list[str]]:
    try:
        return parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=300)
    except ValueError as e:
        raise HTTPException(400, "the form has too many fields") from e

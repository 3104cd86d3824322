"""Pages for people: server-rendered, whole without scripts, nothing from elsewhere, readable on a phone, light and dark."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tocsin import __version__
from tocsin.app.runs.find import RunsAsked
from tocsin.config.project.tokens import Role
from tocsin.errors import QueryError
from tocsin.model.active import AuditKind
from tocsin.model.text.timespans import spoken
from tocsin.web import mailview
from tocsin.web.access.credentials import COOKIE, session_word
from tocsin.web.access.sessions import LASTS, Logins, Sessions
from tocsin.web.answers import forget_said, plain, said_to, scripted
from tocsin.web.api import Asker, find_mail, find_rule, limit, mail_state
from tocsin.web.console import SHOWN
from tocsin.web.guard import address_of, from_elsewhere
from tocsin.web.openapi import STATES
from tocsin.web.runs import day

_OPEN_SHOWN = 8
"""Open alerts on the first page: all of it is seen at one glance."""
_COUNTS = "Runs | summarize N = count() by Status | order by N desc"

ASSETS = ("tocsin.css", "live.js", "runs.js", "vendor/htmx.min.js", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css")
"""Files below /assets/, by their last part."""
_LIVE = frozenset({"overview", "open", "alerts", "runs", "notifications", "consumers"})
"""Pages that are asked for again while they are looked at."""


class Pages:
    """Handlers of the pages."""

    def __init__(self, ask: Asker, sessions: Sessions) -> None:
        self._ask, self._app, self._sessions, self._logins = ask, ask.app, sessions, Logins()
        self._env = Environment(
            loader=PackageLoader("tocsin.web", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.filters.update(when=self._when, cell=cell, web=web_address, span=span, weekday=weekday)
        pages = resources.files("tocsin.web") / "pages"
        self._assets = {file.rpartition("/")[2]: (pages / file).read_bytes() for file in ASSETS}
        self._versions = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in self._assets.items()}
        self._env.globals["asset"] = lambda name: f"/assets/{name}?v={self._versions[name]}"

    def routes(self) -> list[BaseRoute]:
        """A route a page."""
        return [
            Route("/", self._overview),
            Route("/notifications", self._notifications),
            Route("/notifications/{id}", self._notification),
            Route("/alerts", self._alerts),
            Route("/rules", self._rules),
            Route("/rules/{name}", self._rule),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/assets/{name}", self._asset),
        ]

    async def _overview(self, request: Request) -> Response:
        ready, detail = await self._ask(self._app.ready)
        try:
            _, counts = await self._ask.query(_COUNTS)
            _, reached = await self._ask.query(day.RUNS)
            _, fired = await self._ask.query(day.ALERTS)
        except QueryError:
            counts = reached = fired = []  # a slow store leaves the page without numbers, not without itself
        acting = self._app.acting
        active = await self._ask(lambda: acting.alerts(limit=SHOWN, worst=True))
        more = await self._ask(acting.count) - len(active) if len(active) == SHOWN else 0
        alerts = await self._ask(self._app.alerts, 10)
        mails = await self._ask(self._app.mails, 6)
        runs = await self._ask(self._app.runs, RunsAsked(limit=10))
        return self.page(
            "overview", request, names=await self._names([*active, *alerts]), ready=ready, degraded=detail["degraded"], counts=counts, alerts=alerts,
            detail=_flat({name: value for name, value in detail.items() if name != "degraded"}),
            mails=[mailview.row(m) for m in mails], runs=runs, url=self._app.settings.http.url,
            active=active, more=more, shown=_OPEN_SHOWN, severities=Counter(a["Severity"] for a in active).most_common(),
            day=day.strip(reached, fired, self._app.clock.now()), oncall=await self._ask(self._app.oncall_calendars, 1),
        )  # fmt: skip

    async def _notifications(self, request: Request) -> Response:
        address, state = request.query_params.get("address", ""), mail_state(request)
        mails = await self._ask(self._app.mails, limit(request), address, state)
        local = self._app.settings.smtp.host is None
        return self.page(
            "notifications",
            request,
            mails=[mailview.row(m) for m in mails],
            address=address,
            state=state,
            states=STATES,
            local=local,
            bad=await self._ask(self._app.bad_addresses),
        )

    async def _notification(self, request: Request) -> Response:
        mail = mailview.whole(await find_mail(self._ask, request))
        return self.page("notification", request, mail=mail)

    async def _alerts(self, request: Request) -> Response:
        q = request.query_params
        rule, run = q.get("rule", ""), q.get("run", "")
        rows = await self._ask(self._app.alerts, limit(request), rule, run)
        return self.page("alerts", request, alerts=rows, rule=rule, run=run, names=await self._names(rows))

    async def _names(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """How runs of these rows are called, by their ids."""
        ids = list({row["RunId"] for row in rows if row["RunId"]})
        return await self._ask(self._app.run_names, ids) if ids else {}

    async def _rules(self, request: Request) -> Response:
        return self.page("rules", request, rules=await self._ask(self._app.rules_status))

    async def _rule(self, request: Request) -> Response:
        rule = await find_rule(self._ask, request)
        alerts = await self._ask(self._app.alerts, 20, rule["Rule"])
        return self.page(
            "rule",
            request,
            rule=rule,
            facts=_facts(rule["Explanation"]) if rule["Explanation"] else [],
            alerts=alerts,
            names=await self._names(alerts),
        )

    async def _login(self, request: Request) -> Response:
        target = _local(request.query_params.get("next", "/"))
        if request.method == "GET":
            return self.page("login", request, wrong="", next=target)
        self._same_site(request)
        address, now = address_of(request.scope), self._app.clock.monotonic()
        if (wait := self._logins.wait(address, now)) > 0:
            again = {"Retry-After": str(math.ceil(wait))}
            wrong = f"Too many logins failed. Try again in {math.ceil(wait)} s."
            return self.page("login", request, 429, headers=again, wrong=wrong, next=target)
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
        token = self._app.tokens.find((form.get("token") or [""])[0].strip())
        if token is None or not token.opens(Role.VIEWER, self._app.clock.now()):
            self._logins.failed(address, now)
            self._app.audit(AuditKind.LOGIN_FAILED, by=token.name if token else "", via="page", text=f"from {address}")
            wrong = "That token is not known, or its roles lack “viewer”."
            return self.page("login", request, 401, wrong=wrong, next=target)
        self._logins.done(address)
        self._app.audit(AuditKind.LOGIN, by=token.name, via="page", text=f"from {address}")
        answer = RedirectResponse(target, 303)
        word = self._sessions.begin(token, self._app.clock.now())
        answer.set_cookie(
            COOKIE,
            word,
            max_age=int(LASTS.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=self._secure(request),
        )
        return answer

    def _same_site(self, request: Request) -> None:
        """Raises HTTPException where another site's page would log somebody in or out."""
        if from_elsewhere(request.headers, self._app.settings.http.url):
            raise HTTPException(403, "another site's page may not do this")

    def _secure(self, request: Request) -> bool:
        """Whether browsers reach it by https, directly or through a proxy that base_url names."""
        return request.url.scheme == "https" or self._app.settings.http.url.startswith("https:")

    async def _logout(self, request: Request) -> Response:
        self._same_site(request)
        word = session_word(request.headers)
        token = self._sessions.token(word, self._app.tokens, self._app.clock.now())
        self._sessions.end(word)
        if token is not None:
            self._app.audit(AuditKind.LOGOUT, by=token.name, via="page", text=f"from {address_of(request.scope)}")
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=self._secure(request))
        return answer

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._assets:
            raise HTTPException(404, "there is no such file")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        known = request.query_params.get("v") == self._versions[name]  # a page of another version asks for another
        age = "max-age=31536000, immutable" if known else "max-age=300"
        return Response(self._assets[name], media_type=kind, headers={"Cache-Control": age})

    def trouble(self, request: Request, status: int, title: str, detail: str) -> Response:
        """A page that says what is wrong."""
        return self.page("trouble", request, status, title=title, detail=detail)

    def page(
        self, name: str, request: Request, code: int = 200, *, headers: Mapping[str, str] | None = None, **context: Any
    ) -> Response:
        """The page made of the template ``name``."""
        template = self._env.get_template(f"{name}.html.j2")
        top = "/" + request.url.path.split("/")[1]
        again = ""
        chosen = "every" in request.query_params  # what opens meanwhile must not be chosen unseen
        if name in _LIVE and request.method == "GET" and code == 200 and not chosen:
            again = str(request.url.replace(scheme="", netloc=""))
        inside = bool(session_word(request.headers))
        now = self._app.clock.now()
        context.setdefault("said", said_to(request))
        html = template.render(here=top, again=again, version=__version__, now=now, inside=inside, **context)
        answer = HTMLResponse(html, code, headers=dict(headers or {}))
        forget_said(request, answer)
        return scripted(answer) if again else answer

    def _when(self, value: datetime | None) -> Markup:
        if value is None:
            return Markup("–")
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            moment.isoformat(), exact, ago(self._app.clock.now() - moment)
        )


def ago(d: timedelta) -> str:
    """How long ago, in one number: ``3 min ago``, ``in 2 h``."""
    seconds = abs(d.total_seconds())
    if seconds < 10:
        return "now"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            text = f"{int(seconds // size)} {unit}"
            return f"{text} ago" if d > timedelta(0) else f"in {text}"
    return "now"


def span(ms: int | None) -> str:
    """Milliseconds as ``6 h 12 min``."""
    if ms is None:
        return "–"
    seconds = ms // 1000
    if seconds < 60:
        return f"{ms / 1000:.1f} s" if seconds < 10 else f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds // 60 % 60:02} min"
    return f"{seconds // 86_400} d {seconds // 3600 % 24} h"


def weekday(date: str) -> str:
    """A date as ``Mon 30 Nov``."""
    return f"{datetime.fromisoformat(date):%a %-d %b}"


def cell(value: Any) -> str:
    """A value of a query's answer as text."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, timedelta):
        return spoken(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(plain(value), ensure_ascii=False, default=str)
    return str(value)


def web_address(url: str) -> str:
    """``url`` if a click on it is harmless, else ''."""
    try:
        return url if urlsplit(url).scheme in ("http", "https") else ""
    except ValueError:  # http://[::1
        return ""


def _local(target: str) -> str:
    """Where to go after the login: a path of ours, never another server."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


def _flat(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The state of each part as lines; parts of a part (one consumer of several) get a line each."""
    out = []
    for name, value in detail.items():
        if isinstance(value, Mapping) and value and all(isinstance(v, Mapping) for v in value.values()):
            out += [(f"{name}: {part}", _said(inner, part)) for part, inner in value.items()]
        else:
            out.append((name, _said(value)))
    return out


_WORDS = {
    "By": "By", "Carries": "Carries", "ForEach": "For each row of", "Collapse": "Collapses into", "Final": "Final only",
    "MaxEventAge": "Max event age", "Tables": "Tables",
}  # fmt: skip
"""Of an explanation, what is shown beside the query, and how it is called."""


def _facts(explanation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a rule is made of as (word, text); what says nothing is left out."""
    shown = [(word, explanation[key]) for key, word in _WORDS.items()]
    of_kind = {**explanation["Window"], **explanation["Waits"]}
    shown += [(key.replace("_", " ").capitalize(), value) for key, value in of_kind.items()]
    shown.append(("Prefilter", explanation["Prefilter"]))
    return [(word, _said(value)) for word, value in shown if value not in ("", "no", (), [])]


def _said(value: Any, name: str = "") -> str:
    """A value as words; what only repeats ``name`` or says nothing is left out."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{k.replace('_', ' ')} {cell(v)}" for k, v in value.items() if v not in ("", None, name, {}, [])
        )
    if isinstance(value, list | tuple):
        return ", ".join(cell(v) for v in value) or "none"
    return cell(value) or "–"


__all__ = ["Pages", "ago", "cell", "span", "web_address"]

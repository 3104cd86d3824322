"""The JSON API: one table of operations from which routes and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from anyio import CapacityLimiter, move_on_after, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.app.runs.actions import NoSuchRun
from tocsin.app.runs.find import RunsAsked, tag_of
from tocsin.errors import QueryBusy, QueryError, QueryTimeout, StoreError, TocsinError
from tocsin.logstore.interface import Limits
from tocsin.model.active import AuditKind
from tocsin.web import mailview
from tocsin.web.acting import ACTING, ActingApi
from tocsin.web.answers import answer, in_seconds, problem, rows_answer
from tocsin.web.asked import asked, whole_number
from tocsin.web.guard import LOCAL, caller
from tocsin.web.openapi import STATES, TIMESPANS, Operation, Parameter, document
from tocsin.web.ports import AppPorts, ColumnInfo, Row
from tocsin.web.sections.oncall import ONCALL, OnCallApi

T = TypeVar("T")
QUEUE = 100
"""Queries that may wait for a place."""
PATIENCE = 10.0
"""Seconds for which a query waits for one."""
MOST = 1000
"""Rows of the longest list."""

_LIMIT = Parameter(
    name="limit", doc="most rows", schema={"type": "integer", "minimum": 1, "maximum": MOST, "default": 100}
)
_TEXT = {"type": "string"}
_BAD = {400: "what is wrong with the request"}


def _by(name: str, doc: str) -> Parameter:
    return Parameter(name=name, doc=doc, schema=_TEXT)


_NONE = "there is no such notification"


def _get(path: str, id: str, summary: str, answer: str, *parameters: Parameter, **problems: str) -> Operation:
    found = {int(status.lstrip("_")): what for status, what in problems.items()}
    return Operation(
        method="GET", path=path, id=id, summary=summary, answer=answer, parameters=parameters,
        problems={**(_BAD if parameters else {}), **found},
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/api/v1/query",
        id="query",
        summary="Run a KQL query",
        body="Query",
        body_as_text="KQL",
        parameters=(
            _by("from", "`_startTime` in the query: a time, milliseconds since the epoch, or how long ago"),
            _by("to", "`_endTime` in the query, written like `from`"),
            Parameter(
                name="timespan",
                doc="timespans as text (1.02:03:04) or as seconds",
                schema={"type": "string", "enum": list(TIMESPANS), "default": TIMESPANS[0]},
            ),
        ),
        answer="QueryAnswer",
        problems={
            400: "the query is wrong, with line and column where known",
            429: "too many queries run already, and none ended within 10 s",
            503: "the store is away",
            504: "the query took too long",
        },
    ),
    _get(
        "/api/v1/alerts",
        "alerts",
        "Transitions of alerts, newest first",
        "Alerts",
        _LIMIT,
        _by("rule", "of this rule"),
        _by("run", "of this run"),
    ),
    *ACTING,
    *ONCALL,
    _get(
        "/api/v1/notifications",
        "notifications",
        "Messages to people and programs, newest first",
        "Notifications",
        _LIMIT,
        _by("address", "to this address"),
        Parameter(name="state", doc="in this state", schema={"type": "string", "enum": STATES}),
    ),
    _get("/api/v1/notifications/{id}", "notification", "One message with its bodies", "NotificationWhole", _404=_NONE),
    _get(
        "/api/v1/notifications/{id}/eml",
        "notificationMessage",
        "The message as it goes out",
        "message/rfc822",
        _404=_NONE,
    ),
    _get("/api/v1/notifications/{id}/html", "notificationHtml", "Its HTML body", "text/html", _404=_NONE),
    _get("/api/v1/notifications/{id}/text", "notificationText", "Its text body", "text/plain", _404=_NONE),
    _get("/api/v1/rules", "rules", "Rules and their status", "Rules"),
    _get(
        "/api/v1/rules/{name}",
        "rule",
        "A rule: what it compiles to, what fires, its last rows",
        "RuleWhole",
        _404="there is no such rule",
    ),
    _get(
        "/api/v1/runs",
        "runs",
        "Runs, the latest seen first",
        "Runs",
        _LIMIT,
        _by("status", "in this status"),
        _by("experiment", "of this experiment"),
        _by("target", "on this target"),
        _by("workspace", "of this workspace"),
        _by("parent", "children of this run"),
        _by("tag", "with this tag: `KEY`, or `KEY=VALUE`; may be repeated"),
        _by("search", "with this text in id, name, description, experiment, status, submitter, owner or tags"),
    ),
    Operation(
        method="POST",
        path="/api/v1/runs/{id:path}/cancel",
        id="cancelRun",
        summary="Cancel a run, or ask the system that it came from to",
        answer="RunCanceled",
        problems={400: "why it cannot be canceled", 404: "there is no such run", 503: "the store is away"},
    ),
    _get("/api/v1/runs/{id:path}", "run", "A run with its events and alerts", "RunWhole", _404="there is no such run"),
    _get(
        "/api/v1/dead-letters",
        "deadLetters",
        "Messages that could not be read, oldest first",
        "DeadLetters",
        _LIMIT,
        _by("consumer", "of this consumer"),
        Parameter(name="all", doc="replayed ones too", schema={"type": "boolean", "default": False}),
    ),
    Operation(
        method="POST",
        path="/api/v1/dead-letters/replay",
        id="replay",
        summary="Send dead letters through again",
        body="Replay",
        answer="Replayed",
        problems={400: "what is wrong with the request", 503: "the store is away"},
    ),
    Operation(
        method="POST",
        path="/api/v1/backtest",
        id="backtest",
        summary="What a rule would have notified over stored history",
        body="Backtest",
        answer="Backtested",
        problems={
            400: "what is wrong with the request, or with the rule",
            404: "there is no such rule",
            503: "the store is away",
        },
    ),
    Operation(
        method="POST",
        path="/api/v1/backup",
        id="backup",
        summary="Copy both stores into a directory of the server; only for `tocsin backup` on the same machine",
        body="Backup",
        answer="BackedUp",
        problems={400: "the directory is not empty", 403: "not from a command on this machine", 503: "a store is away"},
    ),
    Operation(
        method="POST",
        path="/api/v1/export",
        id="export",
        summary="Write tables as Parquet files into a directory of the server; only for `tocsin export` on the same machine",
        body="Export",
        answer="Exported",
        problems={400: "there is no such table", 403: "not from a command on this machine", 503: "the store is away"},
    ),
    _get("/api/v1/openapi.json", "openapi", "This document", "object"),
    _get("/healthz", "healthz", "Whether the process lives", "Health"),
    _get(
        "/readyz",
        "readyz",
        "Whether it does its job; details for who has a token",
        "Ready",
        _503="not ready, details as above",
    ),
    _get("/metrics", "metrics", "Metrics for Prometheus", "text/plain"),
)


class Asker:
    """Calls the app's blocking methods in threads; queries of users have few, so that they starve nobody."""

    def __init__(self, app: AppPorts) -> None:
        self.app = app
        self._queries: CapacityLimiter | None = None
        self._waiting = 0

    async def __call__(self, method: Callable[..., T], *args: Any) -> T:
        """``method(*args)`` in a thread."""
        return await to_thread.run_sync(method, *args)

    def audit(self, request: Request, kind: AuditKind, text: str) -> None:
        """Note in the audit trail what the sender of ``request`` does."""
        local = request.scope["tocsin.who"] == LOCAL
        via = "cli" if local else "api" if request.url.path.startswith("/api/") else "page"
        self.app.audit(kind, by=caller(request), via=via, text=text)

    async def query(self, kql: str) -> tuple[list[ColumnInfo], list[Row]]:
        """A user's query. Waits for a place: the panels of a dashboard ask at once. Raises QueryError, and Busy where
        none was free in time.
        """
        bounds = self.app.settings.query
        if self._queries is None:
            self._queries = CapacityLimiter(bounds.concurrent)
            self._queries_run = CapacityLimiter(bounds.concurrent)
        if self._waiting >= QUEUE:
            raise Busy
        limits = Limits(seconds=bounds.timeout.total_seconds(), rows=bounds.max_rows, watched=True)
        self._waiting += 1
        me = object()
        try:
            with move_on_after(PATIENCE) as patience:
                await self._queries.acquire_on_behalf_of(me)
            if patience.cancelled_caught:
                raise Busy
        finally:
            self._waiting -= 1
        try:
            return await to_thread.run_sync(self.app.query, kql, limits, limiter=self._queries_run)
        finally:
            self._queries.release_on_behalf_of(me)


class Busy(TocsinError):
    """As many queries run and wait as may."""

    def __init__(self) -> None:
        super().__init__("too many queries run already; ask again in a moment")


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[int] = []
    consumer: str = ""


class _Backup(msgspec.Struct, forbid_unknown_fields=True):
    directory: str


class _Export(msgspec.Struct, forbid_unknown_fields=True):
    directory: str
    tables: list[str] = []


class _Backtest(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    rule: str
    since: str = ""
    until: str = ""
    as_if_live: bool = False


class Api(ActingApi, OnCallApi):
    """Handlers, one an operation, named by its id."""

    def __init__(self, ask: Asker) -> None:
        self._ask, self._app = ask, ask.app

    def routes(self) -> list[BaseRoute]:
        """A route an operation."""
        return [Route(op.path, self._handler(op), methods=[op.method], name=op.id) for op in OPERATIONS]

    def _handler(self, op: Operation) -> Callable[[Request], Awaitable[Response]]:
        handler: Callable[[Request], Awaitable[Response]] = getattr(self, f"_{op.id}")
        known = {p.name for p in op.parameters}

        async def handle(request: Request) -> Response:
            unknown = sorted(set(request.query_params) - known)
            if unknown and request.url.path.startswith("/api/"):
                raise HTTPException(
                    400, f"'{unknown[0]}' is no parameter here; known are {', '.join(sorted(known)) or 'none'}"
                )
            return await handler(request)

        return handle

    async def _query(self, request: Request) -> Response:
        query = await asked(request, self._app.clock.now())
        self._ask.audit(request, AuditKind.QUERY, query.plain)
        try:
            columns, rows = await self._ask.query(query.kql)
        except QueryError as e:
            raise query.placed(e) from None
        return rows_answer(columns, in_seconds(rows) if query.seconds else rows)

    async def _alerts(self, request: Request) -> Response:
        q = request.query_params
        rows = await self._ask(self._app.alerts, limit(request), q.get("rule", ""), q.get("run", ""))
        return answer({"alerts": rows})

    async def _notifications(self, request: Request) -> Response:
        mails = await self._ask(
            self._app.mails, limit(request), request.query_params.get("address", ""), mail_state(request)
        )
        return answer({"notifications": [mailview.row(m) for m in mails]})

    async def _notification(self, request: Request) -> Response:
        return answer(mailview.whole(await find_mail(self._ask, request)))

    async def _notificationMessage(self, request: Request) -> Response:
        mail = await find_mail(self._ask, request)
        name = f'attachment; filename="{"".join(c for c in mail.id if c.isalnum())[:40]}.eml"'
        return Response(mail.message, media_type="message/rfc822", headers={"Content-Disposition": name})

    async def _notificationHtml(self, request: Request) -> Response:
        mail = await find_mail(self._ask, request)
        html = mailview.framed(mailview.html(mail))
        headers = {"Content-Security-Policy": mailview.MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        return Response(html, media_type="text/html", headers=headers)

    async def _notificationText(self, request: Request) -> Response:
        mail = await find_mail(self._ask, request)
        return Response(mailview.text(mail), media_type="text/plain")

    async def _rules(self, request: Request) -> Response:
        return answer({"rules": await self._ask(self._app.rules_status)})

    async def _rule(self, request: Request) -> Response:
        return answer(await find_rule(self._ask, request))

    async def _runs(self, request: Request) -> Response:
        q = request.query_params
        asked = RunsAsked(
            limit=limit(request), status=q.getlist("status"), experiment=q.getlist("experiment"), target=q.getlist("target"),
            workspace=q.getlist("workspace"), parent=q.getlist("parent"), search=q.get("search", ""),
            tags=tuple(tag_of(text) for text in q.getlist("tag") if text),
        )  # fmt: skip
        return answer({"runs": await self._ask(self._app.runs, asked)})

    async def _run(self, request: Request) -> Response:
        found = await self._ask(self._app.run, request.path_params["id"])
        if found is None:
            raise HTTPException(404, "there is no such run")
        return answer(found)

    async def _cancelRun(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        try:
            return answer({"RunId": id_, "Done": await self._app.run_actions.cancel(id_)})
        except NoSuchRun as e:
            raise HTTPException(404, str(e)) from e

    async def _deadLetters(self, request: Request) -> Response:
        q = request.query_params
        everything = q.get("all", "false")
        if everything not in ("true", "false"):
            raise HTTPException(400, f"all: '{everything}' is neither true nor false")
        rows = await self._ask(self._app.dead_letters, q.get("consumer", ""), limit(request), everything == "false")
        return answer({"dead_letters": rows})

    async def _replay(self, request: Request) -> Response:
        wanted = await _body(request, _Replay)
        self._ask.audit(request, AuditKind.REPLAY, replayed(wanted.ids, wanted.consumer))
        return answer(await self._ask(self._app.replay_dead_letters, wanted.ids, wanted.consumer))

    async def _backtest(self, request: Request) -> Response:
        wanted = await _body(request, _Backtest)
        found = await self._ask(self._app.backtest, wanted.rule, wanted.since, wanted.until, wanted.as_if_live)
        if found is None:
            raise HTTPException(404, f"there is no rule '{wanted.rule[:128]}'")
        return answer(found)

    async def _backup(self, request: Request) -> Response:
        _only_local(request, "tocsin backup DIR")
        wanted = await _body(request, _Backup)
        self._ask.audit(request, AuditKind.BACKUP, wanted.directory)
        return answer(await self._ask(self._app.back_up, wanted.directory))

    async def _export(self, request: Request) -> Response:
        _only_local(request, "tocsin export --parquet DIR")
        wanted = await _body(request, _Export)
        self._ask.audit(request, AuditKind.EXPORT, wanted.directory)
        return answer(await self._ask(self._app.export, wanted.directory, wanted.tables))

    async def _openapi(self, request: Request) -> Response:
        return answer(document(OPERATIONS, self._app.settings.http.url))

    async def _healthz(self, request: Request) -> Response:
        return answer({"status": "ok", **(self._app.health() if request.scope["tocsin.who"] else {})})

    async def _readyz(self, request: Request) -> Response:
        ready, detail = await self._ask(self._app.ready)
        return answer({"ready": ready, **(detail if request.scope["tocsin.who"] else {})}, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        text, content_type = await self._ask(self._app.metrics.exposition, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})


def replayed(ids: Sequence[int], consumer: str) -> str:
    """Which dead letters are replayed, for the audit trail."""
    if not ids:
        return f"consumer {consumer}" if consumer else "all"
    return f"dead letters {', '.join(map(str, ids[:100]))}" + (" …" if len(ids) > 100 else "")


def _only_local(request: Request, command: str) -> None:
    """Whoever names a directory of the server must be a command on its machine."""
    if request.scope["tocsin.who"] != LOCAL:
        raise HTTPException(403, f"run `{command}` on the machine of the project directory")


def limit(request: Request) -> int:
    """The ``limit`` parameter. Raises HTTPException."""
    return whole_number(request.query_params, "limit", 100, 1, MOST)


def mail_state(request: Request) -> str:
    """The ``state`` parameter. Raises HTTPException."""
    state = request.query_params.get("state", "")
    if state and state not in STATES:
        raise HTTPException(400, f"state: '{state[:20]}' is none of {', '.join(STATES)}")
    return state


async def find_mail(ask: Asker, request: Request) -> Any:
    """The mail that the path names. Raises HTTPException."""
    mail = await ask(ask.app.mail, request.path_params["id"])
    if mail is None:
        raise HTTPException(404, _NONE)
    return mail


async def find_rule(ask: Asker, request: Request) -> Any:
    """The rule that the path names. Raises HTTPException."""
    found = await ask(ask.app.rule, request.path_params["name"])
    if found is None:
        raise HTTPException(404, "there is no such rule")
    return found


async def _body(request: Request, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise HTTPException(400, f"the body is not what is asked for: {e}") from e


def fault(request: Request, e: Exception) -> Response:
    """The problem that an error of ours is."""
    if isinstance(e, Busy):
        return problem(429, "Busy", str(e), headers={"Retry-After": "1"})
    if isinstance(e, QueryBusy):
        return problem(429, "Busy", e.message, headers={"Retry-After": "5"}, **_place(e))
    if isinstance(e, QueryTimeout):
        return problem(504, "The query took too long", e.message, **_place(e))
    if isinstance(e, QueryError):
        return problem(400, "The query is wrong", e.message, **_place(e))
    if isinstance(e, StoreError):
        return problem(503, "The store is away", str(e), headers={"Retry-After": "5"})
    if isinstance(e, HTTPException):
        titles = {400: "The request is wrong", 404: "Not found", 405: "Not this method", 413: "The body is too large"}
        return problem(e.status_code, titles.get(e.status_code, "Refused"), e.detail, headers=e.headers)
    if isinstance(e, TocsinError):
        return problem(400, "Refused", str(e))
    return problem(500, "Something broke inside tocsin", "its log says what")


def _place(e: QueryError) -> dict[str, Any]:
    place = {"line": e.line, "column": e.column} if e.line else {}
    return {**place, **({"hint": e.hint} if e.hint else {})}


__all__ = ["OPERATIONS", "Api", "AppPorts", "Asker", "Busy", "fault", "find_mail", "limit", "mail_state"]

"""Ping URLs: a cron job needs one curl. The forms are healthchecks.io's (https://healthchecks.io/docs/http_api/).

    /ping/KEY/JOB             it completed            /ping/KEY/JOB/start     it runs
    /ping/KEY/JOB/fail        it failed               /ping/KEY/JOB/log       it is alive
    /ping/KEY/JOB/STATUS      it ended with this exit status

``?rid=`` pairs a start with its end; without it an end belongs to the job's run that is open. A body is the log's tail.
The key is a token: programs that preview links fetch bare URLs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from tocsin.clock import Clock
from tocsin.intake.bound import ANY, Bound
from tocsin.intake.connectors.http import HttpIntake, answer_refused
from tocsin.intake.connectors.http_body import Refused, read_body
from tocsin.model.event import HEARTBEAT_TYPE

PING = "/ping/"
"""With which paths of ping URLs begin."""
SOURCE = "/ping"
"""Source of their events."""
LARGEST = 100_000
"""Bytes of a body; of a longer one the end is kept."""
_JOB = re.compile(r"[\w.:+-]{1,200}")
_RID = re.compile(r"[\w.:+-]{1,100}")

OpenRun = Callable[[str], str]
"""The run of a job that has started and not ended, the latest; '' for none."""


class PingIntake:
    """Makes run events of pings and hands them to the HTTP intake."""

    def __init__(self, intake: HttpIntake, open_run: OpenRun, clock: Clock) -> None:
        """``open_run`` may block. Raises nothing it does not raise."""
        self._intake, self._open_run, self._clock = intake, open_run, clock

    def routes(self) -> list[BaseRoute]:
        """``/ping/<key>/<job>``, with or without what happened."""
        return [Route(PING + "{key}/{job}", self), Route(PING + "{key}/{job}/{what}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            response = await self._answer(scope, receive)
        except Refused as e:
            response = answer_refused(e, self._intake.metrics)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(
                405, "method", "A ping is a GET or a POST", f"this was {scope['method']}", {"Allow": "GET, POST"}
            )
        job, what = scope["path_params"]["job"], scope["path_params"].get("what", "")
        rid = QueryParams(scope["query_string"]).get("rid", "")
        if not _JOB.fullmatch(job) or (rid and not _RID.fullmatch(rid)):
            raise Refused(400, "path", "That is no name of a job", "use letters, digits and . _ - : +")
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        body = await read_body(headers, receive, self._intake.max_body) if has_body else b""
        now = self._clock.now()
        run = f"{job}/{rid}" if rid else "" if what == "start" else await run_in_threadpool(self._open_run, job)
        if what == "log" and not run:
            return PlainTextResponse("OK")
        run = run or f"{job}/{now:%Y%m%dT%H%M%S.%fZ}"
        bound: Bound = scope.get("tocsin.bound", ANY)
        if not (bound.fits(job) and bound.fits(run)):
            raise Refused(403, "foreign_run", "The token is not for that job", f"'{job}' is none of its runs")
        event = event_of(job, what, run, body, now)
        await self._intake.take(json.dumps(event, ensure_ascii=False).encode())
        return PlainTextResponse("OK")


def event_of(job: str, what: str, run: str, body: bytes, now: datetime) -> dict[str, object]:
    """The canonical event of a ping. Raises Refused for what is no form of it."""
    data: dict[str, object] = {"RunId": run}
    event: dict[str, object] = {
        "specversion": "1.0", "type": "tocsin.run.status", "source": SOURCE, "time": now.isoformat(),
        "id": f"{run}/{what or 'success'}/{now.timestamp():.6f}", "data": data,
    }  # fmt: skip
    if what == "log":
        return {**event, "type": HEARTBEAT_TYPE}
    status, code = _meaning(what)
    data |= {"Status": status, "JobKey": job, "ExperimentName": job, "RunType": "ping"}
    if code:
        data |= {"ErrorCode": code, "Message": f"exit status {code}"}
    elif status == "Failed":
        data["Message"] = "the job says that it failed"
    if text := body[-LARGEST:].decode("utf-8", "replace").strip():
        data["LogTail"] = text
    return event


def _meaning(what: str) -> tuple[str, str]:
    """(status, exit status) of a form."""
    if what in ("", "start", "fail"):
        return {"": "Completed", "start": "Running", "fail": "Failed"}[what], ""
    if what.isascii() and what.isdigit() and len(what) <= 3 and int(what) <= 255:
        return ("Completed", "") if int(what) == 0 else ("Failed", what)
    raise Refused(404, "path", "There is no such ping", "write start, fail, log, or an exit status from 0 to 255")

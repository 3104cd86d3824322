"""The operations by which people and programs act: alerts that are active, silences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tocsin.app.views.acting import NoSuchMessage
from tocsin.model.active import ActionKind, PreferenceKind
from tocsin.web import mailview
from tocsin.web.access.roles import PAGERDUTY
from tocsin.web.answers import answer
from tocsin.web.asked import whole_number
from tocsin.web.guard import caller
from tocsin.web.openapi import Operation, Parameter

_TEXT = {"type": "string"}
_BAD = {400: "what is wrong with the request", 503: "the store is away"}
_MISSING = {**_BAD, 404: "there is no such alert"}
_BY = Parameter(name="by", doc="who does it; if not given, the token's name", schema=_TEXT)
_VERBS = {
    "acknowledge": "Acknowledge an alert: repeats and escalations stop",
    "unacknowledge": "Let an alert go that was acknowledged",
    "snooze": "Acknowledge an alert until a time",
    "assign": "Say whose an alert is",
    "comment": "Write a comment to an alert's history",
    "close": "Close an alert",
}

_TAKEN = frozenset({"incident.acknowledged", "incident.resolved"})
"""Events of PagerDuty that say that somebody has taken an incident."""

ACTING: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/api/v1/alerts/active", id="activeAlerts", summary="Alerts that are active, newest first",
        answer="ActiveAlerts", parameters=(Parameter(
            name="limit", doc="most rows",
            schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
        ),), problems=_BAD,
    ),
    Operation(
        method="GET", path="/api/v1/alerts/{id}", id="alert", summary="One alert and what people did with it",
        answer="AlertWhole", problems=_MISSING,
    ),
    Operation(
        method="POST", path="/api/v1/alerts/acknowledge", id="acknowledgeAll", summary="Acknowledge several alerts",
        body="ActAll", answer="ActedAll", problems=_BAD,
    ),
    Operation(
        method="POST", path=PAGERDUTY, id="pagerduty", body="PagerDutyEvent", answer="ActedAll", problems=_BAD,
        summary="A webhook of PagerDuty (v3): the alerts of an incident that was acknowledged or resolved there are acknowledged",
    ),
    *(
        Operation(
            method="POST", path=f"/api/v1/alerts/{{id}}/{verb}", id=verb, summary=summary, body="Act", answer="Acted",
            problems=_MISSING,
        )
        for verb, summary in _VERBS.items()
    ),
    Operation(
        method="POST", path="/api/v1/notifications/{id}/resend", id="resend", answer="Notification",
        summary="Send a message once more that was accepted or failed",
        problems={**_BAD, 404: "there is no such message"},
    ),
    Operation(
        method="GET", path="/api/v1/subscriptions", id="subscriptions",
        summary="What people want for themselves: subscriptions, and mutes", answer="Preferences",
        parameters=(Parameter(
            name="ended", doc="what is over too", schema={"type": "boolean", "default": False},
        ),), problems=_BAD,
    ),
    Operation(
        method="POST", path="/api/v1/subscriptions", id="subscribe", body="NewPreference", answer="Preference",
        summary="Subscribe an address to alerts, or mute them for it", problems=_BAD,
    ),
    Operation(
        method="POST", path="/api/v1/subscriptions/{id}/end", id="endSubscription", answer="Preference",
        summary="End a subscription or a mute", parameters=(_BY,), problems=_BAD,
    ),
    Operation(
        method="GET", path="/api/v1/silences", id="silences", summary="Silences that people set",
        answer="Silences", parameters=(Parameter(
            name="expired", doc="those that are over too", schema={"type": "boolean", "default": False},
        ),), problems=_BAD,
    ),
    Operation(
        method="POST", path="/api/v1/silences", id="silence", summary="Set a silence", body="NewSilence",
        answer="Silence", problems=_BAD,
    ),
    Operation(
        method="POST", path="/api/v1/silences/preview", id="silencePreview",
        summary="What a silence would hide now, and would have hidden in the last 7 days", body="Matchers",
        answer="SilencePreview", problems=_BAD,
    ),
    Operation(
        method="POST", path="/api/v1/silences/{id}/expire", id="expireSilence", summary="End a silence now",
        answer="Silence", parameters=(_BY,), problems=_BAD,
    ),
)  # fmt: skip


class _Act(msgspec.Struct, forbid_unknown_fields=True):
    by: str
    until: datetime | None = None
    to: str = ""
    comment: str = ""


class _ActAll(msgspec.Struct, forbid_unknown_fields=True):
    by: str
    ids: Annotated[list[str], msgspec.Meta(max_length=1000)]
    comment: str = ""
    groups: bool = False


class _Agent(msgspec.Struct):
    summary: str = ""


class _Incident(msgspec.Struct):
    incident_key: str | None = None
    title: str = ""


class _PagerDutyEvent(msgspec.Struct):
    event_type: str
    data: _Incident
    agent: _Agent | None = None


class _PagerDuty(msgspec.Struct):
    event: _PagerDutyEvent


class _NewSilence(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    matchers: str
    end: datetime
    by: str
    comment: str
    start: datetime | None = None


class _NewPreference(msgspec.Struct, forbid_unknown_fields=True, rename={"until": "to"}):
    address: str
    matchers: str
    by: str
    kind: PreferenceKind = PreferenceKind.SUBSCRIBE
    until: datetime | None = None


class _Matchers(msgspec.Struct, forbid_unknown_fields=True):
    matchers: str


class ActingApi:
    """Handlers of ``ACTING``, named by their ids."""

    _ask: Any
    _app: Any

    async def _activeAlerts(self, request: Request) -> Response:
        most = whole_number(request.query_params, "limit", 100, 1, 1000)
        return answer({"alerts": await self._ask(lambda: self._app.acting.alerts(limit=most))})

    async def _alert(self, request: Request) -> Response:
        return answer(await self._found(lambda: self._app.acting.alert(request.path_params["id"])))

    async def _found(self, call: Any) -> Any:
        from tocsin.app.views.acting import NoSuchAlert

        try:
            return await self._ask(call)
        except NoSuchAlert as e:
            raise HTTPException(404, str(e)) from e

    async def _act(self, request: Request, kind: ActionKind) -> Response:
        asked = await _body(request, _Act)
        until = _utc(asked.until, "until")
        text = asked.to if kind is ActionKind.ASSIGN else asked.comment
        id_ = request.path_params["id"]
        return answer(
            await self._found(lambda: self._app.acting.act(kind, id_, asked.by, until=until, text=text, via="api"))
        )

    async def _acknowledgeAll(self, request: Request) -> Response:
        asked = await _body(request, _ActAll)
        kind, acting = ActionKind.ACKNOWLEDGE, self._app.acting

        def act() -> Any:
            ids = acting.of_groups(asked.ids) if asked.groups else asked.ids
            return acting.act_all(kind, ids, asked.by, text=asked.comment, via="api")

        return answer(await self._ask(act))

    async def _pagerduty(self, request: Request) -> Response:
        """Incidents of others, and events that say nothing of people, change nothing: PagerDuty sends a service's all."""
        event = (await _body(request, _PagerDuty)).event
        kind, acting = ActionKind.ACKNOWLEDGE, self._app.acting
        by = event.agent.summary if event.agent is not None and event.agent.summary.strip() else "PagerDuty"

        def act() -> Any:
            ids = acting.of_incident(event.data.incident_key or "") if event.event_type in _TAKEN else []
            return acting.act_all(kind, ids, by, text=f"PagerDuty: {event.event_type}", via="pagerduty")

        return answer(await self._ask(act))

    async def _acknowledge(self, request: Request) -> Response:
        return await self._act(request, ActionKind.ACKNOWLEDGE)

    async def _unacknowledge(self, request: Request) -> Response:
        return await self._act(request, ActionKind.UNACKNOWLEDGE)

    async def _snooze(self, request: Request) -> Response:
        return await self._act(request, ActionKind.SNOOZE)

    async def _assign(self, request: Request) -> Response:
        return await self._act(request, ActionKind.ASSIGN)

    async def _comment(self, request: Request) -> Response:
        return await self._act(request, ActionKind.COMMENT)

    async def _close(self, request: Request) -> Response:
        return await self._act(request, ActionKind.CLOSE)

    async def _resend(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        try:
            return answer(mailview.row(await self._ask(lambda: self._app.acting.resend(id_))))
        except NoSuchMessage as e:
            raise HTTPException(404, str(e)) from e

    async def _subscriptions(self, request: Request) -> Response:
        said = request.query_params.get("ended", "false")
        if said not in ("true", "false"):
            raise HTTPException(400, f"ended: '{said[:20]}' is neither true nor false")
        return answer({"subscriptions": await self._ask(lambda: self._app.acting.preferences(ended=said == "true"))})

    async def _subscribe(self, request: Request) -> Response:
        asked = await _body(request, _NewPreference)
        until = _utc(asked.until, "to")
        return answer(
            await self._ask(
                lambda: self._app.acting.prefer(
                    asked.kind, asked.address, asked.matchers, by=asked.by, via="api", until=until
                )
            )
        )

    async def _endSubscription(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        by = _by(request)
        return answer(await self._ask(lambda: self._app.acting.take_back(id_, by=by, via="api")))

    async def _silences(self, request: Request) -> Response:
        said = request.query_params.get("expired", "false")
        if said not in ("true", "false"):
            raise HTTPException(400, f"expired: '{said[:20]}' is neither true nor false")
        return answer({"silences": await self._ask(lambda: self._app.acting.silences(expired=said == "true"))})

    async def _silence(self, request: Request) -> Response:
        asked = await _body(request, _NewSilence)
        start, end = _utc(asked.start, "from"), _utc(asked.end, "to")
        return answer(
            await self._ask(
                lambda: self._app.acting.add_silence(asked.matchers, start, end, asked.by, asked.comment, via="api")
            )
        )

    async def _silencePreview(self, request: Request) -> Response:
        asked = await _body(request, _Matchers)
        return answer(await self._ask(lambda: self._app.acting.preview(asked.matchers)))

    async def _expireSilence(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        by = _by(request)
        return answer(await self._ask(lambda: self._app.acting.expire_silence(id_, by=by, via="api")))


def _by(request: Request) -> str:
    """Who does it: as the caller says, else its token's name."""
    return request.query_params.get("by", "") or caller(request)


def _utc(at: datetime | None, name: str) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise HTTPException(400, f"{name}: says no zone; write 2026-12-01T20:00Z")
    return None if at is None else at.astimezone(UTC)


async def _body(request: Request, shape: Any) -> Any:
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise HTTPException(400, f"the body is not what is asked for: {e}") from e

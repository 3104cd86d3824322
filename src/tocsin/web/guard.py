"""What every request passes, outermost first: failures, headers, host and origin, size, token. Plain ASGI."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tocsin.config.project.tokens import Role, Token
from tocsin.config.yaml.fields import is_loopback
from tocsin.intake.bound import Bound
from tocsin.intake.connectors.ping import SOURCE as PING_SOURCE
from tocsin.model.active import AuditKind
from tocsin.web.access.credentials import How, Shown, shown
from tocsin.web.access.roles import PAGERDUTY, PING, TAKING, needed
from tocsin.web.access.sessions import Sessions
from tocsin.web.access.signatures import LARGEST, Held, is_signed, replayed, signature_of
from tocsin.web.access.used import Used
from tocsin.web.answers import problem
from tocsin.web.connections import LIVE
from tocsin.web.ports import AppPorts

log = structlog.get_logger(__name__)

_LOOPBACK: Final = "loopback"
LOCAL: Final = "local command"
"""Who a command on this machine is, which read the token of this start from the project directory."""
MAX_BODY: Final = 1 << 20
"""Bytes of the largest body outside /intake/."""
OPEN: Final = frozenset({"/healthz", "/readyz", "/login", "/logout", "/assets/tocsin.css"})
"""Paths that need no token. /readyz notifies details only to who has one."""
LINKS: Final = "/do/"
"""Signed links need no token either: each is one, for one thing."""

PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class TooLarge(HTTPException):
    """The body went past its limit while it was read."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"at most {limit} bytes", {"Connection": "close"})


class Guard:
    """Wraps the whole server."""

    def __init__(self, inner: ASGIApp, app: AppPorts, sessions: Sessions, local_token: str = "") -> None:
        """``local_token`` opens everything to commands on this machine; it changes at each start."""
        self._inner, self._app, self._sessions, self._local = inner, app, sessions, local_token
        self._held, self._used = Held(), Used(app.kept)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started, began, code = False, self._app.clock.monotonic(), 500

        async def sending(message: Message) -> None:
            nonlocal started, code
            if message["type"] == "http.response.start":
                started, code = True, message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refused, receive = await self._admit(scope, receive)
            if refused is not None:
                await refused(scope, receive, sending)
                return
            await self._inner(scope, self._limited(scope, receive), sending)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # it stops, and this took longer than it waits
            if not started:
                later = problem(503, "tocsin is stopping", "send it again", headers={"Retry-After": "5"})
                await later(scope, receive, sending)
        except Exception:
            log.exception("web.failed", method=scope["method"], path=_shown(scope["path"]))
            if not started:
                sorry = problem(500, "Something broke inside tocsin", "its log says what")
                await sorry(scope, receive, sending)
        finally:
            self._answered(scope["path"], code, self._app.clock.monotonic() - began)

    def _answered(self, path: str, code: int, seconds: float) -> None:
        handler, metrics = _handler(path), self._app.metrics
        metrics.inc("tocsin_http_requests_total", handler=handler, code=f"{code // 100}xx")
        if not path.startswith(LIVE):  # how long somebody looks at a page is no latency
            metrics.observe("tocsin_http_request_duration_seconds", seconds, handler=handler)

    # -- decisions -----------------------------------------------------------------------------------------------------
    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        """``_refusal``, and what gives the body: who signs it is known only once it has been read."""
        headers, path = Headers(scope=scope), scope["path"]
        consumer, signature, now = _consumer(path), signature_of(headers), self._app.clock.now()
        candidates = []
        if signature is not None and (consumer or path == PAGERDUTY) and not shown(scope, headers).word:
            candidates = self._app.tokens.signing(signature, needed(scope["method"], path), now, consumer)
        if not candidates:
            return self._refusal(scope, None), receive
        body = await self._held.receive(receive)
        if body is None:
            self._count(scope["path"], "size")
            detail = f"a signed body has at most {LARGEST} bytes"
            return problem(413, "The body is too large", detail, headers={"Connection": "close"}), receive
        signer = next((token for token in candidates if is_signed(token, headers, body, now)), None)
        return self._refusal(scope, signer), replayed(body, receive)

    def _refusal(self, scope: Scope, signer: Token | None) -> Response | None:
        """The answer to who may not come in, else None. Leaves ``scope["tocsin.who"]``, None for the unknown."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if host_name(f"//{headers.get('host', '')}") is None:
            self._count(path, "host")
            return problem(400, "The request is wrong", f"'{headers['host'][:100]}' is no Host; send host or host:port")
        if host_name(headers.get("origin", "")) is None:
            self._count(path, "origin")
            return problem(400, "The request is wrong", f"'{headers['origin'][:100]}' is no Origin; send https://host")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._limit(path):
            return self._too_large(scope)
        role, sent = needed(method, path), shown(scope, headers)
        who = self._who(scope, sent, role, signer)
        if self._app.tokens or not self._app.settings.http.loopback:  # else the door is open to this machine only
            if who is None and path not in OPEN and not path.startswith(LINKS):
                return self._unknown(scope, headers, sent, role)
            cross = who is not None and sent.by_itself and method not in ("GET", "HEAD")
            return self._foreign(scope, headers) if cross else None
        scope["tocsin.who"] = who or _LOOPBACK
        if not self._host_known(headers.get("host", "")):
            self._count(path, "host")
            return problem(
                421,
                "This server does not answer to that name",
                f"Host '{headers.get('host', '')[:100]}' is not known; add it to http.allowed_hosts, or set http.base_url",
            )
        reads = method in ("GET", "HEAD", "OPTIONS") and not path.startswith(PING)
        return None if reads else self._foreign(scope, headers)

    def _token(self, sent: Shown) -> Token | None:
        """The token that a request shows, whatever it opens."""
        tokens = self._app.tokens
        if sent.how is How.SESSION:
            return self._sessions.token(sent.word, tokens, self._app.clock.now())
        return tokens.find(sent.word) if sent.word else None

    def _who(self, scope: Scope, sent: Shown, role: Role, signer: Token | None) -> str | None:
        scope["tocsin.who"] = None
        word = sent.word.encode("utf-8", "surrogatepass")
        if self._local and sent.how is not How.SESSION and hmac.compare_digest(word, self._local.encode()):
            scope["tocsin.who"] = LOCAL
            return LOCAL
        token, now, path = signer or self._token(sent), self._app.clock.now(), scope["path"]
        if token is None or not token.opens(role, now, _consumer(path)):
            return None
        if path.startswith(PING) and token.sources and PING_SOURCE not in token.sources:
            return None
        scope["tocsin.who"] = token.name
        scope["tocsin.bound"] = Bound(sources=token.sources, runs=token.runs)
        self._used.note(token.name, now)
        return token.name

    def _unknown(self, scope: Scope, headers: Headers, sent: Shown, role: Role) -> Response:
        path, known = scope["path"], self._token(sent)
        self._count(path, "token")
        html = "text/html" in headers.get("accept", "")
        if not path.startswith(("/api/", "/metrics", *TAKING)) and html and known is None:
            return RedirectResponse(f"/login?next={quote(path, safe='')}", 303)
        self._app.audit(
            AuditKind.REFUSED,
            by=known.name if known is not None else "",
            via="page" if sent.how is How.SESSION else "api",
            text=f"{_handler(path)} needs {role}; from {address_of(scope)}",
        )
        if known is not None and known.opens(Role.METRICS, self._app.clock.now()):
            return problem(403, "The token does not open this", f"'{known.name}' lacks the role '{role}'")
        if sent.word or signature_of(headers) is not None:
            detail = f"the token is not known, has expired, is for other consumers, or its roles lack '{role}'"
        else:
            detail = "send a token of tokens.yaml as 'Authorization: Bearer …'"
            if role is Role.PRODUCER:
                detail += ", as ?token=…, or sign the body"
        return problem(401, "A token is needed", detail, headers={"WWW-Authenticate": 'Bearer realm="tocsin"'})

    def _foreign(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuses what another site's page makes a browser send."""
        if not from_elsewhere(headers, self._app.settings.http.url):
            return None
        self._count(scope["path"], "origin")
        origin = headers.get("origin", "")
        return problem(403, "Another site's page may not do this", f"Origin '{origin[:100]}' is not this server's")

    def _host_known(self, host: str) -> bool:
        http = self._app.settings.http
        name = host_name(f"//{host}") or ""
        known = {
            http.host.lower(),
            (urlsplit(http.url).hostname or "").lower(),
            *(h.lower() for h in http.allowed_hosts),
        }
        return is_loopback(name) or name in known

    # -- size ----------------------------------------------------------------------------------------------------------
    def _limit(self, path: str) -> int:
        return self._app.settings.intake.max_body if path.startswith(TAKING) else MAX_BODY

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        limit, taken = self._limit(scope["path"]), 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                self._count(scope["path"], "size")
                raise TooLarge(limit)
            return message

        return receiving

    def _too_large(self, scope: Scope) -> Response:
        self._count(scope["path"], "size")
        e = TooLarge(self._limit(scope["path"]))
        return problem(413, "The body is too large", e.detail, headers=e.headers)

    def _count(self, path: str, reason: str) -> None:
        if path.startswith(TAKING):
            self._app.metrics.inc("tocsin_intake_refused_total", reason=reason)


def _consumer(path: str) -> str:
    """The consumer to which a request posts; '' of all others."""
    if path.startswith(PING):
        return "ping"
    return path.removeprefix("/intake/").partition("/")[0] if path.startswith("/intake/") else ""


def _shown(path: str) -> str:
    """``path`` without the tokens that it may hold."""
    secret = next((start for start in (PING, LINKS) if path.startswith(start)), "")
    return f"{secret}…" if secret else path


def _handler(path: str) -> str:
    """The part of tocsin that answers ``path``: a label of few values."""
    if path.startswith(TAKING):
        return "intake"
    if path == "/api/v1/query":
        return "query"
    if path.startswith("/api/"):
        return "api"
    return {"/metrics": "metrics", "/healthz": "health", "/readyz": "health"}.get(path, "pages")


def host_name(address: str) -> str | None:
    """The host of an address, '' where it names none; None where it is malformed."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no number
        return parts.hostname or ""
    except ValueError:
        return None


def from_elsewhere(headers: Headers, url: str) -> bool:
    """Whether another site's page made a browser send this. ``url`` is where this server is reached."""
    origin = headers.get("origin", "")
    if not origin:
        return headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    host = urlsplit(origin).netloc.lower()
    return not host or host not in (headers.get("host", "").lower(), urlsplit(url).netloc)


def caller(request: Request) -> str:
    """The name of the caller's token; '' for a caller without one, and for commands on this machine."""
    who = str(request.scope.get("tocsin.who") or "")
    return "" if who in (_LOOPBACK, LOCAL) else who


def address_of(scope: Scope) -> str:
    """From which address a request comes; '' where that is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""

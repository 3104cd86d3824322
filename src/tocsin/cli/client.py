"""Asks a project directory: over HTTP where a tocsin runs on it (it owns the file), else by opening the file. Both give the same
rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from tocsin import __version__
from tocsin.cli.common import fail, httpx_alone
from tocsin.errors import QueryError, TocsinError

if TYPE_CHECKING:
    import ssl

    import httpx

    from tocsin.app.runs.find import RunsAsked
    from tocsin.config.project.home import Home
    from tocsin.web.ports import ReadPorts

Row = dict[str, Any]
SOON = 5.0
"""Seconds for which a command waits for an answer without which it can do."""


class Asked(Protocol):
    """What commands ask. Rows are of JSON's types, times ISO with Z."""

    def query(self, kql: str) -> tuple[list[Row], list[Row]]:
        """(columns, rows)."""

    def alerts(self, limit: int, rule: str, run: str) -> list[Row]:
        """Transitions, newest first."""

    def mails(self, limit: int, address: str, state: str) -> list[Row]:
        """Mails, newest first."""

    def mail(self, id: str) -> Row | None:
        """A mail with its bodies."""

    def rules(self) -> list[Row]:
        """Rules and their status."""

    def rule(self, name: str) -> Row | None:
        """One rule whole."""

    def runs(self, asked: RunsAsked) -> list[Row]:
        """Runs, the latest seen first."""

    def run(self, id: str) -> Row | None:
        """A run with its events and alerts."""

    def oncall_report(self, weeks: int) -> Row:
        """What being on call was like."""

    def dead_letters(self, consumer: str, limit: int, everything: bool) -> list[Row]:
        """Dead letters, oldest first."""


def _known(certificate: str) -> ssl.SSLContext:
    """Trusts the server that shows this certificate, and no other."""
    from ssl import VERIFY_X509_PARTIAL_CHAIN, create_default_context

    try:
        context = create_default_context(cafile=certificate)
    except OSError as e:
        raise TocsinError(f"the certificate {certificate} cannot be read: {e}; set TOCSIN_URL instead") from e
    context.check_hostname = False  # it is for the name that others use
    context.verify_flags |= VERIFY_X509_PARTIAL_CHAIN
    return context


class Remote:
    """A tocsin that runs."""

    def __init__(self, url: str, token: str, certificate: str = "") -> None:
        """``certificate``: file of the one by which the tocsin of this machine is known, whatever name it is for."""
        http = httpx_alone()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self.client: httpx.Client = http.Client(
            base_url=url,
            headers=headers,
            timeout=120,
            trust_env=False,
            verify=_known(certificate) if certificate else not url.startswith("http:"),  # True reads a whole bundle
        )

    def ask(self, method: str, path: str, *, missing: bool = False, **more: Any) -> httpx.Response:
        """One request. Raises TocsinError for what is refused, with ``missing`` but for 404 of what is not there; and
        where the server does not know the address, since it is of another version.
        """
        http = httpx_alone()
        try:
            answer = self.client.request(method, path, **more)
        except http.HTTPError as e:
            raise TocsinError(f"the tocsin at {self.url} does not answer: {str(e) or type(e).__name__}") from e
        if _unknown_address(answer):
            raise self._differs(f"no {method} {path}")
        if answer.is_success or (missing and answer.status_code == 404):
            return answer
        raise _refused(answer)

    def _differs(self, lacks: str) -> TocsinError:
        """``lacks``: what of this command the server does not have."""
        try:
            found = self.client.get("/healthz").json()
        except (httpx_alone().HTTPError, ValueError):
            found = None
        version = found.get("version") if isinstance(found, dict) else None
        what = f"the tocsin {version} at {self.url}" if version else f"what answers at {self.url}"
        hint = "restart it by this version" if version else "is that a tocsin?"
        return TocsinError(f"{what} has {lacks}, which this command of tocsin {__version__} needs; {hint}")

    def _get(self, path: str, **params: Any) -> Any:
        """None for what is not there."""
        given = {k: v for k, v in params.items() if v not in ("", False)}
        answer = self.ask("GET", path, missing=True, params=given)
        return None if answer.status_code == 404 else answer.json()

    def _list(self, path: str, key: str, **params: Any) -> list[Row]:
        found = self._get(path, **params)
        if not isinstance(found, dict) or key not in found:
            raise self._differs(f"no '{key}' in GET {path}")
        return list(found[key])

    def query(self, kql: str) -> tuple[list[Row], list[Row]]:
        found = self.ask("POST", "/api/v1/query", json={"query": kql}).json()
        return found["columns"], found["rows"]

    def alerts(self, limit: int, rule: str, run: str) -> list[Row]:
        return self._list("/api/v1/alerts", "alerts", limit=limit, rule=rule, run=run)

    def mails(self, limit: int, address: str, state: str) -> list[Row]:
        return self._list("/api/v1/notifications", "notifications", limit=limit, address=address, state=state)

    def mail(self, id: str) -> Row | None:
        found: Row | None = self._get(f"/api/v1/notifications/{_quoted(id)}")
        return found

    def rules(self) -> list[Row]:
        return self._list("/api/v1/rules", "rules")

    def rule(self, name: str) -> Row | None:
        found: Row | None = self._get(f"/api/v1/rules/{_quoted(name)}")
        return found

    def runs(self, asked: RunsAsked) -> list[Row]:
        tags = [key if value is None else f"{key}={value}" for key, value in asked.tags]
        return self._list(
            "/api/v1/runs", "runs", limit=asked.limit, status=asked.status, experiment=asked.experiment, target=asked.target,
            workspace=asked.workspace, parent=asked.parent, search=asked.search, tag=tags,
        )  # fmt: skip

    def run(self, id: str) -> Row | None:
        found: Row | None = self._get(f"/api/v1/runs/{_quoted(id)}")
        return found

    def oncall_report(self, weeks: int) -> Row:
        return dict(self.ask("GET", "/api/v1/oncall/report", params={"weeks": weeks}).json())

    def dead_letters(self, consumer: str, limit: int, everything: bool) -> list[Row]:
        more = {"all": "true"} if everything else {}
        return self._list("/api/v1/dead-letters", "dead_letters", consumer=consumer, limit=limit, **more)


class Offline:
    """A project directory whose files this process opened."""

    def __init__(self, ports: ReadPorts, home: Home) -> None:
        self._ports, self._home = ports, home

    def query(self, kql: str) -> tuple[list[Row], list[Row]]:
        from tocsin.logstore.interface import Limits

        bounds = self._home.settings().query
        columns, rows = self._ports.query(
            kql, Limits(seconds=bounds.timeout.total_seconds(), rows=bounds.max_rows, watched=True)
        )
        return _plain(columns), _plain(rows)

    def alerts(self, limit: int, rule: str, run: str) -> list[Row]:
        return _plain(self._ports.alerts(limit, rule, run))

    def mails(self, limit: int, address: str, state: str) -> list[Row]:
        from tocsin.web import mailview

        return _plain([mailview.row(m) for m in self._ports.mails(limit, address, state)])

    def mail(self, id: str) -> Row | None:
        from tocsin.web import mailview

        found = self._ports.mail(id)
        return None if found is None else _plain([mailview.whole(found)])[0]

    def rules(self) -> list[Row]:
        return _plain(self._ports.rules_status())

    def rule(self, name: str) -> Row | None:
        found = self._ports.rule(name)
        return None if found is None else _plain([found])[0]

    def runs(self, asked: RunsAsked) -> list[Row]:
        return _plain(self._ports.runs(asked))

    def run(self, id: str) -> Row | None:
        found = self._ports.run(id)
        return None if found is None else _plain([found])[0]

    def oncall_report(self, weeks: int) -> Row:
        return _plain([self._ports.oncall_report(weeks)])[0]

    def dead_letters(self, consumer: str, limit: int, everything: bool) -> list[Row]:
        return _plain(self._ports.dead_letters(consumer, limit, not everything))


def remote(home: Home) -> Remote | None:
    """The tocsin that runs on ``home``, or the one that TOCSIN_URL names; None where none runs."""
    if url := os.environ.get("TOCSIN_URL"):
        return Remote(url.rstrip("/"), os.environ.get("TOCSIN_TOKEN", ""))
    running = home.running()
    if running is None:
        if home.held():
            fail("a tocsin starts on this project directory just now, or hangs", "try again in a moment")
        return None
    return Remote(running.url, os.environ.get("TOCSIN_TOKEN") or running.token, running.certificate)


def rules_in_force(home: Home) -> list[Row] | None:
    """Rules of the tocsin that runs on ``home``. None where the files must be read: none runs, it has not read them as
    they are now or refused them, or no answer comes soon.
    """
    from tocsin.config.project.watch import mark_of

    running = home.running()
    if running is None:
        return None
    try:
        asked = Remote(running.url, running.token, running.certificate)
        asked.client.timeout = SOON
        with asked.client:
            ready = asked.ask("GET", "/readyz").json()
            return asked.rules() if ready.get("files_in_force") == mark_of(home) else None
    except TocsinError:
        return None


def must_run(home: Home) -> Remote:
    """The tocsin that runs on ``home``; an error with what to do where none does."""
    found = remote(home)
    if found is None:
        fail(f"no tocsin runs on {home.path}", f"start one with: tocsin up --home {home.path}")
    return found


@contextmanager
def asking(home: Home) -> Iterator[Asked]:
    """Ask ``home``, running or not."""
    found = remote(home)
    if found is not None:
        with found.client:
            yield found
        return
    from tocsin.app.views.offline import open_offline

    with home.lock(), open_offline(home) as ports:
        yield Offline(ports, home)


def _unknown_address(answer: httpx.Response) -> bool:
    """Whether the server has no such address, or answers something else there than JSON."""
    if "/api/" not in answer.request.url.path:
        return False
    if "json" not in answer.headers.get("content-type", ""):
        return answer.is_success or answer.status_code in (404, 405)
    if answer.status_code not in (404, 405):
        return False
    body = answer.json()
    return isinstance(body, dict) and body.get("detail") in ("Not Found", "Method Not Allowed")  # Starlette's own


def _refused(answer: httpx.Response) -> TocsinError:
    try:
        body: Mapping[str, Any] = answer.json()
    except json.JSONDecodeError:
        body = {}
    detail = str(body.get("detail") or body.get("title") or f"answered {answer.status_code}")
    if answer.status_code == 401:
        return TocsinError(f"{detail}; set TOCSIN_TOKEN")
    if answer.status_code in (400, 504) and answer.request.url.path.endswith("/query"):
        return QueryError(
            detail, line=int(body.get("line", 0)), column=int(body.get("column", 0)), hint=str(body.get("hint", ""))
        )
    return TocsinError(detail)


def _quoted(id: str) -> str:
    from urllib.parse import quote

    return quote(id, safe="")


def _plain(rows: Any) -> list[Row]:
    from tocsin.web.answers import encode

    out: list[Row] = json.loads(encode(list(rows)))
    return out

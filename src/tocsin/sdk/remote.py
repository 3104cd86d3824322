"""The runs that a tocsin has received, over HTTP: found, read, tagged and described, wherever they came from.

    from tocsin.sdk.remote import get_runs
    for run in get_runs(experiment="churn", tags={"team": "ranking"}):
        run.tag("checked")

Unlike the calls of a run that is under way these raise: nothing of training waits for them.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tocsin.clock import Clock, SystemClock, micros
from tocsin.sdk.errors import ServiceException
from tocsin.sdk.sending.endpoint import Answer, Endpoint, Poster
from tocsin.sdk.sending.events import UPDATE_TYPE, status_event
from tocsin.sdk.text import clean

MOST = 1000
"""Runs of one answer."""
TIMEOUT = 30.0  # seconds
SEARCHED = ("RunId", "DisplayName", "Description", "ExperimentName", "Status", "TriggeringUserName", "OwnerEmail", "tostring(Tags)")  # fmt: skip
"""What a search reads."""


class ServerRun:
    """A run as a tocsin has it; ``row`` holds the columns of ``Runs`` as they were read."""

    def __init__(self, endpoint: Endpoint, row: Mapping[str, Any], clock: Clock | None = None) -> None:
        self._endpoint, self.row, self._clock = endpoint, row, clock or SystemClock()

    def __repr__(self) -> str:
        return f"ServerRun({self.id!r}, {self.status})"

    @property
    def id(self) -> str:
        """RunId."""
        return str(self.row["RunId"])

    @property
    def status(self) -> str:
        """Its status when it was read."""
        return str(self.row["Status"])

    @property
    def experiment_name(self) -> str:
        """ExperimentName."""
        return str(self.row["ExperimentName"])

    @property
    def tags(self) -> dict[str, Any]:
        """Its tags when it was read."""
        return dict(self.row["Tags"])

    @property
    def properties(self) -> dict[str, Any]:
        """Its properties when it was read."""
        return dict(self.row["Properties"])

    @property
    def description(self) -> str:
        """Markdown."""
        return str(self.row["Description"])

    @description.setter
    def description(self, text: str) -> None:
        self._update({"Description": clean(text) or " "})

    def tag(self, key: str, value: str = "") -> None:
        """Set a tag. Raises ServiceException where the server does not take it."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags; others stay. Raises ServiceException."""
        self._update({"Tags": {clean(k): "" if v is None else clean(str(v)) for k, v in tags.items()}})

    def remove_tags(self, tags: str | Sequence[str]) -> None:
        """Remove tags by key. Raises ServiceException."""
        self._update({"Tags": dict.fromkeys([tags] if isinstance(tags, str) else tags)})

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Set properties. Raises ServiceException."""
        self._update({"Properties": {clean(k): clean(str(v)) for k, v in properties.items()}})

    def cancel(self) -> str:
        """Cancel it: "canceled", or "cancel requested" of the process or system that runs it.

        Raises ServiceException where nobody can cancel it: it has ended, or its consumer file does not say how.
        """
        done = str(_asked(self._endpoint, f"/api/v1/runs/{quote(self.id, safe='')}/cancel", b"")["Done"])
        self.refresh()
        return done

    def refresh(self) -> ServerRun:
        """Read it again. Raises ServiceException."""
        self.row = get_run(self.id, self._endpoint).row
        return self

    def _update(self, changes: Mapping[str, Any]) -> None:
        data = {"RunId": self.id, **changes}
        event = status_event(uuid.uuid4().hex, "tocsin-sdk", micros(self._clock.now()), data, UPDATE_TYPE)
        poster = Poster(self._endpoint)
        try:
            if poster.post(f"[{event}]".encode(), TIMEOUT) is not Answer.TAKEN:
                raise ServiceException(f"{self._endpoint.url} does not take the change: {poster.said}")
        finally:
            poster.close()
        self.refresh()


def get_runs(
    experiment: str = "",
    *,
    status: str = "",
    tags: str | Mapping[str, Any] = "",
    properties: Mapping[str, Any] | None = None,
    last: int = 100,
    parent: str = "",
    search: str = "",
    endpoint: Endpoint | None = None,
) -> list[ServerRun]:
    """Runs that a tocsin has received, the latest first, at most ``last`` (1000 at most).

    ``tags`` is a key that must be there, or keys with their values. ``search`` is a text in id, name, description,
    experiment, status, submitter, owner or tags, in any case. ``endpoint`` None: the one that TOCSIN_URL names, or
    that runs here. Raises ServiceException where there is none, or it refuses.
    """
    where = [f"ExperimentName == {_quoted(experiment)}"] if experiment else []
    where += [f"Status == {_quoted(status)}"] if status else []
    where += [f"ParentRunId == {_quoted(parent)}"] if parent else []
    where += [f"strcat_delim('\\n', {', '.join(SEARCHED)}) contains {_quoted(search)}"] if search else []
    if isinstance(tags, str):
        where += [f"isnotnull(Tags[{_quoted(tags)}])"] if tags else []
    else:
        where += [_equals("Tags", key, value) for key, value in tags.items()]
    where += [_equals("Properties", key, value) for key, value in (properties or {}).items()]
    lines = ["Runs", *(f"where {one}" for one in where), "order by FirstSeen desc", f"take {max(1, min(last, MOST))}"]
    found = endpoint or _endpoint()
    return [ServerRun(found, row) for row in query(" | ".join(lines), found)]


def get_run(run_id: str, endpoint: Endpoint | None = None) -> ServerRun:
    """One run. Raises ServiceException where the tocsin has none of this id."""
    found = endpoint or _endpoint()
    rows = query(f"Runs | where RunId == {_quoted(run_id)}", found)
    if not rows:
        raise ServiceException(f"{found.url} has no run {run_id!r}")
    return ServerRun(found, rows[0])


def query(kql: str, endpoint: Endpoint | None = None) -> list[dict[str, Any]]:
    """Rows of a KQL query, by column. Raises ServiceException that says what the server says."""
    found = endpoint or _endpoint()
    return list(_asked(found, "/api/v1/query", json.dumps({"query": kql}).encode())["rows"])


def _asked(endpoint: Endpoint, path: str, body: bytes) -> dict[str, Any]:
    """What the server answers to a POST. Raises ServiceException with what it says."""
    headers = {"Content-Type": "application/json"}
    if endpoint.token:
        headers["Authorization"] = f"Bearer {endpoint.token}"
    request = urllib.request.Request(f"{endpoint.url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            found = json.loads(answer.read())
            if isinstance(found, dict):
                return found
            raise ServiceException(f"{endpoint.url} answers what is no object")
    except urllib.error.HTTPError as e:
        said = e.read(2000).decode("utf-8", "replace")
        raise ServiceException(f"{endpoint.url} answers {e.code}: {_detail(said)}") from e
    except (OSError, ValueError) as e:
        raise ServiceException(f"{endpoint.url} cannot be asked: {e}") from e


def _detail(text: str) -> str:
    """What a problem says, else the text as it is."""
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text


def _endpoint() -> Endpoint:
    found = Endpoint.find()
    if found is None:
        raise ServiceException("TOCSIN_URL is empty: no tocsin is named")
    return found


def _equals(column: str, key: str, value: Any) -> str:
    return f"tostring({column}[{_quoted(key)}]) == {_quoted('' if value is None else str(value))}"


def _quoted(text: str) -> str:
    """``text`` as a KQL string."""
    return json.dumps(clean(text), ensure_ascii=False)

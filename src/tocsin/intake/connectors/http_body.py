"""A request's body: within limits, decompressed, with CloudEvents' headers put back into it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from tocsin.errors import TocsinError
from tocsin.intake.expressions import any_case
from tocsin.intake.formats import event_of_attributes, write
from tocsin.model.text.strictjson import ReadError, read_json

FORM = "application/x-www-form-urlencoded"
"""A webhook's form, or what ``curl -d`` says of everything."""
TYPES = frozenset({
    "", "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson",
    "application/ndjson", "application/jsonl", "application/json-lines", "application/jsonlines", "text/json", "text/plain",
    FORM,
})  # fmt: skip
"""Content types that may hold JSON; any other that ends in +json is taken too."""
VALIDATION = "microsoft.eventgrid.subscriptionvalidationevent"
_VALIDATION = re.compile(VALIDATION.replace(".", r"\.").encode(), re.IGNORECASE)
_LARGEST_VALIDATION = 64 << 10
_FIELDS = 1000  # of a form
_MEMBERS = 64  # of a gzip body; the rest is copied for each of them


class Refused(TocsinError):
    """A request is refused. ``reason`` is one word, for the metric."""

    def __init__(
        self, status: int, reason: str, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.reason, self.title, self.detail, self.headers = status, reason, title, detail, headers or {}
        super().__init__(f"{title}: {detail}")


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The body, decompressed, a form as JSON. Raises Refused: 415 for another type or encoding, 413 past ``limit``, 400 where empty."""
    kind, _, parameters = headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind not in TYPES and not kind.endswith("+json"):
        raise Refused(415, "type", "The body's type is not known", f"'{kind[:100]}' is not JSON; send application/json")
    charset = re.search(r'charset="?([^";\s]+)', parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Refused(415, "type", "The body's charset is not known", f"'{charset[1][:40]}' is not utf-8")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise Refused(
            415,
            "type",
            "The body's encoding is not known",
            f"'{encoding[:40]}' is not gzip",
            {"Accept-Encoding": "gzip"},
        )
    body = await _received(receive, limit)
    if encoding == "gzip":
        body = _unzipped(body, limit)
    if not body.strip():
        raise Refused(400, "no_json", "The body is empty", "send one event, an array of events, or one a line")
    return event_of_form(body) if kind == FORM else body


async def _received(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _unzipped(body: bytes, limit: int) -> bytes:
    """Every member of a gzip body; a bomb goes no further than ``limit``."""
    out = b""
    for _ in range(_MEMBERS):
        inflate = zlib.decompressobj(wbits=31)
        try:
            out += inflate.decompress(body, limit + 1 - len(out))
        except zlib.error as e:
            raise Refused(400, "no_json", "The body is no gzip", str(e)) from e
        if len(out) > limit:
            raise _too_large(limit)
        if not inflate.eof:
            raise Refused(400, "no_json", "The body is no gzip", "it ends too early")
        body = inflate.unused_data
        if not body:
            return out
    raise Refused(400, "no_json", "The body is no gzip", f"it has more than {_MEMBERS} members")


def _too_large(limit: int) -> Refused:
    return Refused(413, "size", "The body is too large", f"at most {limit} bytes", {"Connection": "close"})


def event_of_headers(headers: Headers, body: bytes) -> bytes:
    """CloudEvents' binary mode: the event whose attributes are in ``ce-`` headers and whose data is the body."""
    return event_of_attributes(
        ((name[3:], unquote(value)) for name, value in headers.items() if name.startswith("ce-") and len(name) > 3),
        body,
    )


def event_of_form(body: bytes) -> bytes:
    """The JSON of a form's field ``payload`` (GitHub and Slack send it so), else its fields as one object.

    A body that is JSON stays as it is: ``curl -d`` calls everything a form. Raises Refused for what is no form.
    """
    if body.lstrip()[:1] in (b"{", b"[", b'"') or b"=" not in body:
        return body
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError as e:  # not UTF-8, or too many fields
        raise Refused(400, "no_json", "The form cannot be read", str(e)[:200]) from e
    payload = fields.get("payload", [""])[0]
    if payload.lstrip()[:1] in ("{", "["):
        return payload.encode("utf-8")
    return write({name: values[0] if len(values) == 1 else values for name, values in fields.items()})


def validation_code(body: bytes) -> str | None:
    """The code of Event Grid's subscription validation, in either schema and any case; None for any other body."""
    if len(body) > _LARGEST_VALIDATION or not _VALIDATION.search(body):
        return None
    try:
        event = read_json(body)
    except ReadError:
        return None
    if isinstance(event, list):
        event = event[0] if event else None
    if not isinstance(event, dict):
        return None
    kind = any_case(event, "eventType") or any_case(event, "type")
    data = any_case(event, "data")
    if not isinstance(kind, str) or kind.lower() != VALIDATION or not isinstance(data, dict):
        return None
    code = any_case(data, "validationCode")
    return code if isinstance(code, str) else None

"""CloudEvents that are not plain JSON: attributes in headers (binary mode), and data in base64.

Formats: CloudEvents 1.0, its JSON format (3.1.1, ``data_base64``), HTTP binding (3.1) and Kafka binding (3.2).
"""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.intake.expressions import base64_bytes
from tocsin.intake.formats import write
from tocsin.model.text.strictjson import ReadError, read_json

BASE64_FIELD = b'"data_base64"'


def event_of_attributes(attributes: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """The event whose attributes came in headers and whose data is ``body``; ``body`` itself where that is no JSON."""
    event: dict[str, object] = dict(attributes)
    try:
        event["data"] = read_json(body, limit=len(body))
    except ReadError:
        return body  # goes the way of every body that cannot be read
    return write(event)


def put_data(event: object) -> bool:
    """Give ``event`` the ``data`` that its ``data_base64`` holds, JSON or text. False: it needs none or has none."""
    if not isinstance(event, dict) or event.get("data") is not None:
        return False
    data = base64_bytes(event.get("data_base64"))
    if data is None:
        return False
    try:
        event["data"] = read_json(data)
    except ReadError:
        try:
            event["data"] = data.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def plain(raw: bytes) -> bytes:
    """The event ``raw`` with its data in place of base64, as the store reads it; ``raw`` where there is nothing to do."""
    if BASE64_FIELD not in raw:
        return raw
    try:
        event = read_json(raw)
    except ReadError:
        return raw
    return write(event) if put_data(event) else raw

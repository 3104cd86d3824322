"""A stored mail as people and programs look at it."""

from __future__ import annotations

import email
import json
import re
from email.message import EmailMessage
from email.policy import default
from typing import Any

from tocsin.model.delivery import EMAIL, Delivery, DeliveryState

MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""For a mail's HTML: it may look as it likes, and do nothing."""


def row(mail: Delivery) -> dict[str, Any]:
    """A mail in the list."""
    return {
        "Delivery": mail.id,
        "Time": mail.created_at,
        "Channel": mail.channel,
        "Address": mail.address,
        "Receiver": mail.receiver,
        "Group": mail.group,
        "Rules": list(mail.rules),
        "Severity": mail.severity,
        "Subject": mail.subject,
        "State": mail.state.value,
        "Attempt": mail.attempt,
        "NextAt": mail.next_at if mail.state is DeliveryState.READY else None,
        "Reply": mail.reply,
        "MessageId": mail.message_id,
        "RunId": mail.run_id,
        "Covers": mail.covers,
    }


def whole(mail: Delivery) -> dict[str, Any]:
    """A mail with its headers and both bodies."""
    message = parsed(mail)
    headers = {name: str(value) for name, value in message.items()}
    return {**row(mail), "Headers": headers, "Text": text(mail), "Html": html(mail)}


def parsed(mail: Delivery) -> EmailMessage:
    """The message of a delivery; one without headers for what was never written as a mail."""
    return email.message_from_bytes(mail.message if _written(mail) else b"", policy=default)


def text(mail: Delivery) -> str:
    """The text body."""
    if mail.channel != EMAIL:
        return _pretty(mail.message)
    if not _written(mail):
        return f"{mail.subject}\n\nBeyond the cap: notified as one line of a summary, not as a mail of its own.\n"
    return _body(parsed(mail), "plain")


def html(mail: Delivery) -> str:
    """The HTML body, '' where it has none."""
    return _body(parsed(mail), "html")


def _written(mail: Delivery) -> bool:
    """A mail beyond the cap holds its line of the summary, as JSON, instead of a message."""
    return mail.channel == EMAIL and not mail.message.startswith(b"{")


def _pretty(message: bytes) -> str:
    """What another channel sends, indented where it is JSON."""
    try:
        return json.dumps(json.loads(message), indent=2, ensure_ascii=False)
    except ValueError:
        return message.decode("utf-8", "replace")


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


def framed(html: str) -> str:
    """A mail's HTML whose links open outside its frame."""
    base = '<base target="_blank">'
    placed, count = re.subn(r"(?i)(<head\b[^>]*>)", lambda m: m[1] + base, html, count=1)
    return placed if count else base + html

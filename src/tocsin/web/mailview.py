"""A stored mail as people and programs look at it."""

from __future__ import annotations

import email
import re
from email.message import EmailMessage
from email.policy import default
from typing import Any

from tocsin.model.delivery import Delivery, DeliveryState

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
        "Address": mail.address,
        "Receiver": mail.receiver,
        "Group": mail.group,
        "Rules": list(mail.rules),
        "Severity": mail.severity,
        "Subject": mail.subject,
        "State": mail.state.value,
        "Attempt": mail.attempt,
        "NextAt": mail.next_at if mail.state is DeliveryState.READY else None,
        "SmtpReply": mail.reply,
        "MessageId": mail.message_id,
        "RunId": mail.run_id,
        "Covers": mail.covers,
    }


def whole(mail: Delivery) -> dict[str, Any]:
    """A mail with its headers and both bodies."""
    message = parsed(mail)
    headers = {name: str(value) for name, value in message.items()}
    return {**row(mail), "Headers": headers, "Text": body(message, "plain"), "Html": body(message, "html")}


def parsed(mail: Delivery) -> EmailMessage:
    """The message of a delivery."""
    return email.message_from_bytes(mail.message, policy=default)


def body(message: EmailMessage, kind: str) -> str:
    """The text (``plain``) or ``html`` body, '' where it has none."""
    part = message.get_body((kind,)) if kind in ("plain", "html") else None
    return str(part.get_content()) if part is not None else ""


def framed(html: str) -> str:
    """A mail's HTML whose links open outside its frame."""
    base = '<base target="_blank">'
    placed, count = re.subn(r"(?i)(<head\b[^>]*>)", lambda m: m[1] + base, html, count=1)
    return placed if count else base + html

"""A mail as bytes: RFC 5322, CRLF, multipart/alternative with the text first.

The standard library's message objects cost as much as everything else together, so the frame is written here and only
what needs encoding is given to its policy. Tests read every mail back with the standard library.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.headerregistry import Address, HeaderRegistry
from email.utils import format_datetime, parseaddr
from functools import lru_cache

from tocsin.model.text.causes import one_line

_REGISTRY = HeaderRegistry()
_POLICY = policy.SMTP
_POLICY_UTF8 = policy.SMTPUTF8
_WIDTH = 78
"""Characters of a header's line; RFC 5322, 2.1.1."""
_LONG_LINE = 990
"""Bytes of a line that go as they are, at most; RFC 5322, 2.1.1."""
_DISPLAY = re.compile(r"[A-Za-z0-9 ._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Everything of a mail but its parts."""

    id: str  # of the delivery: names the message
    sender: str  # as settings say: "tocsin <tocsin@example.org>"
    to: str  # a bare address
    to_name: str = ""
    date: datetime
    references: tuple[str, ...] = ()  # Message-IDs of the thread, oldest first
    unsubscribe: tuple[str, ...] = ()  # addresses of RFC 2369, an https one first: then one click does it (RFC 8058)
    extra: Sequence[tuple[str, str]] = field(default=())  # X-Tocsin-…; values are cleaned here


def message_id(id: str, sender: str) -> str:
    """Message-ID of the delivery called ``id``."""
    return f"<{id}@{_domain(sender)}>"


@lru_cache(64)
def _domain(sender: str) -> str:
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return domain.encode("idna").decode("ascii") if domain else "tocsin.invalid"


def build(envelope: Envelope, subject: str, text: str, html: str) -> bytes:
    """The message. The same arguments give the same bytes."""
    head = [
        _mailbox("From", envelope.sender),
        _recipient(envelope.to, envelope.to_name),
        _header("Subject", one_line(subject) or "tocsin"),
        f"Date: {_date(envelope.date)}",
        f"Message-ID: {message_id(envelope.id, envelope.sender)}",
    ]
    if envelope.references:
        head.append(f"In-Reply-To: {envelope.references[-1]}")
        head.append("References: " + "\r\n ".join(envelope.references))
    head.append("Auto-Submitted: auto-generated")
    head.append(f"List-Id: tocsin <alerts.{_domain(envelope.sender)}>")
    if envelope.unsubscribe:
        head.append("List-Unsubscribe: " + ",\r\n ".join(f"<{address}>" for address in envelope.unsubscribe))
        if envelope.unsubscribe[0].startswith("https:"):
            head.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    head += [_header(name, value) for name, value in ((n, one_line(v, 300)) for n, v in envelope.extra) if value]
    head.append("MIME-Version: 1.0")
    plain = _part("plain", text)
    if not html:
        return "\r\n".join([*head, ""]).encode() + plain
    rich = _part("html", html)
    boundary = _boundary(envelope.id, plain + rich)
    mark = b"--" + boundary
    head.append(f'Content-Type: multipart/alternative; boundary="{boundary.decode()}"')
    top = "\r\n".join([*head, "", ""]).encode()
    return b"".join([top, mark, b"\r\n", plain, b"\r\n", mark, b"\r\n", rich, b"\r\n", mark, b"--\r\n"])


@lru_cache(64)
def _date(t: datetime) -> str:
    return format_datetime(t)


def _boundary(id: str, body: bytes) -> bytes:
    """A line that the body does not hold; the same for the same mail."""
    boundary = b"=_" + id[:24].encode()
    while boundary in body:
        boundary += b"_"
    return boundary


def _part(subtype: str, content: str) -> bytes:
    raw = content.encode("utf-8", "replace").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if raw.isascii() and b"\0" not in raw and max(map(len, raw.split(b"\n"))) < _LONG_LINE:
        encoding, charset, body = b"7bit", b"us-ascii", raw
    else:
        encoding, charset = b"quoted-printable", b"utf-8"
        body = binascii.b2a_qp(raw, istext=True)
    head = b'Content-Type: text/%s; charset="%s"\r\nContent-Transfer-Encoding: %s\r\n\r\n'
    return head % (subtype.encode(), charset, encoding) + body.replace(b"\n", b"\r\n")


def _header(name: str, value: str) -> str:
    value = value.replace("=?", "= ?")  # what looks like an encoded word would be read as one
    return (_cut(name, value) if value.isascii() and value.isprintable() else "") or _fold(name, value)


def _cut(name: str, value: str) -> str:
    """The header cut before blanks; '' where a word is too long for that. Ten times as fast as the library."""
    lines, rest, least = [], f"{name}: {value}", len(name) + 2
    while len(rest) > _WIDTH:
        at = rest.rfind(" ", least, _WIDTH + 1)
        if at < 0:
            return ""
        lines.append(rest[:at])
        rest, least = rest[at:], 1
    return "\r\n".join([*lines, rest])


def _fold(name: str, value: str) -> str:
    header = _REGISTRY(name if name == "Subject" else "Subject", value)
    folded = str(header.fold(policy=_POLICY)).removesuffix("\r\n")
    return folded if name == "Subject" else name + folded.removeprefix("Subject")


@lru_cache(256)
def _mailbox(name: str, value: str) -> str:
    display, address = parseaddr(value)
    return _address(name, address, display)


@lru_cache(4096)
def _recipient(address: str, display: str) -> str:
    return _address("To", address, display)


def _address(name: str, address: str, display: str) -> str:
    if not display and address.isascii():
        return f"{name}: {address}"
    if address.isascii() and _DISPLAY.fullmatch(display) and len(display) + len(address) < 66:
        return f"{name}: {display} <{address}>"
    local, _, domain = address.rpartition("@")
    header = _REGISTRY(name, str(Address(one_line(display, 100), local, domain)))
    return str(header.fold(policy=_POLICY if address.isascii() else _POLICY_UTF8)).removesuffix("\r\n")

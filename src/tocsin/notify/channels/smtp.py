"""SMTP by aiosmtplib: connect (plain, STARTTLS, TLS), log in, send, and what the server's answers mean."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from email.utils import parseaddr
from typing import cast

import aiosmtplib
import structlog
from aiosmtplib.errors import (
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPTimeoutError,
)

from tocsin.model.delivery import Delivery
from tocsin.model.text.causes import one_line
from tocsin.notify.addresses import needs_smtputf8
from tocsin.notify.channels.base import Connection, MailChannel, Outcome, Reply, Unreachable
from tocsin.notify.channels.smtp_talk import Talk

log = structlog.get_logger(__name__)

_GOODBYE = 2.0
"""Seconds to wait for the answer to QUIT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpOptions:
    """Where the server is and how to talk to it."""

    host: str
    port: int = 25
    security: str = "none"  # none, starttls (refused where the server has none), tls
    username: str = ""
    password: str = ""
    ca_file: str = ""  # '' trusts the system's authorities
    sender: str = "tocsin <tocsin@localhost>"
    timeout: float = 30.0  # seconds, of one answer
    connections: int = 4

    def __repr__(self) -> str:
        return f"SmtpOptions({self.host}:{self.port}, {self.security})"


class SmtpChannel(MailChannel):
    """Connections to one server."""

    def __init__(self, options: SmtpOptions) -> None:
        """Connects to nothing yet. Raises OSError where ``ca_file`` cannot be read."""
        self._options, self.workers = options, options.connections
        self._from = parseaddr(options.sender)[1]
        self._tls: ssl.SSLContext | None = None
        if options.security != "none":
            self._tls = ssl.create_default_context(cafile=options.ca_file or None)
        name = socket.gethostname()
        self._hostname = name if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name) else "localhost"

    async def connect(self) -> Connection:
        """Connect, secure, log in."""
        o = self._options
        client = aiosmtplib.SMTP(
            hostname=o.host,
            port=o.port,
            username=o.username or None,
            password=o.password or None if o.username else None,
            local_hostname=self._hostname,
            timeout=o.timeout,
            use_tls=o.security == "tls",
            start_tls=o.security == "starttls",
            tls_context=self._tls,
        )
        try:
            await client.connect()
            if not client.supports_esmtp:
                await client._ehlo_or_helo_if_needed()
        except (SMTPException, OSError, ssl.SSLError, ValueError) as e:
            client.close()
            raise Unreachable(f"{o.host}:{o.port}: {said(e)}") from e
        except asyncio.CancelledError:
            client.close()
            raise
        if client.transport is None:
            raise Unreachable(f"{o.host}:{o.port}: Connection lost")
        return _Smtp(client, cast(asyncio.Transport, client.transport), self._from, o.timeout)


class _Smtp(Connection):
    def __init__(self, client: aiosmtplib.SMTP, transport: asyncio.Transport, sender: str, timeout: float) -> None:
        """``client`` is connected and logged in."""
        self._sender = sender
        self._pipelining, self._size, self._utf8 = (
            client.supports_extension(name) for name in ("pipelining", "size", "smtputf8")
        )
        self._talk = Talk(transport, timeout)

    @property
    def alive(self) -> bool:
        return self._talk.alive

    async def send(self, delivery: Delivery) -> Reply:
        options = [f"SIZE={len(delivery.message)}"] if self._size else []
        try:
            if needs_smtputf8(delivery.address) or needs_smtputf8(self._sender):
                if not self._utf8:
                    raise SMTPNotSupported("SMTPUTF8 is not supported by this server")
                options.append("SMTPUTF8")
            _, text = await self._talk.mail(
                self._sender, delivery.address, delivery.message, options=options, pipelining=self._pipelining
            )
        except (SMTPException, OSError, ValueError) as e:
            reply = classify(e)
            if reply.closed:
                self._talk.close()
            return reply
        return Reply(outcome=Outcome.ACCEPTED, text=one_line(f"250 {text}", 300), closed=not self.alive)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._talk.ask(b"QUIT\r\n", 1)
        except (SMTPException, OSError):
            pass  # it is going anyway
        finally:
            self._talk.close()


def classify(error: Exception) -> Reply:
    """What an exception of aiosmtplib means for the mail."""
    text = said(error)
    if isinstance(error, SMTPRecipientsRefused):
        error = error.recipients[0]  # one message has one recipient
    if isinstance(error, SMTPResponseException):
        if 400 <= error.code < 500:
            return Reply(outcome=Outcome.LATER, text=text, closed=error.code == 421)
        if 500 <= error.code < 600:
            return Reply(outcome=Outcome.NEVER, text=text)
        return Reply(outcome=Outcome.NETWORK, text=text, closed=True)  # no SMTP at all
    if isinstance(error, SMTPNotSupported):
        return Reply(outcome=Outcome.NEVER, text="the server takes no address beyond ASCII (it has no SMTPUTF8)")
    if isinstance(error, ValueError):
        return Reply(outcome=Outcome.NEVER, text=f"not sent: {text}")
    if isinstance(error, SMTPTimeoutError | TimeoutError):
        return Reply(outcome=Outcome.TIMEOUT, text=text, closed=True)
    return Reply(outcome=Outcome.NETWORK, text=text, closed=True)


def said(error: BaseException) -> str:
    """The other side's words, in one line."""
    if isinstance(error, SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if isinstance(error, SMTPResponseException):
        return one_line(f"{error.code} {error.message}", 300)
    return one_line(str(error) or type(error).__name__, 300)

"""What SMTP says for each mail, over a connection that aiosmtplib has opened, secured and logged in to.

    write   MAIL RCPT DATA ──►                      write   message ──►
            ◄── 250 250 354    read                         ◄── 250    read

aiosmtplib waits for four answers a mail, each by a future and a timer of its own, which costs more CPU than a mail's
templates. A server that knows PIPELINING (RFC 2920) gets the three commands in one write; another gets one at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from aiosmtplib.errors import (
    SMTPDataError,
    SMTPReadTimeoutError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)
from aiosmtplib.protocol import normalize_message_line_endings
from aiosmtplib.response import SMTPResponse

_LONGEST = 32_768
"""Bytes of an answer; aiosmtplib's own bound."""
_BEFORE_DATA = 3
"""Commands of a mail: MAIL, RCPT, DATA."""
_INVALID = -1
"""Code of an answer that is not SMTP; aiosmtplib's."""
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")


class Talk(asyncio.Protocol):
    """Takes the transport over. One mail at a time."""

    def __init__(self, transport: asyncio.Transport, timeout: float) -> None:
        """``timeout`` is in seconds, of one answer."""
        self._transport, self._timeout = transport, timeout
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._answers: list[SMTPResponse] = []
        self._said: list[str] = []  # lines of an answer that goes on
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    @property
    def alive(self) -> bool:
        """Whether it still seems to be open."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """Close it; no QUIT goes first."""
        self._transport.close()

    async def mail(
        self, sender: str, recipient: str, message: bytes, *, options: Sequence[str], pipelining: bool
    ) -> SMTPResponse:
        """Hand over one message; the server's last answer. Raises SMTPException and ValueError as
        ``aiosmtplib.SMTP.sendmail`` does; the envelope is reset then, or the connection closed.
        """
        mail = " ".join([f"MAIL FROM:{_quoted(sender)}", *options])
        commands = [f"{line}\r\n".encode() for line in (mail, f"RCPT TO:{_quoted(recipient)}", "DATA")]
        if pipelining:
            answers = await self.ask(b"".join(commands), _BEFORE_DATA)
        else:
            answers = []
            for command in commands:
                answers += await self.ask(command, 1)
                if _refused(answers, sender, recipient) is not None:
                    break
        if (refused := _refused(answers, sender, recipient)) is not None:
            await self._reset(answers)
            raise refused
        if len(answers) < _BEFORE_DATA:
            raise SMTPServerDisconnected("Connection lost")
        (last,) = await self.ask(transmitted(message), 1)
        if last.code != 250:
            raise SMTPDataError(last.code, last.message)
        return last

    async def _reset(self, answers: Sequence[SMTPResponse]) -> None:
        """Make the next mail possible after a refusal."""
        if answers[-1].code in (354, 421):  # it waits for a message that it shall not get, or it hangs up
            self.close()
            return
        try:
            await self.ask(b"RSET\r\n", 1)
        except (ConnectionError, SMTPResponseException):
            pass  # what was refused is the news

    async def ask(self, data: bytes, answers: int) -> list[SMTPResponse]:
        """Write ``data`` and read so many answers: fewer, but one, where the server hangs up. Raises
        SMTPServerDisconnected, SMTPReadTimeoutError, SMTPResponseException for what is no SMTP.
        """
        if self._transport.is_closing():
            raise SMTPServerDisconnected("Connection lost")
        self._answers, self._said, self._buffer, self._wanted = [], [], b"", answers
        self._waiter = self._loop.create_future()
        self._timer = self._loop.call_later(self._timeout, self._late)
        try:
            self._transport.write(data)
            await self._waiter
        finally:
            self._timer.cancel()
            self._waiter = None
        return self._answers

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Answers; what nobody asked for is dropped."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if not line[:3].isdigit() or not self._line(line):
                self._fail(SMTPResponseException(_INVALID, f"no SMTP: {line.decode('utf-8', 'replace')}"))
                return
        if len(self._buffer) > _LONGEST:
            self._fail(SMTPResponseException(_INVALID, "Response too long"))
        elif len(self._answers) >= self._wanted:
            waiter.set_result(None)
        elif self._timer is not None and lines:
            self._timer.cancel()
            self._timer = self._loop.call_later(self._timeout, self._late)

    def _line(self, line: bytes) -> bool:
        """Take one line of an answer; whether the answer is still of a sane length."""
        self._said.append(line[4:].strip().decode("utf-8", "surrogateescape"))
        if line[3:4] != b"-":
            self._answers.append(SMTPResponse(int(line[:3]), "\n".join(self._said)))
            self._said = []
        return sum(map(len, self._said)) < _LONGEST

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits gets what came before; an answer that is missing was not given."""
        if self._answers and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
            return
        lost = SMTPServerDisconnected("Connection lost")
        lost.__cause__ = exc
        self._fail(lost)

    def _late(self) -> None:
        self._fail(SMTPReadTimeoutError("Timed out waiting for server response"))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()  # an answer that comes later would be taken for the next one


def _refused(answers: Sequence[SMTPResponse], sender: str, recipient: str) -> SMTPResponseException | None:
    """The first refusal among the answers to MAIL, RCPT and DATA."""
    for step, (code, text) in enumerate(answers):
        if step == 0 and code != 250:
            return SMTPSenderRefused(code, text, sender)
        if step == 1 and code not in (250, 251):
            return SMTPRecipientRefused(code, text, recipient)
        if step == 2 and code != 354:
            return SMTPDataError(code, text)
    return None


def transmitted(message: bytes) -> bytes:
    """``message`` as DATA sends it: lines end with CRLF, a dot at a line's start is doubled, a dot alone is the end."""
    if not (message.count(b"\r\n") == message.count(b"\n") == message.count(b"\r") and message.endswith(b"\n")):
        message = normalize_message_line_endings(message)
    if message.startswith(b"."):
        message = b"." + message
    return message.replace(b"\n.", b"\n..") + b".\r\n"


def _quoted(address: str) -> str:
    """``<address>``. Raises ValueError for what could be more than an address."""
    if _UNSAFE.search(address):
        raise ValueError(f"Address {address!r} has characters that no address has")
    return f"<{address}>"

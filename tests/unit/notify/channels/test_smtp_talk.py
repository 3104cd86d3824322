"""What SMTP says for each mail, with a server whose answers the test writes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import pytest
from aiosmtplib.errors import (
    SMTPDataError,
    SMTPReadTimeoutError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from tocsin.notify.channels.smtp_talk import Talk, transmitted

OK = {
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go on\r\n",
    ".": b"250 queued as 7\r\n",
    "RSET": b"250 ok\r\n",
}
HANGS_UP = b""
MESSAGE = b"Subject: s\r\n\r\ntext\r\n.\r\n..\r\n"


class Server:
    """One that answers as ``answers`` says, by a command's first four letters, ``.`` for a message."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = dict(answers)
        self.reads: list[bytes] = []
        self.messages: list[bytes] = []
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()
            self.over.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer, in_data = b"", False
        with suppress(ConnectionError):
            while read := await reader.read(65_536):
                self.reads.append(read)
                buffer += read
                while (end := buffer.find(b"\r\n.\r\n" if in_data else b"\r\n")) >= 0:
                    said, buffer = buffer[:end], buffer[end + (5 if in_data else 2) :]
                    if in_data:
                        self.messages.append(said)
                    answer = self.answers["." if in_data else said[:4].decode().upper()]
                    in_data = answer.startswith(b"354")
                    for n in range(len(answer)):  # in pieces
                        writer.write(answer[n : n + 1])
                        await asyncio.sleep(0)
                    if answer == HANGS_UP or answer.startswith(b"421"):
                        return


def with_server(server: Server, work: Callable[[Talk], Awaitable[None]], timeout: float = 5) -> None:
    async def running() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
        talk = Talk(transport, timeout)
        try:
            await work(talk)
        finally:
            talk.close()
            async with asyncio.timeout(5):
                await server.over.wait()
            listening.close()

    asyncio.run(running())


async def send(talk: Talk, pipelining: bool, to: str = "b@example.org") -> str:
    last = await talk.mail("a@example.org", to, MESSAGE, options=["SIZE=30"], pipelining=pipelining)
    return last.message


@pytest.mark.parametrize(("pipelining", "reads"), [(True, 2), (False, 4)])
def test_a_mail_is_two_writes_with_pipelining_and_four_without(pipelining: bool, reads: int) -> None:
    server = Server({**OK, "RCPT": b"250-more\r\n250 ok\r\n"})

    async def work(talk: Talk) -> None:
        assert await send(talk, pipelining) == "queued as 7"
        assert await send(talk, pipelining) == "queued as 7"

    with_server(server, work)
    assert len(server.reads) == 2 * reads
    said = b"".join(server.reads[:reads])
    assert said.startswith(b"MAIL FROM:<a@example.org> SIZE=30\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
    assert server.messages == [b"Subject: s\r\n\r\ntext\r\n..\r\n..."] * 2


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    ("at", "error"),
    [("MAIL", SMTPSenderRefused), ("RCPT", SMTPRecipientRefused), ("DATA", SMTPDataError), (".", SMTPDataError)],
)
def test_a_refusal_at_any_stage_says_so_and_the_next_mail_goes(
    pipelining: bool, at: str, error: type[SMTPResponseException]
) -> None:
    after = {"DATA": b"503 no recipients\r\n"} if at in ("MAIL", "RCPT") else {}
    server = Server({**OK, **after, at: b"550-5.7.1 no\r\n550 never\r\n"})

    async def work(talk: Talk) -> None:
        with pytest.raises(error) as caught:
            await send(talk, pipelining)
        assert (caught.value.code, caught.value.message) == (550, "5.7.1 no\nnever")
        assert talk.alive
        server.answers = dict(OK)
        assert await send(talk, pipelining) == "queued as 7"

    with_server(server, work)
    assert len(server.messages) == (2 if at == "." else 1)


def test_a_server_that_wants_the_message_of_a_refused_mail_gets_none() -> None:
    server = Server({**OK, "RCPT": b"550 no\r\n"})

    async def work(talk: Talk) -> None:
        with pytest.raises(SMTPRecipientRefused):
            await send(talk, True)
        assert not talk.alive

    with_server(server, work)
    assert server.messages == []


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_server_that_hangs_up(pipelining: bool) -> None:
    """With 421 it has answered; without a word nobody knows."""
    for at in ("MAIL", "RCPT", "DATA", "."):

        async def busy(talk: Talk) -> None:
            with pytest.raises(SMTPResponseException) as caught:
                await send(talk, pipelining)
            assert caught.value.code == 421

        async def gone(talk: Talk) -> None:
            with pytest.raises(SMTPServerDisconnected):
                await send(talk, pipelining)
            with pytest.raises(SMTPServerDisconnected):
                await send(talk, pipelining)
            assert not talk.alive

        with_server(Server({**OK, at: b"421 too busy\r\n"}), busy)
        with_server(Server({**OK, at: HANGS_UP}), gone)


def test_what_is_no_smtp_or_comes_late_ends_the_connection() -> None:
    async def none(talk: Talk) -> None:
        with pytest.raises(SMTPResponseException, match=r"no SMTP: HTTP/1\.1 400"):
            await send(talk, True)
        assert not talk.alive

    async def late(talk: Talk) -> None:
        with pytest.raises(SMTPReadTimeoutError):
            await send(talk, True)
        assert not talk.alive

    with_server(Server({**OK, "MAIL": b"HTTP/1.1 400 Bad Request\r\n"}), none)
    with_server(Server({**OK, "RCPT": b"250-and so on\r\n"}), late, timeout=0.05)
    with_server(Server({**OK, "RCPT": b"250-" + b"x" * 40_000 + b"\r\n"}), too_long)


async def too_long(talk: Talk) -> None:
    with pytest.raises(SMTPResponseException):
        await send(talk, True)


@pytest.mark.parametrize(
    "address", ["b@example.org>\r\nRCPT TO:<eve@example.org", "b@example.org> SIZE=1", "b\0@example.org"]
)
def test_an_address_is_no_command(address: str) -> None:
    server = Server(OK)

    async def work(talk: Talk) -> None:
        with pytest.raises(ValueError, match="Address"):
            await send(talk, True, to=address)

    with_server(server, work)
    assert server.reads == []


def test_a_message_as_data_sends_it() -> None:
    assert transmitted(b".a\r\n.\r\nb.\r\n") == b"..a\r\n..\r\nb.\r\n.\r\n"
    assert transmitted(b"a\nb\rc") == b"a\r\nb\r\nc\r\n.\r\n"

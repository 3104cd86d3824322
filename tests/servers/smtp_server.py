"""The SMTP server's process: aiosmtpd, writing what it accepts to a spool before it says 250.

Run by tests/servers/smtp.py as `python -m tests.servers.smtp_server SETTINGS`, a process of its own, so that killing
tocsin does not touch it. SETTINGS is JSON, the fields of `Settings`. It ends on SIGTERM, or when its standard input
does. It reads `control.json` in its directory, a list of `Script`s, again whenever that file changed.
"""

import asyncio
import base64
import itertools
import json
import os
import re
import signal
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import uvloop
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LINE_LIMIT = 998  # bytes without the line's end; RFC 5321, 4.5.3.1.6
PLAIN_ADDRESS = re.compile(r"<([A-Za-z0-9_.+=-]+@[A-Za-z0-9.-]+)>")

Stage = Literal["mail", "rcpt", "data", "reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What cannot change while the server runs."""

    directory: str
    port: int
    security: Literal["none", "starttls", "tls"] = "none"
    certificate: str = ""  # files, PEM; for starttls and tls
    key: str = ""
    user: str = ""  # '' asks nobody to log in
    password: str = ""
    smtputf8: bool = True
    pipelining: bool = True  # whether it says so; it could in any case
    fsync: bool = False  # against a crash of the machine; a write() alone outlives any process
    size_limit: int = 32 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to do instead of plain acceptance, for some recipients, some times.

    Stages: `mail` and `rcpt` answer these commands; `data` answers the message without having accepted it; `reply`
    comes after the message was accepted and spooled, before the 250 goes out.
    """

    at: Stage = "rcpt"
    to: str = "*"  # an address, a local part, or * for all; `mail` knows no recipient, so there only *
    reply: str = ""  # e.g. "451 4.3.0 try later"; '' goes on as usual
    delay: float = 0  # seconds before anything else
    drop: bool = False  # cut the connection instead of answering
    times: int | None = None  # how often; None is for ever

    def meets(self, stage: Stage, recipients: list[str]) -> bool:
        """Say whether this is about that stage and one of those recipients."""
        if stage != self.at:
            return False
        return self.to == "*" or any(self.to in (address, address.rpartition("@")[0]) for address in recipients)


class Spool:
    """Appends JSON lines. What `put` returned from has left this process, and with fsync is on the disk."""

    def __init__(self, path: Path, fsync: bool) -> None:
        """Open for appending, creating the file."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._fsync = fsync
        self._waiting: list[asyncio.Future[None]] = []
        self._syncing: asyncio.Task[None] | None = None

    async def put(self, **line: Any) -> None:
        """Write one line."""
        os.write(self._file, json.dumps(line).encode() + b"\n")
        if self._fsync:
            done = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            if self._syncing is None:
                self._syncing = asyncio.create_task(self._sync())
            await done

    async def _sync(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(os.fsync, self._file)
            for done in batch:
                if not done.done():
                    done.set_result(None)
        self._syncing = None


class Control:
    """The scripts in force, with how often each may still act."""

    def __init__(self, path: Path) -> None:
        """Watch `path`, which need not exist."""
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._left: list[tuple[Script, int | None]] = []

    def next(self, stage: Stage, recipients: list[str]) -> Script | None:
        """Return the first script for this stage that has a time left, and count that time."""
        self._read()
        for position, (script, left) in enumerate(self._left):
            if left == 0 or not script.meets(stage, recipients):
                continue
            if left is not None:
                self._left[position] = (script, left - 1)
            return script
        return None

    def _read(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        version = (found.st_ino, found.st_mtime_ns)
        if version != self._seen:
            self._seen = version
            scripts = [Script(**script) for script in json.loads(self._path.read_text())]
            self._left = [(script, script.times) for script in scripts]


@dataclass  # no slots: aiosmtpd calls inspect.getmembers, which Python 3.11.2 fails at for them
class Handler:
    """aiosmtpd's hooks."""

    spool: Spool
    control: Control
    tls: bool  # from the first byte on
    pipelining: bool
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Answer EHLO."""
        session.host_name = hostname
        return [*responses[:1], *["250-PIPELINING"] * self.pipelining, *responses[1:]]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL FROM."""
        answer = await self._act("mail", server, session, [])
        if answer is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return answer or "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT TO."""
        answer = await self._act("rcpt", server, session, [address])
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Answer the message: refused, or spooled and then 250."""
        recipients = [str(address) for address in envelope.rcpt_tos]
        answer = await self._act("data", server, session, recipients)
        if answer is not None:
            return answer
        content = envelope.original_content or b""
        script = self.control.next("reply", recipients)
        await self.spool.put(
            kind="accepted",
            mail_from=envelope.mail_from,
            rcpt_tos=recipients,
            mail_options=envelope.mail_options,
            content=base64.b64encode(content).decode(),
            accepted_at=time.time(),
            connection=self._number(session),
            tls=self.tls or session.ssl is not None,
            user=getattr(session, "tocsin_user", ""),
            notified=not (script is not None and script.drop),
        )
        if script is not None:
            answer = await self._follow(script, server)
        return answer or "250 2.0.0 OK"

    def _number(self, session: Session) -> int:
        number: int | None = getattr(session, "tocsin_number", None)
        if number is None:
            number = next(self.numbers)
            setattr(session, "tocsin_number", number)  # noqa: B010 - aiosmtpd's Session declares no such field
        return number

    async def _act(self, stage: Stage, server: SMTP, session: Session, recipients: list[str]) -> str | None:
        script = self.control.next(stage, recipients)
        if script is None:
            return None
        answer = await self._follow(script, server)
        if answer is not None:
            await self.spool.put(
                kind="refused",
                stage=stage,
                rcpt_tos=recipients,
                reply="" if script.drop else answer,
                refused_at=time.time(),
                connection=self._number(session),
            )
        return answer

    async def _follow(self, script: Script, server: SMTP) -> str | None:
        if script.delay:
            await asyncio.sleep(script.delay)
        if script.drop:
            if server.transport is not None:
                server.transport.abort()  # type: ignore[attr-defined]
            return "421 4.4.2 dropped"  # nobody receives it
        return script.reply or None


class Connection(SMTP):
    """aiosmtpd's, with its slow parts replaced: a message read line by line, addresses taken apart by `email`."""

    line_length_limit = 64 * 1024 * 1024  # of the stream's buffer; that of RFC 5321 is checked below

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        plain = PLAIN_ADDRESS.match(arg)
        return (plain[1], arg[plain.end() :]) if plain else super()._getaddr(arg)

    async def smtp_DATA(self, arg: str | None) -> None:
        """Take a message and ask the handler what to answer."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        envelope = self.envelope
        assert envelope is not None
        if arg or not envelope.rcpt_tos:
            await self.push("501 Syntax: DATA" if arg else "503 Error: need RCPT command")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        data = b"\r\n"
        while not data.endswith(b"\r\n.\r\n"):
            data += await self._reader.readuntil(b".\r\n")
        content = data[:-3].replace(b"\r\n.", b"\r\n")[2:]  # RFC 5321, 4.5.2
        if max(map(len, content.split(b"\r\n"))) > LINE_LIMIT:
            answer = "500 Line too long (see RFC5321 4.5.3.1.6)"
        elif self.data_size_limit and len(content) > self.data_size_limit:
            answer = "552 Error: Too much mail data"
        else:
            envelope.content = envelope.original_content = content
            answer = await self._call_handler_hook("DATA")
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(answer)


def _authenticator(settings: Settings) -> Any:
    right = LoginPassword(settings.user.encode(), settings.password.encode())

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        success = isinstance(data, LoginPassword) and (data.login, data.password) == (right.login, right.password)
        if success:
            setattr(session, "tocsin_user", settings.user)  # noqa: B010
        return AuthResult(success=success, handled=False)

    return authenticate


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or the end of standard input."""
    directory = Path(settings.directory)
    handler = Handler(
        Spool(directory / "spool.jsonl", settings.fsync),
        Control(directory / "control.json"),
        settings.security == "tls",
        settings.pipelining,
    )
    tls: ssl.SSLContext | None = None
    if settings.security != "none":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(settings.certificate, settings.key)
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(
            handler,
            hostname="localhost",
            ident="tocsin tests",
            enable_SMTPUTF8=settings.smtputf8,
            data_size_limit=settings.size_limit,
            tls_context=tls if settings.security == "starttls" else None,
            require_starttls=settings.security == "starttls",
            auth_required=bool(settings.user),
            auth_require_tls=False,
            auth_exclude_mechanism=() if settings.user else ("LOGIN", "PLAIN"),
            authenticator=_authenticator(settings) if settings.user else None,
            loop=loop,
        )

    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin.fileno(), over.set)
    server = await loop.create_server(
        connection, "127.0.0.1", settings.port, ssl=tls if settings.security == "tls" else None, backlog=512
    )
    (directory / "ready").write_text(str(os.getpid()))
    await over.wait()
    server.close()


def main() -> None:
    """Read the settings from the command line and serve."""
    settings = Settings(**json.loads(sys.argv[1]))
    # aiosmtpd's STARTTLS needs asyncio's own loop.
    loop = asyncio.new_event_loop if settings.security == "starttls" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()

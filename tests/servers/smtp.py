"""A real SMTP server in a process of its own, its mailbox as tests see it, and scripts of misbehaviour."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal, Self

from tests.servers.certificates import Certificate, make_certificate
from tests.servers.eventually import eventually
from tests.servers.process import end, free_port, spawn, tail
from tests.servers.smtp_server import Script, Settings, Stage

__all__ = ["Received", "Refused", "Script", "SmtpServer", "Stage"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message that the server accepted: it was spooled before any 250."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    mail_options: tuple[str, ...]
    content: bytes  # as it came, dots undone
    accepted_at: float  # seconds since the epoch, the server's clock
    connection: int  # counts the server's connections that got as far as a message or a refusal
    tls: bool
    user: str  # who logged in, or ''
    notified: bool  # False where a script dropped the connection instead of the 250

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def subject(self) -> str:
        """The Subject header, decoded; '' where there is none."""
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """The text/plain body; '' where there is none."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The text/html body; '' where there is none."""
        return self._body("html")

    def _body(self, kind: Literal["plain", "html"]) -> str:
        part = self.message.get_body(preferencelist=(kind,))
        return "" if part is None else str(part.get_content())


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One command or message that a script answered instead of accepting it."""

    stage: Stage
    rcpt_tos: tuple[str, ...]
    reply: str  # '' where the connection was dropped
    refused_at: float
    connection: int


class SmtpServer:
    """One server. Port, mailbox and certificate stay the same over stop, kill and start.

    With `security` "starttls" or "tls" a client that trusts `certificate.certificate` as an authority can verify it.
    With `auth` (user, password) nobody sends without logging in.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        security: Literal["none", "starttls", "tls"] = "none",
        auth: tuple[str, str] | None = None,
        smtputf8: bool = True,
        pipelining: bool = True,
        fsync: bool = False,
    ) -> None:
        """Prepare `directory`; starts nothing yet."""
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.certificate: Certificate | None = None if security == "none" else make_certificate(directory)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._read_to = 0
        self._received: list[Received] = []
        self._refused: list[Refused] = []
        user, password = auth or ("", "")
        self._settings = Settings(
            directory=str(directory),
            port=self.port,
            security=security,
            certificate=str(self.certificate.certificate) if self.certificate else "",
            key=str(self.certificate.key) if self.certificate else "",
            user=user,
            password=password,
            smtputf8=smtputf8,
            pipelining=pipelining,
            fsync=fsync,
        )

    # --- life ---

    @property
    def pid(self) -> int:
        """The server's process. Raises RuntimeError while it is stopped."""
        if self._process is None:
            raise RuntimeError("the SMTP server is stopped")
        return self._process.pid

    def start(self, within: float = 20) -> Self:
        """Start and wait until it listens; nothing happens where it runs already."""
        if self._process is not None:
            return self
        log = self._directory / "smtp.log"
        ready = self._directory / "ready"
        ready.unlink(missing_ok=True)
        settings = json.dumps(asdict(self._settings))
        process = spawn([sys.executable, "-m", "tests.servers.smtp_server", settings], log, ROOT)

        def listening() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the SMTP server ended with {process.returncode}:\n{tail(log)}")
            return ready.exists() and ready.read_text() == str(process.pid)

        try:
            eventually(listening, within)
        except BaseException:
            end(process, signal.SIGKILL)
            raise
        self._process = process
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process, cutting open connections; the mailbox stays."""
        if self._process is not None:
            end(self._process, how)
        self._process = None

    def kill(self) -> None:
        """End the process as a crash would."""
        self.stop(signal.SIGKILL)

    # --- what it does ---

    def control(self, *scripts: Script) -> None:
        """Put these scripts in force, from the next command on, instead of those before; none clears them."""
        new = self._directory / "control.new"
        new.write_text(json.dumps([asdict(script) for script in scripts]))
        os.replace(new, self._directory / "control.json")

    def fresh(self) -> Self:
        """Start it where it is stopped, clear the scripts, and forget what came so far."""
        self.control()
        self.start()
        self._read()
        self._received.clear()
        self._refused.clear()
        return self

    # --- what it got ---

    def messages(self, to: str | None = None) -> list[Received]:
        """Return what was accepted since the last `fresh`, in order; `to` keeps one recipient's."""
        self._read()
        return [mail for mail in self._received if to is None or to in mail.rcpt_tos]

    def refused(self) -> list[Refused]:
        """Return what scripts refused or dropped since the last `fresh`, in order."""
        self._read()
        return list(self._refused)

    def wait_for(self, count: int, within: float = 30, to: str | None = None) -> list[Received]:
        """Wait for at least `count` messages and return all. Raises AssertionError with what came instead."""

        def enough() -> list[Received]:
            mails = self.messages(to)
            listed = [(mail.rcpt_tos, mail.subject) for mail in mails[:20]] if len(mails) < count else []
            assert len(mails) >= count, f"{len(mails)} of {count} mails: {listed}"
            return mails

        return [] if count == 0 else eventually(enough, within)

    def _read(self) -> None:
        spool = self._directory / "spool.jsonl"
        if not spool.exists():
            return
        with spool.open("rb") as lines:
            lines.seek(self._read_to)
            whole = lines.read()
        whole = whole[: whole.rfind(b"\n") + 1]  # a line may be half written
        self._read_to += len(whole)
        for line in whole.splitlines():
            self._keep(json.loads(line))

    def _keep(self, line: dict[str, Any]) -> None:
        kind = line.pop("kind")
        line["rcpt_tos"] = _tuple(line["rcpt_tos"])
        if kind == "refused":
            self._refused.append(Refused(**line))
        else:
            line["content"] = base64.b64decode(line["content"])
            line["mail_options"] = _tuple(line["mail_options"])
            self._received.append(Received(**line))


def _tuple(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)

"""An SMTP server that keeps nothing: it notes when each mail was accepted. Runs as a process of its own.

    python -m tests.servers.smtp_sink LOG [--delay SECONDS] [--most CONNECTIONS]

It prints its port. A line of LOG is a time (epoch seconds), a word (`mail`, `open`, `refused`) and a subject.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_SUBJECT = re.compile(rb"^Subject: (.*)", re.MULTILINE | re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One client; commands may come several at once (RFC 2920)."""

    open = 0

    def __init__(self, log: TextIO, delay: float, most: int) -> None:
        self._log, self._delay, self._most = log, delay, most
        self._buffer, self._in_data, self._waits, self._counted = b"", False, False, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if _Connection.open >= self._most:
            self._note("refused")
            transport.write(b"421 too many connections\r\n")
            transport.close()
            return
        _Connection.open += 1
        self._counted = True
        self._note("open")
        transport.write(b"220 sink ESMTP\r\n")

    def connection_lost(self, _error: Exception | None) -> None:
        if self._counted:
            _Connection.open -= 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._waits:
            if self._in_data:
                body, end, rest = self._buffer.partition(b"\r\n.\r\n")
                if not end:
                    return
                self._buffer, self._in_data = rest, False
                found = _SUBJECT.search(body)
                subject = found[1].decode("utf-8", "replace").strip() if found else ""
                if self._delay:
                    self._waits = True
                    asyncio.get_running_loop().call_later(self._delay, self._accept, subject)
                else:
                    self._accept(subject)
                continue
            line, end, rest = self._buffer.partition(b"\r\n")
            if not end:
                return
            self._buffer = rest
            self._command(line[:4].upper())

    def _command(self, verb: bytes) -> None:
        write = self._transport.write
        if verb == b"EHLO":
            write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
        elif verb == b"DATA":
            self._in_data = True
            write(b"354 go on\r\n")
        elif verb == b"QUIT":
            write(b"221 bye\r\n")
            self._transport.close()
        else:
            write(b"250 ok\r\n")

    def _accept(self, subject: str) -> None:
        self._waits = False
        self._note(f"mail {subject}")
        self._transport.write(b"250 accepted\r\n")
        self._go_on()

    def _note(self, what: str) -> None:
        self._log.write(f"{time.time():.6f} {what}\n")


@dataclass(frozen=True, slots=True)
class Noted:
    """What a sink has noted so far."""

    mails: list[tuple[float, str]]  # (epoch seconds, subject)
    opened: int
    refused: int


class Sink:
    """A sink in a process of its own."""

    def __init__(self, log: Path, delay: float = 0, most: int = 1_000_000) -> None:
        self._log = log
        command = [sys.executable, "-m", "tests.servers.smtp_sink", str(log), f"--delay={delay}", f"--most={most}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def fresh(self) -> None:
        """Forget what was noted."""
        self._log.write_text("")

    def noted(self) -> Noted:
        """What came since the last `fresh`."""
        lines = [line.split(" ", 2) for line in self._log.read_text().splitlines()]
        return Noted(
            [(float(at), rest[0] if rest else "") for at, word, *rest in lines if word == "mail"],
            sum(line[1] == "open" for line in lines),
            sum(line[1] == "refused" for line in lines),
        )

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()


async def serve(log: Path, delay: float, most: int) -> None:
    """Serve until it is ended."""
    with log.open("a", buffering=1) as out:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(out, delay, most), "127.0.0.1", 0, backlog=4096
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("log", type=Path)
    options.add_argument("--delay", type=float, default=0)
    options.add_argument("--most", type=int, default=1_000_000)
    given = options.parse_args()
    asyncio.run(serve(given.log, given.delay, given.most))

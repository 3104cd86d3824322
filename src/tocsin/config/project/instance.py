"""One `tocsin up` a project directory: an flock that a kill -9 releases, and where the running one answers."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tocsin.errors import TocsinError

LOCK = "tocsin.lock"
RUNNING = "running.json"


class HomeBusy(TocsinError):
    """Another tocsin runs on this project directory."""

    def __init__(self, home: Path, running: Running | None) -> None:
        self.running = running
        at = f" at {running.url} (process {running.pid})" if running else ""
        super().__init__(
            f"another tocsin runs on {home}{at}: stop it first, or give this one a project directory of its own"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The tocsin that runs on a project directory."""

    url: str  # where it answers, no slash at the end
    pid: int
    certificate: str = ""  # file of the certificate that it shows; '' for plain HTTP
    token: str = field(default="", repr=False)  # opens it to commands of who may read the file; new at each start


class HomeLock:
    """Holds a project directory for this process. Use as a context manager.

    The kernel lets go of the lock when the process ends, however it ends; a stale ``running.json`` is never believed
    without it.
    """

    def __init__(self, data: Path, home: Path) -> None:
        self._data, self._home = data, home
        self._file: IO[str] | None = None
        self.token = secrets.token_urlsafe(32)
        """For ``web.build_asgi``: commands on this machine read it beside the URL."""

    def __enter__(self) -> Self:
        """Take the lock. Raises HomeBusy when another holds it for longer than a second (a probe holds it for an
        instant).
        """
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self._data / LOCK).open("a+", encoding="utf-8")
        pause = threading.Event()
        for attempt in range(11):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 10:
                    file.close()
                    raise HomeBusy(self._home, _read(self._data)) from None
                pause.wait(0.1)
        (self._data / RUNNING).unlink(missing_ok=True)
        self._file = file
        return self

    def announce(self, url: str, certificate: str = "") -> None:
        """Notify commands on this machine where to ask, and by which ``certificate`` they know it."""
        fresh = self._data / f".{RUNNING}.new"
        fresh.unlink(missing_ok=True)
        text = json.dumps({"url": url.rstrip("/"), "pid": os.getpid(), "certificate": certificate, "token": self.token})
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(fresh, self._data / RUNNING)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            (self._data / RUNNING).unlink(missing_ok=True)
            self._file.close()
            self._file = None


def running(data: Path) -> Running | None:
    """The tocsin that runs on the project directory of ``data`` and has announced itself, else None."""
    return _read(data) if held(data) else None


def held(data: Path) -> bool:
    """Whether some process holds the project directory of ``data``, announced or still starting."""
    try:
        file = (data / LOCK).open("r", encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(data: Path) -> Running | None:
    try:
        found = json.loads((data / RUNNING).read_text(encoding="utf-8"))
        return Running(
            url=str(found["url"]),
            pid=int(found["pid"]),
            certificate=str(found.get("certificate", "")),
            token=str(found.get("token", "")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None

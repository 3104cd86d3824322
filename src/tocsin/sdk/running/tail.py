"""The last lines of a command's stderr, without the command noticing.

A regular file is read afterwards. A terminal, pipe or socket gets a pseudo-terminal or pipe before it, of the same kind, so
that isatty() answers as before; where stdout and stderr are one pipe, both go through one, so that their order stays.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

KEPT = 64 << 10
"""Bytes of the end that are kept."""


class Tail:
    """What to give the command as stdout and stderr, and the end of what it writes there."""

    def __init__(self) -> None:
        self.stdout: int | None = None  # None: as ours
        self.stderr: int | None = None
        self._read = -1
        self._end = b""
        self._file_from: int | None = None
        try:
            self._prepare()
        except OSError:
            pass  # then the command writes as without us, and no lines are known

    def _prepare(self) -> None:
        error = os.fstat(2)
        if stat.S_ISREG(error.st_mode):
            self._file_from = error.st_size
        elif os.isatty(2):
            self._read, self.stderr = _terminal_like(2)
        else:
            self._read, self.stderr = os.pipe()
            output = os.fstat(1)
            if (output.st_dev, output.st_ino) == (error.st_dev, error.st_ino) and not stat.S_ISCHR(error.st_mode):
                self.stdout = self.stderr

    def started(self) -> None:
        """The command has its copies; ours would keep the pipe open."""
        if self.stderr is not None:
            os.close(self.stderr)

    def fileno(self) -> int:
        """Readable when there is something to pass on; -1 where there is nothing, or no more."""
        return self._read

    def pass_on(self) -> bool:
        """Copy what the command wrote to our stderr. False at its end."""
        try:
            data = os.read(self._read, 65536)
        except OSError:  # a pseudo-terminal whose other side is closed
            data = b""
        if data:
            self._end = (self._end + data)[-KEPT:]
            if _write_all(2, data):
                return True
        self.close()  # our reader went away: the command is to notice at its next write
        return False

    def drain(self) -> bool:
        """Pass on what is there now. True where something still holds the other end open: a daemon of the command."""
        import select

        while self._read >= 0:
            if not select.select([self._read], [], [], 0)[0]:
                return True
            self.pass_on()
        return False

    def resize(self) -> None:
        """Give the pseudo-terminal our terminal's size."""
        if self._read >= 0 and os.isatty(self._read):
            _copy_size(2, self._read)

    def close(self) -> None:
        """Let go of the reading end."""
        if self._read >= 0:
            os.close(self._read)
            self._read = -1

    def text(self) -> str:
        """Its end, bytes that are no UTF-8 replaced."""
        return self._last_bytes().decode("utf-8", "replace")

    def _last_bytes(self) -> bytes:
        if self._file_from is None:
            return self._end
        return end_of_file(Path("/dev/fd/2"), self._file_from)


def end_of_file(path: Path, start: int = 0) -> bytes:
    """The last bytes of a file, none from before ``start``; b'' where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(start if size >= start else 0, size - KEPT))
            return file.read(KEPT)
    except OSError:
        return b""


def _terminal_like(fd: int) -> tuple[int, int]:
    """A pseudo-terminal that passes bytes on as they are, with the settings and size of terminal ``fd``."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    settings: list[Any] = termios.tcgetattr(fd)
    settings[1] &= ~termios.OPOST  # the real terminal does it
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    _copy_size(fd, ours)
    return ours, theirs


def _copy_size(source: int, target: int) -> None:
    import fcntl
    import termios

    try:
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        pass  # it only decides where lines break


def _write_all(fd: int, data: bytes) -> bool:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody made our stderr non-blocking
            import select

            select.select([], [fd], [])
        except OSError:
            return False
    return True

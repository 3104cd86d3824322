"""What all servers share: ports, and processes that are ended by the id of the one we started."""

import atexit
import random
import signal
import socket
import subprocess
from pathlib import Path

_running: set[subprocess.Popen[bytes]] = set()


class ServerMissing(Exception):
    """A server is not installed here. The text says what to install; fixtures make it a skip, or in CI a failure."""


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on.

    Taken from below the kernel's range for outgoing connections, so that nobody gets it while a server restarts.
    """
    chance = random.SystemRandom()  # tests are run with the same seed over and over
    for _ in range(1000):
        port = chance.randrange(15000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 15000 and 32000")


def spawn(command: list[str], log: Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to `log`, apart from the terminal's Ctrl-C.

    Its standard input is a pipe that ends when this process does; who reads it can stop then.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True
        )
    _running.add(process)
    return process


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, within: float = 15) -> None:
    """Send `how` to a process that `spawn` started and wait for its end; after `within` seconds, SIGKILL."""
    _running.discard(process)
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, for the message of a failed start."""
    if not log.exists():
        return "(no output)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@atexit.register
def _end_all() -> None:
    for process in list(_running):
        end(process, within=2)

"""Passing signals on to a child exactly once.

A signal to the whole process group (Ctrl-C, Ctrl-\\, kill -- -PGID) reaches the child by itself; one to this process alone
does not. A sentinel in the same group shows which it was: the kernel signals all members of a group in one call, so a signal
that the sentinel got too was for the group.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from types import FrameType, TracebackType
from typing import Self

PASSED_ON = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
)  # fmt: skip
"""What is passed on. Stops, continuations and window sizes come from the terminal, to the group."""
GROUP_WITHIN = 0.05
"""Seconds after which the sentinel would have had the signal."""


class SignalRelay:
    """Catches signals while it is open. What was ignored before stays ignored, here and in the child."""

    def __init__(self) -> None:
        self._woken, self._wake = os.pipe()
        self._previous: dict[int, object] = {}
        self._caught = [s for s in PASSED_ON if signal.getsignal(s) is not signal.SIG_IGN]
        self._sentinel = 0
        self._from_sentinel = self._lifeline = -1
        self._seen_by_group: list[int] = []
        self.seen: list[int] = []
        """Signals that came, in order."""

    def __enter__(self) -> Self:
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._start_sentinel()
        for number in (*self._caught, signal.SIGCHLD):
            self._previous[number] = signal.signal(number, _noted)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number in self._previous:
            signal.signal(number, signal.SIG_DFL)
        for file in (self._lifeline, self._from_sentinel, self._woken, self._wake):
            if file >= 0:
                os.close(file)
        if self._sentinel:
            try:
                os.waitpid(self._sentinel, 0)
            except ChildProcessError:
                pass  # somebody else has reaped it

    def fileno(self) -> int:
        """Readable when a signal came or a child ended."""
        return self._woken

    def take(self) -> list[int]:
        """Signals since the last call that are to be passed on: those that came to this process alone."""
        try:
            came = os.read(self._woken, 4096)
        except BlockingIOError:
            return []
        return [number for number in came if number in self._caught and self._came_alone(number)]

    def _came_alone(self, number: int) -> bool:
        self.seen.append(number)
        wait = GROUP_WITHIN
        while self._from_sentinel >= 0:
            if number in self._seen_by_group:
                self._seen_by_group.remove(number)
                return False
            if not select.select([self._from_sentinel], [], [], wait)[0]:
                return True
            more = os.read(self._from_sentinel, 4096)
            if not more:  # it is gone
                os.close(self._from_sentinel)
                self._from_sentinel = -1
            self._seen_by_group += more
        return True

    def _start_sentinel(self) -> None:
        alive, self._lifeline = os.pipe()
        self._from_sentinel, report = os.pipe()
        try:
            self._sentinel = os.fork()
        except OSError:  # no more processes: every signal is passed on
            for file in (alive, report, self._lifeline, self._from_sentinel):
                os.close(file)
            self._from_sentinel = self._lifeline = -1
            return
        if self._sentinel == 0:
            try:
                self._watch(alive, report)
            finally:
                os._exit(0)
        os.close(alive)
        os.close(report)

    def _watch(self, lifeline: int, say: int) -> None:
        """The sentinel: writes each signal's number, ends with its parent, and holds none of the job's files open."""
        os.set_blocking(say, False)
        for number in self._caught:
            signal.signal(number, _noted)
        signal.set_wakeup_fd(say, warn_on_full_buffer=False)
        low, high = sorted((lifeline, say))
        os.closerange(0, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, max(256, high + 64))
        os.read(lifeline, 1)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wakeup file has its number already."""


def end_like(number: int) -> None:
    """End this process by signal ``number``, as its child ended, so that a shell says the same; it leaves no core file."""
    import resource

    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)

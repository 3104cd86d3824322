"""Named points at which a test may kill the process, to show that nothing is lost or notified twice there.

``TOCSIN_CRASH_AT=after_250`` kills at the first pass, ``after_250:3`` at the third, with SIGKILL: nothing is flushed,
no handler runs. Without the variable a point costs one evaluation at a module constant. The points are:

``after_log_commit``    the log store's commit is durable, nobody has been notified of it
``after_state_commit``  an evaluation's outcome is durable, notify has not been woken
``in_checkpoint``       inside a checkpoint of the log store
``before_deliveries``   a pass of notify is decided, nothing of it is written
``after_deliveries``    new deliveries are durable, none has been tried
``after_250``           the mail server accepted a mail, the state does not know it yet
``after_sent``          the state knows it
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

POINTS: frozenset[str] = frozenset(
    {
        "after_log_commit",
        "after_state_commit",
        "in_checkpoint",
        "before_deliveries",
        "after_deliveries",
        "after_250",
        "after_sent",
    }
)
"""Every name that ``point`` is called with."""


def read(setting: str) -> tuple[str, int]:
    """``name`` or ``name:n`` as (name, n). Raises ValueError for an unknown name or a number below 1."""
    name, _, times = setting.partition(":")
    nth = int(times or "1")
    if name not in POINTS or nth < 1:
        raise ValueError(f"TOCSIN_CRASH_AT={setting!r}: points are {', '.join(sorted(POINTS))}, the number 1 or more")
    return name, nth


_WHERE, _NTH = read(os.environ["TOCSIN_CRASH_AT"]) if os.environ.get("TOCSIN_CRASH_AT") else ("", 0)
_passed = 0
_lock = threading.Lock()


LONGEST_INSIDE = 0.01
"""Seconds, at most, after which ``inside`` kills: within the checkpoint of a small log."""


def point(name: str) -> None:
    """End the process here with SIGKILL if ``TOCSIN_CRASH_AT`` says so, else do nothing. Safe from any thread."""
    if _is_due(name):
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Like ``point``, but at a random moment inside the block, which may be one long call of a library."""
    if not _is_due(name):
        yield
        return
    after = random.uniform(0.0, LONGEST_INSIDE)
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    yield


def _is_due(name: str) -> bool:
    if name != _WHERE:
        return False
    global _passed
    with _lock:
        _passed += 1
        return _passed == _NTH

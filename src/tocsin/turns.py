"""Turns of work in Python that no alert waits for: queries and their answers, large bodies.

Python runs one thread at a time. Each step of a commit, an evaluation or a mail waits until those that compute have each had a
turn of the interpreter, and there are a hundred such steps. So of this work one thread computes at a time, and pauses often.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SLICE: Final = 0.005
"""Seconds of work after which others come."""
PAUSE: Final = 0.001
"""Seconds of a pause: whoever waits for the interpreter, or for a turn, comes first."""
PATIENCE: Final = 0.25
"""Seconds for which a turn is waited for. Then the work goes on beside the other, which may be in a library, or wait for a
lock that this thread holds.
"""


class _Own(threading.local):
    has = False  # whether this thread has the turn
    until = math.inf  # the end of its slice, of time.monotonic; without end outside of such work


_turn, _own, _pause = threading.Lock(), _Own(), threading.Event()


@contextmanager
def turn() -> Iterator[None]:
    """Around such work. Not to be nested."""
    _take()
    try:
        yield
    finally:
        _give()
        _own.until = math.inf


def step() -> None:
    """Between two steps of such work: others come where it is time. Nothing happens outside of it."""
    if time.monotonic() >= _own.until:
        _give()
        _pause.wait(PAUSE)
        _take()


def _take() -> None:
    _own.has = _turn.acquire(timeout=PATIENCE)
    _own.until = time.monotonic() + SLICE


def _give() -> None:
    if _own.has:
        _own.has = False
        _turn.release()

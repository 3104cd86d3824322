"""A bound of the CPU time that a block of Python takes in its thread.

Upstream's parser and renderer know no deadline, and a query that is small may keep them busy for long. Python calls a
hook at each call of a function; it reads the thread's own clock, so that a busy machine refuses nothing.
"""

from __future__ import annotations

import _weakrefset
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tocsin.errors import QueryTimeout
from tocsin.turns import step

_EVERY = 64  # events between two readings of the clock, which is a call of the system

_ASIDE = frozenset((_weakrefset.__file__, weakref.__file__))
"""Code that Python calls between two steps of any other, and of which it drops what is raised: and with it the hook."""


class _OutOfTime(BaseException):
    """Passes what catches errors of queries on the way."""


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """End the block once it has taken ``seconds`` of its thread's CPU time. Raises ``QueryTimeout`` that names ``what``.

    Only where a function of Python is called: a lock that is held, or a call into C, is never left half way.
    """
    end, events = time.thread_time() + seconds, 0

    def check(frame: FrameType, event: str, arg: object) -> None:
        nonlocal events
        events += 1
        if event == "call" and events >= _EVERY:
            code = frame.f_code
            if code.co_filename in _ASIDE or code.co_name == "__del__":
                return  # at the next call
            events = 0
            if time.thread_time() > end:
                raise _OutOfTime
            step()

    before = sys.getprofile()
    sys.setprofile(check)
    try:
        yield
    except _OutOfTime:
        raise QueryTimeout(f"{what} takes more than {seconds:g} s", hint="write it shorter, or in parts") from None
    finally:
        sys.setprofile(before)

"""Waiting for what another process or thread is about to do, without a bare sleep in a test."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], within: float = 10, every: float = 0.02) -> T:
    """Call `look` until it returns something true, and return that.

    `within` and `every` are seconds. An AssertionError inside `look` means "not yet"; other exceptions go through.
    Raises AssertionError with what `look` said last when `within` has passed.
    """
    end = time.monotonic() + within
    while True:
        problem: AssertionError | None = None
        seen: T | None = None
        try:
            seen = look()
        except AssertionError as error:
            problem = error
        if seen:
            return seen
        if time.monotonic() >= end:
            last = problem if problem is not None else f"it returned {seen!r}"
            raise AssertionError(f"did not come true within {within:g} s; last: {last}") from problem
        time.sleep(every)

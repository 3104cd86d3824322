"""How the C library keeps memory that was freed, and how Python looks for garbage, in a process that works in bursts.

glibc gives each thread that meets another one an arena of its own, each of which keeps the high water of what went
through it: a commit's payloads are made by one thread and freed by another. A hundred thousand runs that came in at
once left 120 MiB of nothing behind. Python's own small objects do not come from here, nor does DuckDB's memory (see
``logstore.open``).

Arrow has an allocator of its own, which keeps what large commits took, 20 to 35 MiB: the entry point
(``tocsin.cli``) notifies it to use malloc.
"""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_ARENAS = 2
_TRIM = 1 << 20
_MMAP = 256 << 10


def keep_little() -> bool:
    """Notify malloc to give back what is free; to be called before there are threads. Whether there was anybody to
    notify: only glibc has these switches.
    """
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    # a threshold that is set stays: glibc would raise it to the largest block that was ever freed
    return all([mallopt(_M_ARENA_MAX, _ARENAS), mallopt(_M_TRIM_THRESHOLD, _TRIM), mallopt(_M_MMAP_THRESHOLD, _MMAP)])


def give_back() -> bool:
    """Give free pages back to the system now, a matter of milliseconds. Whether there were any."""
    trim = _function("malloc_trim")
    return bool(trim(0)) if trim is not None else False


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        found: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return None
    return found


YOUNG = 700
"""New objects after which the collector comes while tocsin runs: Python's own, where a start sets more (`cli.main`)."""


def set_apart() -> None:
    """Collect what is garbage now and give its memory back; of what is left, nothing is looked through again until
    the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
    give_back()

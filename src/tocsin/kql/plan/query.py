"""KQL that somebody typed: translated, and the SQL looked at once more before it runs.

Two fences, so that a hole in one is none in both: names, functions and statements are checked on the query's tree, and
again on the parse tree that DuckDB makes of the translation. The store adds its own: no external access, READ ONLY,
an interrupt at the time limit. What a translation takes is bounded as well: its depth and size (``bind/bounds``), its
CPU time (``within``), and the bytes that are remembered.

``within`` bounds the CPU time that a block of Python takes in its thread. Upstream's parser and renderer know no deadline, and a query that is small may keep them busy for long. Python calls a
hook at each call of a function; it reads the thread's own clock, so that a busy machine refuses nothing.
"""

from __future__ import annotations

import _weakrefset
import sys
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from types import FrameType

from tocsin.errors import QueryBusy, QueryTimeout
from tocsin.kql.bind.sqlcheck import checked
from tocsin.kql.bind.translate import Translation, translate_once
from tocsin.kql.schema import Schema
from tocsin.turns import step, turn

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


SECONDS = 2.0
"""CPU time that the translation of one query may take; a query of a hundred lines takes 0.1 s."""
WAITS = 10.0
"""Seconds that a query waits for its turn to be translated."""
MOST_REMEMBERED = 8 << 20
"""Bytes of the queries and of the SQL that are remembered."""
_FOR_EACH = 2_000  # bytes that a remembered query takes besides its texts


def user_query(query: str, schema: Mapping[str, Mapping[str, str]]) -> Translation:
    """A typed query over tables of ``schema`` alone. Raises ``QueryError`` where it is wrong or refused, and
    ``QueryTimeout`` where its translation takes too long.
    """
    known = Schema.of(schema)
    key = (query, known.fingerprint)
    found = _MEMORY.get(key)
    if found is None:
        if not _TURN.acquire(timeout=WAITS):
            raise QueryBusy("other queries are being translated", hint="ask again in a while")
        try:
            with turn(), within(SECONDS, "the translation of the query"):
                found = translate_once(query, known)
                checked(found.sql, known, generated=True)
        finally:
            _TURN.release()
        _MEMORY.put(key, found)
    return found


class _Memory:
    """The translations that were asked for last, as many as ``most`` bytes hold. Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._most, self._size, self._lock = most, 0, Lock()
        self._kept: OrderedDict[tuple[str, str], Translation] = OrderedDict()

    def get(self, key: tuple[str, str]) -> Translation | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[str, str], made: Translation) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._size += _bytes(key, made)
            while self._size > self._most:
                self._size -= _bytes(*self._kept.popitem(last=False))

    def __len__(self) -> int:
        return len(self._kept)


def _bytes(key: tuple[str, str], made: Translation) -> int:
    """What a translation takes, about; a letter beyond Latin makes each of its text four bytes."""
    texts = 4 * len(key[0]) + (1 if made.sql.isascii() else 4) * len(made.sql)
    return _FOR_EACH + texts + sum(100 + 4 * len(name) for name in made.columns)


_TURN = Lock()
"""Translating is Python, of which one thread runs at a time: several at once would only keep it from those who write
events and send mails.
"""
_MEMORY = _Memory(MOST_REMEMBERED)

"""Reading: one cursor a thread, each query in a read-only transaction, interrupted at its limits.

select ──► could it make much of little? ──no──► the thread's cursor ───────────────┐
                    │ (growth)                                                       ├─► rows
                    └──yes, or anybody asks──► a worker's cursor, watched, given up ─┘
                                               (macros)    (watch)    (workers)
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.clock import Clock, micros
from tocsin.config.yaml.sizes import human_size
from tocsin.errors import QueryBusy, QueryError, QueryTimeout, StoreLost
from tocsin.logstore.interface import Ask, Limits
from tocsin.logstore.query.macros import OPERATOR, ROOM, Growth, growth, macro
from tocsin.logstore.query.refusals import refusal
from tocsin.logstore.query.watch import Ended, Held, Most, Watchdog, Watched, Workers

UNCOUNTED = {True: 64 << 20, False: 1 << 30}
"""Bytes by which the process may grow besides what DuckDB counts, while a query runs: one that is watched, any other.
"""
PINNED = {True: 0.67, False: 0.75}
"""How much of DuckDB's limit a query may take that can neither be spilled nor given up, at most."""
STEP = 16 << 20
"""Bytes by which DuckDB's aggregates take more, once they have much: so much more there may be before the watchdog
checks.
"""
FOR_COMMITS = 16 << 20
"""Bytes of DuckDB's limit that commits find beside it. A COMMIT without memory is a store that has to be opened
again.
"""
FOR_COMMIT = 24 << 20
"""Bytes of the limit that are free of what queries work with when a COMMIT begins."""
WORKING = 0.5
"""How much of the limit queries that anybody asked may work with when a COMMIT begins, and while it writes: on a busy
machine that takes 0.1 s, in which a query takes 30 MiB more.
"""
_ROOM_ATTEMPTS, _ROOM_PAUSE = 20, 0.01
"""How often a COMMIT checks whether there is room by now, and seconds between two checks."""
MOST_ANSWERED = 32 << 20
"""Bytes of the rows of a watched query."""
_LESS = "let fewer rows reach make_list(), percentile() and the like, or project fewer columns before"
_HELD = """
SELECT
    coalesce(sum(memory_usage_bytes), 0),
    coalesce(sum(memory_usage_bytes) FILTER (WHERE tag = 'ALLOCATOR'), 0),
    coalesce(sum(memory_usage_bytes) FILTER (WHERE tag NOT IN ('BASE_TABLE', 'METADATA', 'IN_MEMORY_TABLE')), 0)
FROM duckdb_memory()
"""
_BROKEN = re.compile("(IO|FATAL|INTERNAL) Error: ")
"""How messages of errors begin after which the store must be opened again."""
_DEAD = (duckdb.FatalException, duckdb.InternalException, duckdb.IOException, duckdb.ConnectionException)
"""Errors after which the store must be opened again."""
_INTERVAL = pa.month_day_nano_interval()
_FIRST, _LAST = (micros(t.replace(tzinfo=UTC)) for t in (datetime.min, datetime.max))  # of Python's calendar, in µs
_AT_ONCE = 2048  # rows that are fetched between two checks of how many bytes they are
_CLOSES = 2.0  # seconds within which whatever can be interrupted has left its cursor
_LOOKS = 0.02  # seconds between two interrupts of what is to end


def most_pinned(limit: int, watched: bool) -> int:
    """Bytes that a query may take so that commits find the rest, where DuckDB has ``limit`` bytes."""
    return int(min(PINNED[watched] * limit, max(limit - STEP - FOR_COMMITS, PINNED[watched] * limit / 2)))


class ReadCursor:
    """What one thread reads with: a cursor, and one where functions are held to bounds, each made when first needed.
    They are closed when nobody holds the cursor any more.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._plain: duckdb.DuckDBPyConnection | None = None
        self._bounded: duckdb.DuckDBPyConnection | None = None
        self._made: dict[str, frozenset[int]] = {}
        self.busy = False  # a query runs, or is about to

    @property
    def plain(self) -> duckdb.DuckDBPyConnection:
        """The cursor where functions are DuckDB's."""
        if self._plain is None:
            self._plain = self._con.cursor()
        return self._plain

    def cursor(self, needs: Growth) -> duckdb.DuckDBPyConnection:
        """The cursor for a query that needs this."""
        if not needs.room:
            return self.plain
        if self._bounded is None:
            cursor = self._con.cursor()
            cursor.execute(f"SET VARIABLE {ROOM} = 0")
            cursor.execute(OPERATOR)
            self._bounded = cursor
        self._bounded.execute(f"SET VARIABLE {ROOM} = {needs.room}")
        for name, arities in needs.calls.items():
            made = self._made.get(name, frozenset())
            if not arities <= made:
                if statement := macro(name, made | arities):
                    self._bounded.execute(statement)
                self._made[name] = made | arities
        return self._bounded

    def interrupt(self) -> None:
        """Interrupt what runs."""
        for cursor in (self._plain, self._bounded):
            if cursor is not None:
                _interrupt(cursor)

    def close(self) -> None:
        """Close the cursors."""
        for cursor in (self._plain, self._bounded):
            if cursor is not None:
                with contextlib.suppress(duckdb.Error):
                    cursor.close()


class Reader:
    """Cursors of one DuckDB instance, one a thread, in read-only transactions. ``close`` ends all of them, and the
    instance.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, clock: Clock, limit: int) -> None:
        """``limit``: bytes that queries and commits share."""
        self._con = con
        self._watchdog = Watchdog(clock, self._held, int(WORKING * limit))
        self._probe: duckdb.DuckDBPyConnection | None = None
        self._local = threading.local()
        self._read_cursors: weakref.WeakSet[ReadCursor] = (
            weakref.WeakSet()
        )  # threads come and go, and their cursors with them
        self._lock = threading.Lock()
        self._closed = False
        self._closing: threading.Thread | None = None
        self._pause = threading.Event()  # never set
        # apart: what anybody asked, and does not come back, keeps no rule from being evaluated
        self._workers: dict[bool, Workers[ReadCursor]] = {
            watched: Workers(self._new_read_cursor, behind=watched) for watched in (True, False)
        }
        self._limit = limit
        self._running = 0  # queries with limits that run
        self._most = {watched: Most(UNCOUNTED[watched], most_pinned(limit, watched)) for watched in (True, False)}

    def select(self, sql: str, params: Mapping[str, object] | None, limits: Limits | None) -> pa.Table:
        """See ``LogReader.select``."""
        needs = growth(sql)
        if limits is None:
            read_cursor = self._read_cursor()
            with _lost_on_interrupt(), self._using(read_cursor):
                return self._run(self._cursor(read_cursor, needs), sql, params, None)
        if limits.seconds <= 0:  # what is quick could end before it is interrupted
            raise QueryTimeout("there was no time left for the query")
        if not needs.room and not limits.watched:
            return self._limited(self._read_cursor(), needs, sql, params, limits)
        self._read_cursor()  # raises where the store is closed
        workers = self._workers[limits.watched]
        return workers.run(lambda read_cursor: self._limited(read_cursor, needs, sql, params, limits), limits.seconds)

    def _limited(
        self, read_cursor: ReadCursor, needs: Growth, sql: str, params: Mapping[str, object] | None, limits: Limits
    ) -> pa.Table:
        with _lost_on_interrupt(), self._using(read_cursor):
            cursor = self._cursor(read_cursor, needs)
            with self._one_more(), self._within(cursor, limits):
                return self._run(cursor, sql, params, limits)

    @contextlib.contextmanager
    def asking(self, limits: Limits) -> Iterator[Ask]:
        """See ``LogStore.asking``. Each statement is a transaction of its own, and its rows are no table: a statement
        lets go of the interpreter 15 times in place of 55, and others want it. It holds little, so no COMMIT counts what
        queries hold because of it.
        """
        if limits.seconds <= 0:
            raise QueryTimeout("there was no time left for the query")
        read_cursor = self._read_cursor()
        with _lost_on_interrupt(), self._using(read_cursor):
            cursor = self._cursor(read_cursor, Growth())
            with self._within(cursor, limits) as watched:
                yield partial(_asked, cursor, limits.rows, watched)

    @contextlib.contextmanager
    def _within(self, cursor: duckdb.DuckDBPyConnection, limits: Limits) -> Iterator[Watched]:
        """Within the block what ``cursor`` runs is ended at its limits."""
        most = self._most[limits.watched]
        counted = _counted(cursor).total if limits.watched else None
        within = self._watchdog.within(limits.seconds, most, lambda: _interrupt(cursor), counted, yields=limits.watched)
        with within as watched:
            try:
                yield watched
            except duckdb.InterruptException as e:
                match watched.ended:
                    case Ended.TIME:
                        raise QueryTimeout(f"the query ran longer than {limits.seconds:g} s and was ended") from e
                    case Ended.MEMORY:
                        raise QueryError("the query was ended: it takes too much memory", hint=_LESS) from e
                    case Ended.COMMIT:
                        raise QueryBusy("the query was ended: events needed the memory that it held", hint=_LESS) from e
                raise StoreLost("the store is being closed") from e

    @contextlib.contextmanager
    def _one_more(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Around a COMMIT, so that it finds memory beside the queries that run: those that anybody asked are ended
        for it, before it begins and while it writes.

        Raises OutOfMemoryException where others hold too much: a COMMIT that finds no memory is a store that has to
        be opened again.
        """
        if not self._running:
            yield
            return
        cursor = self._cursor(self._read_cursor(), Growth())
        with self._watchdog.committing():
            for _ in range(_ROOM_ATTEMPTS):
                working = _counted(cursor).working
                if working <= WORKING * self._limit:
                    break
                if not self._watchdog.make_room() and working <= self._limit - FOR_COMMIT:
                    break
                self._pause.wait(_ROOM_PAUSE)
            else:
                raise duckdb.OutOfMemoryException(f"queries hold {human_size(working)} of {human_size(self._limit)}")
            yield

    def make_room(self) -> None:
        """End the queries that anybody asked: a commit found no memory."""
        self._watchdog.make_room()

    def rows(self, sql: str, params: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        """Rows of a query of the store's own."""
        read_cursor = self._read_cursor()
        with _lost_on_interrupt(), self._using(read_cursor), _read_only(cursor := self._cursor(read_cursor, Growth())):
            return cursor.execute(sql, dict(params) if params else None).fetchall()

    @contextlib.contextmanager
    def snapshot(self, batch: int) -> Iterator[Callable[[str], pa.RecordBatchReader]]:
        """Within the block queries see one moment, and their rows stream in batches of ``batch``."""
        read_cursor = self._new_read_cursor()
        try:
            with _lost_on_interrupt(), self._using(read_cursor), _read_only(cursor := read_cursor.plain):
                yield lambda sql: cursor.execute(sql).to_arrow_reader(batch)
        finally:
            read_cursor.close()

    def close(self) -> bool:
        """Interrupt what runs, close every cursor, then the connection; later calls raise StoreLost.

        Returns whether all is closed. A step that cannot be interrupted is waited for no longer than others take: it
        keeps its cursor, and with it the instance, until it ends. Another call waits on.
        """
        with self._lock:
            self._closed = True
            if self._closing is None:
                self._watchdog.close()
                for workers in self._workers.values():
                    workers.close()
                read_cursors = list(self._read_cursors)
                self._closing = threading.Thread(
                    target=self._close, args=(read_cursors,), name="store-close", daemon=True
                )
                self._closing.start()
        self._closing.join(_CLOSES)
        return not self._closing.is_alive()

    def _close(self, read_cursors: Iterable[ReadCursor]) -> None:
        for read_cursor in read_cursors:
            read_cursor.interrupt()
        for read_cursor in read_cursors:
            while read_cursor.busy:  # an interrupt before its query begins is none
                read_cursor.interrupt()
                self._pause.wait(_LOOKS)
            read_cursor.close()
        with contextlib.suppress(duckdb.Error):
            self._con.close()

    @contextlib.contextmanager
    def _using(self, read_cursor: ReadCursor) -> Iterator[None]:
        """Within the block the cursor's thread may run a query, which closing interrupts."""
        read_cursor.busy = True  # before the check: who closes has said so before it checks whether a cursor is busy
        try:
            if self._closed:
                raise StoreLost("the store is closed")
            yield
        finally:
            read_cursor.busy = False

    @staticmethod
    def _cursor(read_cursor: ReadCursor, needs: Growth) -> duckdb.DuckDBPyConnection:
        with _lost(duckdb.ConnectionException):
            return read_cursor.cursor(needs)

    def _held(self) -> Held:
        try:
            if self._probe is None:
                self._probe = self._con.cursor()
            return _counted(self._probe)
        except (duckdb.Error, StoreLost):  # it is being closed
            return Held()

    def _read_cursor(self) -> ReadCursor:
        read_cursor: ReadCursor | None = getattr(self._local, "read_cursor", None)
        if read_cursor is None or self._closed:
            read_cursor = self._local.read_cursor = self._new_read_cursor()
        return read_cursor

    def _new_read_cursor(self) -> ReadCursor:
        with self._lock:
            if self._closed:
                raise StoreLost("the store is closed")
            read_cursor = ReadCursor(self._con)
            self._read_cursors.add(read_cursor)
            return read_cursor

    @staticmethod
    def _run(
        cursor: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, object] | None, limits: Limits | None
    ) -> pa.Table:
        with _read_only(cursor), _refused():
            cursor.execute(sql, dict(params) if params else None)
            return _rows(cursor, limits)


def _asked(
    cursor: duckdb.DuckDBPyConnection, most: int, watched: Watched, sql: str, params: Mapping[str, object]
) -> list[dict[str, Any]]:
    if watched.ended is not Ended.NOT:  # between two statements an interrupt is none
        raise duckdb.InterruptException("it was ended before it began")
    with _lost(*_DEAD), _refused():
        cursor.execute(sql, dict(params))
        names = [d[0] for d in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(most)]
        while cursor.fetchmany(_AT_ONCE):  # an open result is a transaction that keeps CHECKPOINT off
            pass
        return found


def _counted(cursor: duckdb.DuckDBPyConnection) -> Held:
    with _lost(duckdb.ConnectionException, duckdb.FatalException):
        # All rows of the one: an open result is a transaction that keeps CHECKPOINT off. None where memory is short.
        found = cursor.execute(_HELD).fetchall()
    return Held(*map(int, found[0])) if found else Held()


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with contextlib.suppress(duckdb.Error):  # it has been closed
        cursor.interrupt()


def with_durations(table: pa.Table) -> pa.Table:
    """DuckDB's intervals (months, days, nanoseconds) as durations: a timespan is one length. Raises ``QueryError`` for
    times and lengths that Python does not know.
    """
    for i, field in enumerate(table.schema):
        if field.type == _INTERVAL:
            try:
                spans = [None if v is None else _length(v) for v in table.column(i).to_pylist()]
            except OverflowError as e:
                raise QueryError(f"'{field.name}' has a timespan of more than 2.7 million years") from e
            table = table.set_column(i, field.name, pa.array(spans, pa.duration("us")))
        elif pa.types.is_timestamp(field.type) and not _within_years(table.column(i)):
            raise QueryError(f"'{field.name}' has a datetime outside the years 1 to 9999")
    return table


def _within_years(times: pa.ChunkedArray) -> bool:
    """DuckDB counts from 290308 BC to 294247, and knows infinity."""
    seen = pc.min_max(pc.cast(times.cast(pa.timestamp("us")), pa.int64())).as_py()
    return seen["min"] is None or (_FIRST <= seen["min"] and seen["max"] <= _LAST)


def _length(value: Any) -> timedelta:
    months, days, nanoseconds = value
    return timedelta(days=30 * months + days, microseconds=nanoseconds // 1000)


def _rows(cursor: duckdb.DuckDBPyConnection, limits: Limits | None) -> pa.Table:
    """The rows, or the first of them; then the rest is never fetched. To have them made a table at once takes 1 ms
    more.
    """
    watched = limits is not None and limits.watched
    left = limits.rows if limits is not None else sys.maxsize
    reader = cursor.to_arrow_reader(max(1, min(left, _AT_ONCE if watched else 100_000)))
    batches, size = [], 0
    try:
        for batch in reader:
            if left <= 0:
                break
            batches.append(batch.slice(0, left))
            left -= len(batches[-1])
            size += batch.nbytes
            if watched and size > MOST_ANSWERED:
                raise QueryError(
                    f"the answer has more than {human_size(MOST_ANSWERED)}",
                    hint="project fewer columns, take fewer rows",
                )
        return with_durations(pa.Table.from_batches(batches, reader.schema))
    except (pa.ArrowException, OSError) as e:  # DuckDB's errors while rows stream come wrapped in Arrow's
        text = str(e)
        if "INTERRUPT" in text.upper():
            raise duckdb.InterruptException(text) from e
        if _BROKEN.match(text):
            raise duckdb.FatalException(text) from e
        if "Out of Memory" in text:
            raise QueryError("the query takes too much memory", hint=_LESS) from e
        raise refusal(text) from e


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    """ROLLBACK, also where an interrupt that came too late meets it: else the cursor would be of no use any more."""
    try:
        cursor.execute("ROLLBACK")
    except duckdb.InterruptException:
        cursor.execute("ROLLBACK")


@contextlib.contextmanager
def _read_only(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    with _lost(*_DEAD):
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            _roll_back(cursor)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What DuckDB says of a query comes out as QueryError; what says that the instance is dead, or that it was
    interrupted, as it is.
    """
    try:
        yield
    except (*_DEAD, duckdb.InterruptException):
        raise
    except duckdb.OutOfMemoryException as e:
        raise QueryError("the query takes too much memory", hint=_LESS) from e
    except duckdb.Error as e:
        raise refusal(str(e)) from e


@contextlib.contextmanager
def _lost(*errors: type[duckdb.Error]) -> Iterator[None]:
    try:
        yield
    except errors as e:
        raise StoreLost(str(e)) from e


@contextlib.contextmanager
def _lost_on_interrupt() -> Iterator[None]:
    """Of what has no limit, and before a limit counts, only ``close`` interrupts anything."""
    try:
        yield
    except duckdb.InterruptException as e:
        raise StoreLost("the store is being closed") from e

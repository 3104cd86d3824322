"""Reading: one cursor a thread, each query in a read-only transaction, interrupted at its time limit."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Mapping

import duckdb
import pyarrow as pa

from tocsin.clock import Clock
from tocsin.errors import QueryError, QueryTimeout, StoreLost
from tocsin.logstore.interface import Limits


class Watchdog:
    """One thread that interrupts cursors at their deadlines. It starts with the first deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int]] = []
        self._waiting: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextlib.contextmanager
    def within(self, seconds: float, interrupt: Callable[[], None]):  # type: ignore[no-untyped-def]
        """Call ``interrupt`` if the block runs longer than ``seconds``. Yields a function that says whether it did."""
        number = next(self._numbers)
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="query-watchdog", daemon=True)
                self._thread.start()
            self._waiting[number] = interrupt
            heapq.heappush(self._heap, (self._clock.monotonic() + seconds, number))
            self._changed.notify()
        try:
            yield lambda: number not in self._waiting
        finally:
            with self._changed:
                self._waiting.pop(number, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                while self._heap and self._heap[0][1] not in self._waiting:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                    continue
                left = self._heap[0][0] - self._clock.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                _, number = heapq.heappop(self._heap)
                self._waiting.pop(number)()


class Reader:
    """Cursors of one DuckDB instance, one a thread, in read-only transactions. ``close`` ends all of them."""

    def __init__(self, con: duckdb.DuckDBPyConnection, clock: Clock) -> None:
        self._con = con
        self._watchdog = Watchdog(clock)
        self._local = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def select(self, sql: str, params: Mapping[str, object] | None, limits: Limits | None) -> pa.Table:
        """See ``LogReader.select``."""
        cursor = self._cursor()
        if limits is None:
            return self._run(cursor, sql, params, None)
        if limits.seconds <= 0:  # what is quick could end before it is interrupted
            raise QueryTimeout("there was no time left for the query")
        with self._watchdog.within(limits.seconds, cursor.interrupt) as timed_out:
            try:
                return self._run(cursor, sql, params, limits.rows)
            except duckdb.InterruptException as e:
                if timed_out():
                    raise QueryTimeout(f"the query ran longer than {limits.seconds:g} s and was ended") from e
                raise StoreLost("the store is being closed") from e

    def rows(self, sql: str, params: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        """Rows of a query of the store's own."""
        cursor = self._cursor()
        with _read_only(cursor):
            return cursor.execute(sql, dict(params) if params else None).fetchall()

    def close(self) -> None:
        """Interrupt what runs and close every cursor; later calls raise StoreLost."""
        with self._lock:
            self._closed = True
            cursors, self._cursors = self._cursors, []
        self._watchdog.close()
        for cursor in cursors:
            with contextlib.suppress(duckdb.Error):
                cursor.interrupt()
            with contextlib.suppress(duckdb.Error):
                cursor.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is not None and not self._closed:
            return cursor
        with self._lock:
            if self._closed:
                raise StoreLost("the store is closed")
            cursor = self._con.cursor()
            self._cursors.append(cursor)
        self._local.cursor = cursor
        return cursor

    @staticmethod
    def _run(
        cursor: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, object] | None, rows: int | None
    ) -> pa.Table:
        with _read_only(cursor):
            try:
                cursor.execute(sql, dict(params) if params else None)
                if rows is None:
                    return cursor.to_arrow_table()
                return _first(cursor, rows)
            except (duckdb.FatalException, duckdb.InternalException, duckdb.IOException, duckdb.InterruptException):
                raise
            except duckdb.ConnectionException:
                raise
            except duckdb.Error as e:
                raise QueryError(str(e)) from e


def _first(cursor: duckdb.DuckDBPyConnection, rows: int) -> pa.Table:
    """The first ``rows`` rows; the rest is never fetched."""
    reader = cursor.to_arrow_reader(max(1, min(rows, 100_000)))
    batches, left = [], rows
    try:
        for batch in reader:
            if left <= 0:
                break
            batches.append(batch.slice(0, left))
            left -= len(batches[-1])
        return pa.Table.from_batches(batches, reader.schema)
    except pa.ArrowException as e:  # DuckDB's errors while rows stream come wrapped in Arrow's
        text = str(e)
        if "INTERRUPT" in text.upper():
            raise duckdb.InterruptException(text) from e
        raise QueryError(text) from e


@contextlib.contextmanager
def _read_only(cursor: duckdb.DuckDBPyConnection):  # type: ignore[no-untyped-def]
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
    except (duckdb.FatalException, duckdb.InternalException, duckdb.IOException, duckdb.ConnectionException) as e:
        raise StoreLost(str(e)) from e

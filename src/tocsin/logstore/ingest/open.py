"""Opening the DuckDB instance: one a process, configured once, then locked."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import cast

import duckdb
import pyarrow

from tocsin.config.yaml.sizes import parse_size
from tocsin.errors import StoreError, StoreLost
from tocsin.logstore.ddl import prepare, quoted
from tocsin.logstore.ingest.staging import RELATIONS, Staging
from tocsin.logstore.sqlfiles import sql

FILE_VERSION = "v1.5.0"
"""DuckDB version whose file format is written, so that a later DuckDB locks nobody out of an earlier one."""

CHECKPOINT_MEMORY = 320 << 20
"""Bytes that a checkpoint may take before anything else runs."""

RESERVED = 32 << 20
"""Bytes beside the limit by which queries are ended: a commit finds them where one takes more, until it is ended."""

_BLOCK, _ROW_GROUP = 262_144, 122_880  # bytes, rows
_DELETED = 16 << 10  # bytes that DuckDB keeps of a vector with a deleted row

_events_columns: list[tuple[str, str]] = []  # name and type, as the first instance of the process found them
NO_BOUND = timedelta(days=36_500)

MACROS = ("macro_wire_time", "macro_is_flat", "macro_is_text", "macro_run_ms")


# DuckDB 2 advises against Arrow from a cursor; only a cursor sees a transaction of its own, which is what reads need.
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result", category=UserWarning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What queries may take, and where they spill. Sizes as DuckDB writes them, e.g. ``160MiB``."""

    limit: str = "512MiB"
    spill_directory: Path | None = None  # None: beside the file
    spill_limit: str = "4GiB"


DEFAULT_MEMORY = Memory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the instance is configured."""

    path: Path | None  # None: in memory
    memory: Memory = DEFAULT_MEMORY
    checkpoint_threshold: int = 128 << 20  # bytes of WAL
    max_clock_skew: timedelta = NO_BOUND  # how far a producer's time may lie after the receipt


def bytes_on_disk(settings: Settings) -> int:
    """Size of the file, its WAL and what it has spilled."""
    path = settings.path
    if path is None:
        return 0
    temp = settings.memory.spill_directory or path.with_name(path.name + ".tmp")
    total = 0
    for file in (path, Path(f"{path}.wal"), *(temp.glob("*") if temp.is_dir() else ())):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def open_instance(settings: Settings) -> Staging:
    """The instance's first connection, which writes: tables made or brought up to date, settings locked.

    Raises StoreError where the file cannot be opened: another process has it, it is no DuckDB file, or a later
    version's.
    """
    _settle_imports()
    try:
        return _open(settings)
    except duckdb.Error as e:
        raise StoreError(f"cannot open the event store {settings.path or ':memory:'}: {e}") from e
    except OSError as e:
        raise StoreError(f"cannot open the event store {settings.path}: {e}") from e


def _settle_imports() -> None:
    """Say once and for all that pandas is not installed, and that nobody hands over datasets of Arrow.

    DuckDB tries to import pandas for each parameter value, and each element of a list. Python remembers no failed
    import and searches the whole path again, 80 µs each time: a list of fifty strings took 8 ms. A None in sys.modules
    fails at once. To see whether what is registered is a dataset it imports them, with Parquet and what reads from
    clouds: 10 MiB.

    Arrow looks for pandas too, once, where numpy is installed. Its compiled import takes that None for a module and
    fails with AttributeError, so it looks before the None is there.
    """
    pyarrow.array([])
    absent = cast("ModuleType", None)
    if importlib.util.find_spec("pandas") is None:
        sys.modules.setdefault("pandas", absent)
    sys.modules.setdefault("pyarrow.dataset", absent)


def _open(settings: Settings) -> Staging:
    path = settings.path
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": settings.memory.limit,
        "threads": 1,
        # The store itself checkpoints at the threshold; DuckDB's own is what holds should that fail.
        "checkpoint_threshold": f"{settings.checkpoint_threshold * 4}B",
        "python_enable_replacements": False,
        "allow_community_extensions": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": True,
        "default_block_size": _BLOCK,
        # What its allocator freed goes back to the system soon, or it stays ours besides the limit: up to 100 MiB.
        "allocator_background_threads": True,
        "allocator_flush_threshold": "8MiB",
        "allocator_bulk_deallocation_flush_threshold": "8MiB",
    }
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = settings.memory.spill_directory or path.with_name(path.name + ".tmp")
        config["temp_directory"] = str(temp)
        config["max_temp_directory_size"] = settings.memory.spill_limit
        if not path.exists():
            config["storage_compatibility_version"] = FILE_VERSION
    else:
        config["temp_directory"] = ""
    con = duckdb.connect(str(path) if path is not None else ":memory:", config=config)
    try:
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        prepare(con)
        _write_wal(con, settings)
        limit = _memory_for(con, settings)
        con.execute(f"SET GLOBAL memory_limit = '{limit}B'")
        for name in MACROS:
            con.execute(sql(name))
        staging = Staging(con, RELATIONS)
        _make_workbench(con)
        con.execute("SET GLOBAL enable_external_access = false")
        con.execute("SET GLOBAL lock_configuration = true")
    except BaseException:
        con.close()
        raise
    return staging


def row_groups(con: duckdb.DuckDBPyConnection) -> int:
    """How many row groups ``tocsin.runs`` fills."""
    ((last,),) = con.execute("SELECT coalesce(max(rowid), 0) FROM tocsin.runs").fetchall()
    return int(last) // _ROW_GROUP


def grew(con: duckdb.DuckDBPyConnection, groups: int) -> bool:
    """Whether ``tocsin.runs`` has so many row groups more than these that an instance opened now gets some MiB more."""
    return row_groups(con) >= groups + 8


def _memory_for(con: duckdb.DuckDBPyConnection, settings: Settings) -> int:
    """Bytes that DuckDB may take: the limit, what is reserved for commits, and what it takes for the rows that were moved in ``tocsin.runs``.

    Of each vector with a deleted row it keeps a number for each of its rows, from when it first looks at it until the
    end: at most 1 MiB a row group, 83 MiB of ten million runs, beside which a commit would find no room. They are
    counted, since a WAL that has just been read may have made it look at some already.
    """
    con.execute("SET GLOBAL memory_limit = '64GiB'")  # to count them is to look at all of them, and at nothing else
    ((vectors,),) = con.execute(sql("moved_vectors")).fetchall()
    return parse_size(settings.memory.limit) + RESERVED + int(vectors) * _DELETED


def _write_wal(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Write a long WAL into the file, with more memory than there is later: a checkpoint that lacks some ends the
    instance, and one that comes late, after a reader held it up, needs more than others. Nobody reads or writes yet.
    """
    try:
        long = settings.path is not None and os.stat(f"{settings.path}.wal").st_size >= settings.checkpoint_threshold
    except FileNotFoundError:
        return
    if long:
        most = max(parse_size(settings.memory.limit), CHECKPOINT_MEMORY)
        con.execute(f"SET GLOBAL memory_limit = '{most}B'")
        con.execute("CHECKPOINT")


def _make_workbench(con: duckdb.DuckDBPyConnection) -> None:
    """The writer's temporary tables, so that the view over them need not be made in every commit."""
    if not _events_columns:
        con.execute("CREATE TEMP TABLE events AS " + sql("read_events"), {"skew": 0})
        _events_columns.extend((row[0], row[1]) for row in con.execute("DESCRIBE events").fetchall())
    else:  # planning the reading, which comes with the first commit, takes 20 ms
        con.execute(f"CREATE TEMP TABLE events ({', '.join(f'{quoted(n)} {kind}' for n, kind in _events_columns)})")
    con.execute("CREATE TEMP TABLE dups (n INTEGER)")
    con.execute(sql("view_live"))


@contextlib.contextmanager
def transaction(
    con: duckdb.DuckDBPyConnection, room: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
) -> Iterator[None]:
    """BEGIN … COMMIT, or ROLLBACK when something is raised. ``room`` is entered before COMMIT, and left behind it.

    A fatal error of DuckDB, an I/O error, and any error of COMMIT itself come out as StoreLost: what is durable is
    known only after the store has been opened again. That goes for memory that COMMIT lacks too: it may be lacking for
    what comes after the commit, or for taking it back, and then the instance is not what it says. Other errors of
    DuckDB come out as they are.
    """
    with lost_on_fatal():
        con.execute("BEGIN")
    with contextlib.ExitStack() as entered:
        try:
            with lost_on_fatal():
                yield
                entered.enter_context(room())
        except BaseException:
            _roll_back(con)
            raise
        try:
            con.execute("COMMIT")
        except duckdb.Error as e:
            with contextlib.suppress(duckdb.Error):
                con.execute("ROLLBACK")
            raise StoreLost(f"commit failed: {e}") from e


def _roll_back(con: duckdb.DuckDBPyConnection) -> None:
    """ROLLBACK. Raises StoreLost where that fails: the connection would refuse whatever comes after."""
    try:
        con.execute("ROLLBACK")
    except duckdb.TransactionException:  # there is none any more
        return
    except duckdb.Error as e:
        raise StoreLost(f"a transaction could not be taken back: {e}") from e


@contextlib.contextmanager
def lost_on_fatal() -> Iterator[None]:
    """Turn errors after which the instance is dead, or may be, into StoreLost."""
    try:
        yield
    except (duckdb.FatalException, duckdb.InternalException, duckdb.IOException) as e:
        raise StoreLost(str(e)) from e
    except duckdb.ConnectionException as e:
        raise StoreLost(f"the store is closed: {e}") from e


__all__ = ["DEFAULT_MEMORY", "Memory", "Settings", "bytes_on_disk", "lost_on_fatal", "open_instance", "transaction"]

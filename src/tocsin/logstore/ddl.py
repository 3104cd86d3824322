"""Tables, made from ``model.columns``, and the file's schema version.

``main`` holds what KQL may name. ``tocsin`` holds the rest: what ``Runs`` needs to go on without history, dead letters
with their bytes, positions, commits. ``Runs`` and ``DeadLetters`` are views over them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

import duckdb

from tocsin.errors import StoreError
from tocsin.logstore.sqlfiles import sql
from tocsin.model.columns import DUCKDB, TABLES, Column

VERSION = 7
"""Schema version that this code writes."""


_STORED_AS = {"Raw": " USING COMPRESSION zstd"}
"""How columns are written into the file, where DuckDB would choose worse (docs/decisions/0016)."""

RUN_HASHES = "md5_number(RunId) AS RunKey, md5_number_lower(JobKey) AS JobHash"
"""The last columns of tocsin.runs, out of the others."""


def _keep_run_keys(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE tocsin.run_keys (hash UBIGINT, seq BIGINT)")
    con.execute("ALTER TABLE tocsin.meta ADD COLUMN keys_upto BIGINT DEFAULT 0")


def _add_hashes(con: duckdb.DuckDBPyConnection) -> None:
    # A new table is written as it is made; an UPDATE of all rows would lie in memory as a whole.
    con.execute(f"CREATE TABLE tocsin.fresh AS SELECT *, {RUN_HASHES} FROM tocsin.runs")
    con.execute("DROP TABLE tocsin.runs")
    con.execute("ALTER TABLE tocsin.fresh RENAME TO runs")


def _keep_given_times(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("ALTER TABLE RunStatusChanged ADD COLUMN GivenTime TIMESTAMP")


def _keep_metrics(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"CREATE TABLE RunMetrics ({columns_sql(TABLES['RunMetrics'])})")


def _keep_labels(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE tocsin.run_updates"
        " (RunId VARCHAR, CommitSeq BIGINT, Description VARCHAR, TagPatch JSON, PropertyPatch JSON)"
    )
    con.execute(
        "CREATE TABLE tocsin.fresh AS SELECT * EXCLUDE (RunKey, JobHash, StateTime, StateEvent, MaxTime, MaxTerminal,"
        " MaxSource, MaxEvent, EndedBy, AttemptNumbers, GivenStart, FirstRunning, GivenEnd, GivenMs, EventProgress,"
        " EventProgressAt, BeatProgress, BeatAt), '' AS Description, StateTime, StateEvent, MaxTime, MaxTerminal,"
        " MaxSource, MaxEvent, EndedBy, AttemptNumbers, GivenStart, FirstRunning, GivenEnd, GivenMs, EventProgress,"
        " EventProgressAt, BeatProgress, BeatAt, NULL::JSON AS TagPatch, NULL::JSON AS PropertyPatch, RunKey, JobHash"
        " FROM tocsin.runs"
    )
    con.execute("DROP VIEW Runs")
    con.execute("DROP TABLE tocsin.runs")
    con.execute("ALTER TABLE tocsin.fresh RENAME TO runs")
    con.execute(f"CREATE VIEW Runs AS SELECT {names_sql(TABLES['Runs'])} FROM tocsin.runs")


def _keep_actions(con: duckdb.DuckDBPyConnection) -> None:
    # A reference table of that name may stand there; the next start says that the name is taken.
    con.execute(f"CREATE OR REPLACE TABLE Actions ({columns_sql(TABLES['Actions'])})")


UPGRADES: Mapping[int, Callable[[duckdb.DuckDBPyConnection], None]] = {
    1: _keep_run_keys,
    2: _add_hashes,
    3: _keep_given_times,
    4: _keep_metrics,
    5: _keep_labels,
    6: _keep_actions,
}
"""From which version → what makes the next one of it, inside the transaction that counts the version up."""

VIEWS = ("Runs", "DeadLetters", "AmlRunStatusChangedEvent")
"""Public names that are views."""


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def columns_sql(columns: tuple[Column, ...]) -> str:
    """Column definitions of a table."""
    return ", ".join(f"{quoted(c.name)} {DUCKDB[c.type]}{_STORED_AS.get(c.name, '')}" for c in columns)


def names_sql(columns: tuple[Column, ...]) -> str:
    """Column names, for a SELECT or an INSERT."""
    return ", ".join(quoted(c.name) for c in columns)


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of an empty file, or bring those of an older version up to date, in one transaction.

    Raises StoreError for a file that a later tocsin wrote.
    """
    con.execute("BEGIN")
    try:
        made = con.execute("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'tocsin' AND table_name = 'meta'")
        if made.fetchall() == [(0,)]:
            _create(con)
        else:
            _upgrade(con)
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise


def _create(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(sql("create_internal"))
    for name, columns in TABLES.items():
        if name not in VIEWS:
            con.execute(f"CREATE TABLE {quoted(name)} ({columns_sql(columns)})")
    con.execute(f"CREATE VIEW Runs AS SELECT {names_sql(TABLES['Runs'])} FROM tocsin.runs")
    con.execute(f"CREATE VIEW DeadLetters AS SELECT {names_sql(TABLES['DeadLetters'])} FROM tocsin.dead_letters")
    con.execute(sql("create_aml_view"))
    con.execute(
        "INSERT INTO tocsin.meta (version, pair_id, mirror_seq) VALUES ($version, $pair, 0)",
        {"version": VERSION, "pair": str(uuid.uuid4())},
    )


def _upgrade(con: duckdb.DuckDBPyConnection) -> None:
    ((version,),) = con.execute("SELECT version FROM tocsin.meta").fetchall()
    if version > VERSION:
        raise StoreError(
            f"the event store has schema version {version}, this tocsin knows {VERSION}: use a later tocsin"
        )
    while version < VERSION:
        UPGRADES[version](con)
        version += 1
        con.execute("UPDATE tocsin.meta SET version = $version", {"version": version})

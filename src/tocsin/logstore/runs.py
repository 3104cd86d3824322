"""Keeping ``Runs`` in the commit that brings its events (SEMANTICS.md, A retried run).

Where all new events of a run come after what Runs knows of it, its state goes on from there; where one came late, the run is
made anew from its history. Both go through the same statements, so the result does not depend on the order of arrival.

    live ─► held ─► late ─► pool ─► chain ─(restless: settle)─► turned ─► tocsin.runs
"""

from __future__ import annotations

from datetime import datetime

import duckdb

from tocsin.logstore.sqlfiles import sql


def update_runs(con: duckdb.DuckDBPyConnection, *, ingested: datetime, seq: int) -> None:
    """Bring tocsin.runs up to date with ``live``, and leave in ``turned`` what became of the touched runs."""
    con.execute(sql("hold_runs"))
    con.execute(sql("find_late"))
    ((late,),) = con.execute("SELECT count(*) FROM late").fetchall()
    if late:  # their turn comes below; here their state would go on without their events, a second row of each
        con.execute("UPDATE held SET goes_on = false WHERE RunId IN (FROM late)")
    con.execute(sql("pool_new"))
    _turn(con, "CREATE OR REPLACE TEMP TABLE turned AS ", ingested, seq)
    if late:
        ((lo, hi),) = con.execute(
            "SELECT min(FirstTime), max(LastTime) FROM held SEMI JOIN late USING (RunId)"
        ).fetchall()
        con.execute(sql("pool_late"), {"lo": lo, "hi": hi})
        con.execute("CREATE OR REPLACE TEMP VIEW pool AS FROM pool_late")
        con.execute("UPDATE held SET goes_on = false")
        _turn(con, "INSERT INTO turned BY NAME ", ingested, seq)
    con.execute("INSERT OR REPLACE INTO tocsin.runs BY NAME FROM turned")


def _turn(con: duckdb.DuckDBPyConnection, into: str, ingested: datetime, seq: int) -> None:
    con.execute(sql("create_chain"))
    ((restless,),) = con.execute("SELECT count(*) FROM chain WHERE restless").fetchall()
    if restless:
        con.execute(sql("settle_chain"))
    con.execute(into + sql("turn_runs"), {"ingested": ingested, "seq": seq})

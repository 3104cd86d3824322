"""SQL that finds a few rows of ``tocsin.runs`` by their hashes.

A text that is looked for has to be unpacked in every row that may hold it, 4 ms of CPU for a hundred thousand runs;
their numbers are compared in 0.6. Literals lie in the text of the query: constants reach the scan, where a join would
come after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from hashlib import md5

from tocsin.logstore.ddl import names_sql
from tocsin.logstore.interface import Rows
from tocsin.model.columns import TABLES

FEW = 20
"""So many are written into the query."""

_RUNS = f"SELECT {names_sql(TABLES['Runs'])} FROM tocsin.runs"


def rows_of_runs(run_ids: Collection[str], since: int) -> Rows:
    """Rows of Runs of these runs, none of which has a smaller CommitSeq."""
    after = f"{_RUNS} WHERE CommitSeq >= {since:d}"
    if len(run_ids) <= FEW:
        keys = ", ".join(f"'{_digest(run):d}'::UHUGEINT" for run in run_ids)
        return f"{after} AND RunKey IN ({keys or 'NULL'})", {}
    listed = json.dumps(list(run_ids), ensure_ascii=False)
    return f"{after} AND RunKey IN (SELECT md5_number(unnest(($of_runs::JSON)::VARCHAR[])))", {"of_runs": listed}


def rows_of_jobs(job_keys: Collection[str]) -> Rows:
    """Rows of Runs of these jobs."""
    among = "JobKey IN (SELECT unnest(($of_jobs::JSON)::VARCHAR[]))"
    params = {"of_jobs": json.dumps(list(job_keys), ensure_ascii=False)}
    if len(job_keys) > FEW:
        return f"{_RUNS} WHERE {among}", params
    hashes = ", ".join(f"{_digest(job) >> 64:d}::UBIGINT" for job in job_keys)
    names = [f"of_job{n}" for n in range(len(job_keys))]
    among = f"JobKey IN ({', '.join('$' + name for name in names) or 'NULL'})"
    return f"{_RUNS} WHERE JobHash IN ({hashes or 'NULL'}) AND {among}", dict(zip(names, job_keys, strict=True))


def _digest(text: str) -> int:
    """``md5_number`` of DuckDB."""
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest(), "little")

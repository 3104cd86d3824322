"""SQL of ``Runs`` as of a commit: the table where no later commit touched a run, else its events and heartbeats folded.

      c7         c8 (as of)     c9
r1  Queued                                 Runs has it as of c7: the same at c8
r2  Queued                    Running      folded from what came up to c8
r3                            Queued       not known at c8

Here is also the SQL that finds a few rows of ``tocsin.runs`` by their hashes.
A text that is looked for has to be unpacked in every row that may hold it, 4 ms of CPU for a hundred thousand runs;
their numbers are compared in 0.6. Literals lie in the text of the query: constants reach the scan, where a join would
come after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from hashlib import md5

from tocsin.logstore.ddl import names_sql
from tocsin.logstore.interface import Rows
from tocsin.logstore.sqlfiles import fold_sql, sql
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


_NAMES = names_sql(TABLES["Runs"])


def _later(table: Callable[[str], str]) -> str:
    return f"""
SELECT {_NAMES} FROM {table("Runs")} WHERE CommitSeq <= $of_seq
UNION ALL SELECT {_NAMES} FROM (
WITH moved AS MATERIALIZED (
    SELECT RunId, Consumer, FirstSeen, FirstTime, LastTime FROM {table("Runs")} WHERE CommitSeq > $of_seq
), line AS MATERIALIZED (
    SELECT row_number() OVER () AS n, * FROM (
        SELECT {sql("stored_columns")} FROM {table("RunStatusChanged")}
        WHERE CommitSeq <= $of_seq AND RunId IN (SELECT RunId FROM moved)
            AND TimeGenerated >= (SELECT min(FirstTime) FROM moved) AND TimeGenerated <= (SELECT max(LastTime) FROM moved)
    )
), beats AS (
    SELECT RunId, min(ReceivedAt) AS began, max(ReceivedAt) AS LastSeen,
        last(Progress ORDER BY ReceivedAt) FILTER (WHERE Progress IS NOT NULL) AS BeatProgress,
        max(ReceivedAt) FILTER (WHERE Progress IS NOT NULL) AS BeatAt, max(CommitSeq) AS CommitSeq
    FROM {table("Heartbeats")}
    WHERE CommitSeq <= $of_seq AND RunId IN (SELECT RunId FROM moved)
    GROUP BY RunId
), labels AS MATERIALIZED (
    SELECT RunId, arg_max(Description, CommitSeq) AS Description, arg_max(TagPatch, CommitSeq) AS TagPatch,
        arg_max(PropertyPatch, CommitSeq) AS PropertyPatch, max(CommitSeq) AS seq
    FROM tocsin.run_updates WHERE CommitSeq <= $of_seq AND RunId IN (SELECT RunId FROM moved) GROUP BY RunId
), base AS MATERIALIZED (
    FROM (FROM tocsin.runs LIMIT 0)
    UNION ALL BY NAME
    SELECT RunId, m.FirstSeen, b.LastSeen, b.BeatProgress, b.BeatAt, greatest(b.CommitSeq, l.seq) AS CommitSeq,
        l.Description, l.TagPatch, l.PropertyPatch
    FROM moved AS m LEFT JOIN beats AS b USING (RunId) LEFT JOIN labels AS l USING (RunId)
), beaten AS (
    SELECT b.*, '' AS Source, m.Consumer, m.FirstSeen
    FROM beats AS b JOIN moved AS m USING (RunId) ANTI JOIN line USING (RunId)
), folded AS (
    WITH placed AS MATERIALIZED ({sql("place_events")}), {fold_sql()}
)
SELECT {_NAMES} FROM folded
UNION ALL
SELECT {_NAMES} FROM (SELECT u.* REPLACE (
        coalesce(l.Description, '') AS Description, json_merge_patch('{{}}', coalesce(l.TagPatch, '{{}}')) AS Tags,
        json_merge_patch('{{}}', coalesce(l.PropertyPatch, '{{}}')) AS Properties, greatest(u.CommitSeq, l.seq) AS CommitSeq
    ), NULL::TIMESTAMP AS StartTime, NULL::TIMESTAMP AS EndTime, NULL::BIGINT AS DurationMs,
    NULL::TIMESTAMP AS FirstTime, NULL::TIMESTAMP AS LastTime
    FROM ({sql("unknown_runs")}) AS u LEFT JOIN labels AS l USING (RunId))
)
"""


def runs_as_of(seq: int, *, head: int, table: Callable[[str], str]) -> Rows:
    """Runs as of commit ``seq``, where ``head`` is the newest; ``table`` is ``LogReader.table``. FirstSeen never changes,
    so it is the table's.
    """
    if head <= seq:
        return f"SELECT {_NAMES} FROM {table('Runs')}", {}
    return _later(table), {"of_seq": seq}

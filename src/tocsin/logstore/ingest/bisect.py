"""Which messages of a commit the store refuses, so that their neighbours are not punished."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.clock import EPOCH
from tocsin.logstore.ingest.batch import AppendBatch, staged
from tocsin.logstore.ingest.commit import write
from tocsin.logstore.ingest.durable import RecentState, Sequencer
from tocsin.logstore.ingest.open import transaction
from tocsin.logstore.ingest.staging import Staging

MAX_REFUSED = 64
"""How many messages of one commit may be found before the commit is given up."""


def find_offenders(
    staging: Staging, append_batch: AppendBatch, known: RecentState, refused: Mapping[int, str]
) -> dict[int, str]:
    """Which rows the store refuses one by one, found by halving, with what it said; nothing is kept of the attempts."""
    unstamped, whole = _Unstamped(), staged(append_batch)

    def why_not(rows: list[int]) -> str:
        table = whole.filter(pc.is_in(whole["n"], value_set=pa.array(rows, pa.int32())))
        part = AppendBatch(
            table=table,
            groups=append_batch.groups,
            size=append_batch.size,
            dead=[[] for _ in append_batch.dead],
            skipped=append_batch.skipped,
            skew_us=append_batch.skew_us,
            bulk=True,
        )
        try:
            with transaction(staging.con):
                write(staging, part, known, unstamped, {})
                raise _TriedOut
        except _TriedOut:
            return ""
        except duckdb.Error as e:
            return str(e)

    found: dict[int, str] = {}

    def halve(rows: list[int]) -> None:
        why = why_not(rows)
        if not why or len(found) > MAX_REFUSED:
            return
        if len(rows) == 1:
            found[rows[0]] = why
            return
        middle = len(rows) // 2
        halve(rows[:middle])
        halve(rows[middle:])

    halve([n for n in whole["n"].to_pylist() if n not in refused])
    return found


class _TriedOut(Exception):
    pass


class _Unstamped(Sequencer):
    def __init__(self) -> None:
        pass

    def stamp(self) -> datetime:
        return EPOCH

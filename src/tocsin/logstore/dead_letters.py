"""Messages that could not be read: kept with their bytes, so that they can be sent through again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from tocsin.logstore.interface import StoredDeadLetter
from tocsin.model.event import DEAD_PAYLOAD, DeadLetter

_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("Time", pa.timestamp("us")),
        ("Consumer", pa.string()),
        ("Topic", pa.string()),
        ("Partition", pa.int32()),
        ("Offset", pa.int64()),
        ("Reason", pa.string()),
        ("Detail", pa.string()),
        ("Payload", pa.string()),
        ("PayloadHash", pa.string()),
        ("ReplayedAt", pa.timestamp("us")),
        ("bytes", pa.binary()),
        ("whole", pa.bool_()),
    ]
)


def insert_dead(con: duckdb.DuckDBPyConnection, letters: Sequence[DeadLetter], at: datetime, last_id: int) -> None:
    """Store ``letters`` under the ids after ``last_id``; payloads are cut at 256 KiB."""
    if not letters:
        return
    con.register("dead", pa.Table.from_pylist([_row(x, at, last_id + i) for i, x in enumerate(letters, 1)], _SCHEMA))
    try:
        con.execute("INSERT INTO tocsin.dead_letters BY NAME FROM dead")
    finally:
        con.unregister("dead")


def _row(letter: DeadLetter, at: datetime, number: int) -> dict[str, object]:
    kept = letter.payload[:DEAD_PAYLOAD]
    return {
        "id": number,
        "Time": at.replace(tzinfo=None),
        "Consumer": letter.consumer,
        "Topic": letter.origin.topic,
        "Partition": letter.origin.partition,
        "Offset": letter.origin.offset,
        "Reason": letter.reason.value,
        "Detail": _text(letter.detail),
        "Payload": kept.decode("utf-8", "replace"),
        "PayloadHash": hashlib.sha256(letter.payload).hexdigest(),
        "ReplayedAt": None,
        "bytes": kept,
        "whole": len(kept) == len(letter.payload),
    }


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def find_dead(
    con: duckdb.DuckDBPyConnection, *, consumer: str, ids: Sequence[int], unreplayed: bool, limit: int
) -> list[StoredDeadLetter]:
    """Stored dead letters, oldest first."""
    rows = con.execute(
        """
        SELECT id, Time, Consumer, Topic, "Partition", "Offset", Reason, Detail, bytes, whole
        FROM tocsin.dead_letters
        WHERE ($consumer = '' OR Consumer = $consumer)
            AND (len($ids::BIGINT[]) = 0 OR list_contains($ids::BIGINT[], id))
            AND (NOT $unreplayed OR ReplayedAt IS NULL)
        ORDER BY id
        LIMIT $limit
        """,
        {"consumer": consumer, "ids": list(ids), "unreplayed": unreplayed, "limit": limit},
    ).fetchall()
    return [
        StoredDeadLetter(
            id=r[0],
            time=r[1].replace(tzinfo=UTC),
            consumer=r[2],
            topic=r[3],
            partition=r[4],
            offset=r[5],
            reason=r[6],
            detail=r[7],
            payload=r[8],
            whole=r[9],
        )
        for r in rows
    ]


def last_dead_id(con: duckdb.DuckDBPyConnection) -> int:
    """The id of the newest dead letter; 0 without any."""
    ((newest,),) = con.execute("SELECT coalesce(max(id), 0) FROM tocsin.dead_letters").fetchall()
    return int(newest)

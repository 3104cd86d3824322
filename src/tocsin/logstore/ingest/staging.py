"""The writer's connection with what lies ready on it: relations that are filled before a statement reads them.

    rows ──► [ relation, registered once ] ──► prepared INSERT ──► table

To register rows again for each statement costs as much as the statement: a view is made, and every plan over it is made
again. Only inserts are prepared: DuckDB keeps a join's plan as it was best when the tables were empty
(docs/decisions/0003).

``RELATIONS`` are what commits hand to DuckDB as Arrow; ``table_of`` makes rows into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from tocsin.logstore.ingest.batch import JSON
from tocsin.logstore.ingest.batch import SCHEMA as APPEND_BATCH
from tocsin.logstore.query.tables import ARROW
from tocsin.model.columns import RUN_METRICS, RUN_STATUS_CHANGED, RUNS, Column, KqlType


class Relation:
    """Rows of one schema; DuckDB asks for them at each scan."""

    def __init__(self, schema: pa.Schema) -> None:
        self._none = schema.empty_table()
        self.rows: pa.Table = self._none

    def clear(self) -> None:
        """Let go of the rows."""
        self.rows = self._none

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Staging:
    """One a writer, used under its lock."""

    def __init__(self, con: duckdb.DuckDBPyConnection, relations: Mapping[str, pa.Schema]) -> None:
        self.con = con
        self._relations = {name: Relation(schema) for name, schema in relations.items()}
        self._inserts: dict[tuple[str, str], str] = {}
        for name, relation in self._relations.items():
            con.register(name, relation)

    @contextmanager
    def registered(self, name: str, rows: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
        """Within the block, relation ``name`` holds ``rows``, which are of its schema. Yields the connection."""
        relation = self._relations[name]
        relation.rows = rows
        try:
            yield self.con
        finally:
            relation.clear()

    def insert(self, table: str, relation: str, rows: pa.Table, columns: str = "*") -> None:
        """Insert ``rows``, laid as ``relation``, of which ``columns`` are those of ``table`` in its order."""
        prepared = self._inserts.get((table, relation))
        if prepared is None:
            prepared = f"insert_{len(self._inserts)}"
            self.con.execute(f"PREPARE {prepared} AS INSERT INTO {table} SELECT {columns} FROM {relation}")
            self._inserts[table, relation] = prepared
        with self.registered(relation, rows):
            self.con.execute(f"EXECUTE {prepared}")


_TIME = pa.timestamp("us")


def _fields(columns: Iterable[Column]) -> list[tuple[str, pa.DataType]]:
    return [(c.name, JSON if c.type is KqlType.DYNAMIC else ARROW[c.type]) for c in columns]


EVENT_ROWS = pa.schema(_fields(RUN_STATUS_CHANGED))
"""Rows of RunStatusChanged."""

BEAT_ROWS = pa.schema(
    [("RunId", pa.string()), ("ReceivedAt", _TIME), ("Progress", pa.float64()), ("CommitSeq", pa.int64())]
)
"""Rows of Heartbeats."""

METRIC_ROWS = pa.schema(_fields(RUN_METRICS))
"""Rows of RunMetrics."""

RUN_ROWS = pa.schema(
    [
        *_fields(RUNS),
        ("StateTime", _TIME),
        ("StateEvent", pa.string()),
        ("MaxTime", _TIME),
        ("MaxTerminal", pa.bool_()),
        ("MaxSource", pa.string()),
        ("MaxEvent", pa.string()),
        ("EndedBy", pa.list_(pa.string())),
        ("AttemptNumbers", pa.list_(pa.int32())),
        ("GivenStart", _TIME),
        ("FirstRunning", _TIME),
        ("GivenEnd", _TIME),
        ("GivenMs", pa.int64()),
        ("EventProgress", pa.float64()),
        ("EventProgressAt", _TIME),
        ("BeatProgress", pa.float64()),
        ("BeatAt", _TIME),
        ("TagPatch", JSON),
        ("PropertyPatch", JSON),
    ]
)
"""Rows of tocsin.runs, columns in the order of the table, without its hashes."""

MOVES = pa.schema(
    [
        ("cluster", pa.string()),
        ("topic_id", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("next", pa.int64()),
    ]
)
"""Positions that move."""

MOVED_RUNS = pa.schema([("RunId", pa.string()), ("seen", _TIME), ("progress", pa.float64()), ("said", _TIME)])
"""Runs of which only heartbeats came: the last one's receipt, how far one last said they are, and the receipt of
that.
"""

RUN_NAMES = pa.schema([("RunId", pa.string())])

RELATIONS: Mapping[str, pa.Schema] = {
    "incoming": APPEND_BATCH,
    "new_events": EVENT_ROWS,
    "new_beats": BEAT_ROWS,
    "new_metrics": METRIC_ROWS,
    "new_runs": RUN_ROWS,
    "touched_runs": RUN_NAMES,
    "moved_runs": MOVED_RUNS,
    "moves": MOVES,
}
"""What lies on the desk, by name."""


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """``rows`` as a table of ``schema``; what else they hold is left out. JSON is taken as text that is JSON."""
    # One call for all columns: each lets go of the interpreter lock, which others wait for.
    columns = pa.array(list(rows), _plain(schema)).flatten()
    return pa.Table.from_arrays(
        [
            pa.ExtensionArray.from_storage(JSON, column) if f.type == JSON else column
            for column, f in zip(columns, schema, strict=True)
        ],
        schema=schema,
    )


@cache
def _plain(schema: pa.Schema) -> pa.StructType:
    return pa.struct([(f.name, pa.string() if f.type == JSON else f.type) for f in schema])

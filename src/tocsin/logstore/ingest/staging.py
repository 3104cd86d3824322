"""The writer's connection with what lies ready on it: relations that are filled before a statement reads them.

    rows ──► [ relation, registered once ] ──► prepared INSERT ──► table

To register rows again for each statement costs as much as the statement: a view is made, and every plan over it is made
again. Only inserts are prepared: DuckDB keeps a join's plan as it was best when the tables were empty
(docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import pyarrow as pa


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

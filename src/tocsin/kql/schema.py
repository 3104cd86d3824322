"""What a query may read: tables, their columns and KQL types."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping

from tocsin.model.columns import DUCKDB, TABLES

KQL_TYPES: Mapping[str, str] = {
    **{str(kind): sql for kind, sql in DUCKDB.items()},
    "timespan": "INTERVAL",
    "guid": "UUID",
    "decimal": "DOUBLE",
}
"""DuckDB's type for each KQL type that a column may have."""

HIDDEN = "__tocsin_"
"""Names that begin so are ours alone; a query that names one is refused."""


class Schema(Mapping[str, Mapping[str, str]]):
    """Tables that a query may read: name -> column -> KQL type. Immutable; ``fingerprint`` names its content."""

    __slots__ = ("_tables", "fingerprint")

    def __init__(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        self._tables = {name: dict(columns) for name, columns in tables.items()}
        for name, columns in self._tables.items():
            unknown = {kind for kind in columns.values() if kind not in KQL_TYPES}
            if unknown:
                raise ValueError(f"table {name}: no KQL type: {sorted(unknown)}")
        text = repr([(name, list(columns.items())) for name, columns in self._tables.items()])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, str]]) -> Schema:
        """``tables`` itself where it is a Schema already."""
        return tables if isinstance(tables, Schema) else cls(tables)

    def __getitem__(self, name: str) -> Mapping[str, str]:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and other.fingerprint == self.fingerprint

    def __repr__(self) -> str:
        return f"Schema({', '.join(self._tables)})"


def schema_with(tables: Mapping[str, Mapping[str, str]] | None = None) -> Schema:
    """The schema of tocsin's own tables and of reference ``tables`` (name -> column -> KQL type).

    Raises ``ValueError`` where a reference table has the name of one of ours, in any case, or an unknown type.
    """
    own = {name: {column.name: str(column.type) for column in columns} for name, columns in TABLES.items()}
    for name in tables or {}:
        if name.casefold() in {known.casefold() for known in own}:
            raise ValueError(f"table {name}: tocsin has a table of that name")
    return Schema({**own, **(tables or {})})


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint naming the nearest known name, else ``otherwise``."""
    names = sorted(known)
    for candidate in names:
        if candidate.casefold() == name.casefold():
            return f"did you mean {candidate}? Names are case-sensitive"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else otherwise

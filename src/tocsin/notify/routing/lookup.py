"""Addresses that stand in a reference table: ``owners.csv(ExperimentName)`` is the ``email`` of the row whose
``ExperimentName`` is the alert's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from tocsin.config.yaml.document import suggest

ADDRESS = "email"
"""Column of a table that holds addresses."""
_FORM = re.compile(r"([\w-]+)\.(?:csv|parquet)\((\w+)\)")


class Lookup(NamedTuple):
    """Where an address stands."""

    table: str
    column: str  # compared with the alert's field of the same name


def parse_lookup(entry: str) -> Lookup | None:
    """``owners.csv(ExperimentName)``; None of what is no look-up."""
    found = _FORM.fullmatch(entry)
    return None if found is None else Lookup(found[1], found[2])


class AddressTables:
    """Reference tables, of which those that look-ups name are read once."""

    def __init__(self, tables: Mapping[str, pa.Table] | None = None) -> None:
        self._tables = tables or {}
        self._read: dict[Lookup, Mapping[str, str]] = {}

    def fault(self, lookup: Lookup) -> tuple[str, str] | None:
        """What is wrong with a look-up, and what would be right; None for nothing."""
        table = self._tables.get(lookup.table)
        if table is None:
            return f"there is no table '{lookup.table}'", suggest(lookup.table, self._tables)
        for column in (lookup.column, ADDRESS):
            if column not in table.column_names:
                return f"table '{lookup.table}' has no column '{column}'", suggest(column, table.column_names)
        return None

    def find(self, lookup: Lookup, value: object) -> str:
        """The address beside ``value``, of several the first; '' where there is none."""
        if lookup not in self._read:
            self._read[lookup] = self._column(lookup)
        return self._read[lookup].get(str(value).strip(), "") if value not in (None, "") else ""

    def _column(self, lookup: Lookup) -> Mapping[str, str]:
        if self.fault(lookup) is not None:
            return {}
        table = self._tables[lookup.table]
        pairs = zip(table[lookup.column].to_pylist(), table[ADDRESS].to_pylist(), strict=True)
        found: dict[str, str] = {}
        for key, address in pairs:
            if key is not None and address:
                found.setdefault(str(key).strip(), str(address).strip())
        return found


NO_TABLES = AddressTables()

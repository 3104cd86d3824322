"""Between our event table and Azure's: a ``let`` before an exported query, taken off again when it comes back."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.errors import QueryError
from tocsin.kql.tokens import TokenKind, tokenize
from tocsin.model.columns import AML_RUN_STATUS_CHANGED, RUN_STATUS_CHANGED, TABLES, KqlType

OURS = "RunStatusChanged"
TABLE = "AmlRunStatusChangedEvent"
"""Azure's table of the same events."""

_NOTHING: Mapping[KqlType, str] = {
    KqlType.STRING: "''",
    KqlType.DATETIME: "datetime(null)",
    KqlType.LONG: "long(null)",
    KqlType.INT: "int(null)",
    KqlType.REAL: "real(null)",
    KqlType.BOOL: "bool(null)",
    KqlType.DYNAMIC: "dynamic({})",
}
_SAME = frozenset(c.name for c in AML_RUN_STATUS_CHANGED) & frozenset(c.name for c in RUN_STATUS_CHANGED)
_MADE: Mapping[str, str] = {
    "DurationMs": "tolong(DurationMs)",
    "IngestedAt": "ingestion_time()",
    "JobKey": "RunId",
    "OriginalStatus": "Status",
    "RootRunId": "iff(isempty(RootRunId), RunId, RootRunId)",
}
_TYPES = {c.name: c.type for c in RUN_STATUS_CHANGED}


def prelude(query: str) -> str:
    """The line that lets ``query`` run on Azure's table; '' where it does not ask ours."""
    names = _names(query)
    if OURS not in names:
        return ""
    extends = [f"{name} = {_MADE[name]}" for name in sorted(names & set(_MADE))]
    extends += [f"{name} = {_NOTHING[_TYPES[name]]}" for name in missing_columns(query)]
    stage = f" | extend {', '.join(extends)}" if extends else ""
    return f"let {OURS} = {TABLE}{stage};\n"


def missing_columns(query: str) -> list[str]:
    """Columns that the query names and Azure's table has nothing for."""
    names = _names(query)
    return sorted(names & set(_TYPES) - _SAME - set(_MADE)) if OURS in names else []


def without_prelude(query: str) -> str:
    """The query without the line that ``prelude`` made for it, else as it is."""
    first, _, rest = query.partition("\n")
    if not first.startswith(f"let {OURS} = {TABLE}"):
        return query
    return rest if prelude(rest) == f"{first}\n" else query


def other_tables(query: str) -> list[str]:
    """Tables of ours that the query names and Azure has nothing for."""
    return sorted(_names(query) & set(TABLES) - {OURS, TABLE})


def _names(query: str) -> set[str]:
    try:
        return {t.text for t in tokenize(query) if t.kind is TokenKind.NAME}
    except QueryError:
        return set()

"""KQL that somebody typed: translated, and the SQL looked at once more before it runs.

Two fences, so that a hole in one is none in both: names, functions and statements are judged on the query's tree, and
again on the parse tree that DuckDB makes of the translation. The store adds its own: no external access, READ ONLY,
an interrupt at the time limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tocsin.kql.bind.sqlcheck import checked
from tocsin.kql.bind.translate import Translation, translate
from tocsin.kql.schema import Schema


def user_query(query: str, schema: Mapping[str, Mapping[str, str]]) -> Translation:
    """A typed query over tables of ``schema`` alone. Raises ``QueryError`` where it is wrong or refused."""
    return _user_query(query, Schema.of(schema))


@lru_cache(maxsize=512)
def _user_query(query: str, schema: Schema) -> Translation:
    translation = translate(query, schema)
    checked(translation.sql, schema, generated=True)
    return translation

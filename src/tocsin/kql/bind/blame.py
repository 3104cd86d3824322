"""Which expression of a query DuckDB refuses: the types that it minds may be known to DuckDB alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.scope import Text
from tocsin.kql.parse.locate import place_of_expression
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.describe import describer, quoted
from tocsin.kql.sandbox.trees import walk
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import KQL_TYPES, Schema


def placed(fault: QueryError, text: Text, tree: Any, schema: Schema) -> QueryError:
    """``fault``, which DuckDB found in the typed ``tree``, with the place of the smallest expression that has it."""
    columns: dict[str, str] = {}
    for number, op in enumerate(tree.operators):
        try:
            columns_after = _columns(
                ir.Query(tree.source, tree.operators[: number + 1], tree.lets, tree.parameters), schema
            )
        except QueryError:
            for node in (*_refused(op, columns, schema), op):
                line, column = place_of_expression(text.text, text.tokens, node)
                if line:
                    return QueryError(fault.message, line=line, column=column, hint=fault.hint)
            return fault
        columns = columns_after
    return fault


def _columns(query: Any, schema: Schema) -> dict[str, str]:
    sql, uses_now = upstream.render(query, schema)
    return describer(schema).columns(sql, {upstream.NOW: upstream.PINNED} if uses_now else {})


def _refused(op: Any, columns: dict[str, str], schema: Schema) -> Iterator[Any]:
    """Expressions of ``op`` that DuckDB refuses alone, the smallest first."""
    row = ", ".join(f"NULL::{KQL_TYPES[kind]} AS {quoted(name)}" for name, kind in columns.items()) or "1"
    for node in reversed(walk(op)):
        sql = None if isinstance(node, ir.Operator) else upstream.render_scalar(node)
        if sql is None:
            continue
        try:
            describer(schema).columns(f"SELECT {upstream.finish(sql)} FROM (SELECT {row})", {})
        except QueryError:
            yield node

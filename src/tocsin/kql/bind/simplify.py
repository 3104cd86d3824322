"""Conversions of operands whose type is known, in short SQL.

Upstream asks the type at run time: ``strcat('a', Message)`` becomes three kilobytes. Here Message is known to be a
string, so ``concat('a', "Message")`` says the same. What is not certain stays upstream's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir


@dataclass(frozen=True)
class Sql(ir.RenderedAggregate):
    """An expression that is SQL already, and its KQL type."""

    kind: str = "string"


def simplified(node: Any, columns: Types) -> Any:
    """``node`` in short SQL where the types of its operands allow it, else ``node``."""
    if not isinstance(node, ir.FunctionCall) or not node.args:
        return node
    name = node.name.lower()
    if name == "strcat":
        parts = [text(arg, columns) for arg in node.args]
        return node if None in parts else Sql(f"concat({', '.join(map(str, parts))})")
    if len(node.args) != 1:
        return node
    (arg,) = node.args
    if name == "tostring":
        made = text(arg, columns)
        return node if made is None else Sql(made)
    sql = ready(arg)
    return node if sql is None else _converted(name, sql, type_of(arg, columns)) or node


def _converted(name: str, sql: str, kind: str | None) -> Sql | None:
    """The conversion ``name`` of ``sql`` of this KQL type; None where there is no short SQL for it."""
    match name, kind:
        case "toint", "int":
            return Sql(sql, "int")
        case "tolong", "int" | "long":
            return Sql(f"CAST({sql} AS BIGINT)", "long")
        case "tolong", "string":
            whole = f"regexp_matches({sql}, '^\\s*[+-]?([0-9]+|0[xX][0-9a-fA-F]+)\\s*$')"
            return Sql(f"(CASE WHEN {whole} THEN TRY_CAST(trim({sql}) AS BIGINT) END)", "long")
        case "todouble" | "toreal", "int" | "long" | "real":
            return Sql(f"CAST({sql} AS DOUBLE)", "real")
        case "todouble" | "toreal", "string":
            return Sql(f"TRY_CAST(trim({sql}) AS DOUBLE)", "real")
        case "todatetime", "datetime":
            return Sql(sql, "datetime")
        case "parse_json" | "todynamic", "string":  # what is no JSON is a dynamic that holds the text
            return Sql(f"coalesce(TRY_CAST({sql} AS JSON), to_json({sql}))", "dynamic")
        case "tobool" | "toboolean", "bool":
            return Sql(sql, "bool")
    return None


def text(arg: Any, columns: Types) -> str | None:
    """``tostring(arg)`` as SQL, never null; None where its type or its SQL is not at hand."""
    sql, kind = ready(arg), type_of(arg, columns)
    if sql is None:
        return None
    match kind:
        case "string":
            return sql if isinstance(arg, ir.Literal) else f"coalesce({sql}, '')"
        case "int" | "long":
            return f"coalesce(CAST({sql} AS VARCHAR), '')"
        case "dynamic":
            return f"coalesce({sql} ->> '$', '')"
        case "bool":
            return f"(CASE {sql} WHEN TRUE THEN 'True' WHEN FALSE THEN 'False' ELSE '' END)"
        case "datetime":
            return f"coalesce(strftime({sql}, '%Y-%m-%dT%H:%M:%S.%f') || '0Z', '')"
    return None


def ready(node: Any) -> str | None:
    """SQL of a node that costs nothing to render: a column, a literal, a path into a dynamic column."""
    match node:
        case Sql(sql=sql):
            return str(sql)
        case ir.Literal() | ir.Parameter():
            return upstream.render_scalar(node)
        case ir.PathAccess(base=ir.Parameter(kind="dynamic"), steps=steps):
            fixed = all(step.index is None or isinstance(step.index, ir.Literal) for step in steps)
            return upstream.render_scalar(node) if fixed else None
    return None

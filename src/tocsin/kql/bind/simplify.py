"""Typed expressions in SQL that DuckDB runs faster, or that does not fail.

``simplified``: conversions of operands whose type is known, in short SQL.

Upstream asks the type at run time: ``strcat('a', Message)`` becomes three kilobytes. Here Message is known to be a
string, so ``concat('a', "Message")`` says the same. What is not certain stays upstream's.

Dynamic values where KQL compares them with numbers, times or booleans.

``Tags.n > 3`` reads a payload: upstream leaves the cast to DuckDB, which fails the whole query at the first value that
is no number. In KQL such a value is just not equal and not greater, so the dynamic side is converted, null where it
cannot be.

Predicates of ``where`` in the form that DuckDB pushes into a scan.

KQL's comparisons are total: ``null == 'x'`` is false, so upstream writes ``coalesce((c = 'x'), FALSE)``. A filter drops
a row for null as for false, so where only ``and`` and ``or`` stand above it the bare comparison keeps the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import walk
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


_BY_KIND = {
    "int": "todouble",
    "long": "todouble",
    "real": "todouble",
    "datetime": "todatetime",
    "timespan": "totimespan",
    "bool": "tobool",
}
_NUMBERS = ("int", "long", "real")
_COMPARISONS = frozenset(("==", "!=", "<>", "<", "<=", ">", ">="))


def coerced(node: Any, columns: Types) -> Any:
    """``node`` with a dynamic operand converted to the type that it is compared with."""
    match node:
        case ir.BinaryOp(op=op, left=left, right=right) if op in _COMPARISONS:
            kinds = type_of(left, columns), type_of(right, columns)
            if kinds[0] == "dynamic" and kinds[1] in _BY_KIND:
                return ir.BinaryOp(op, _as(left, kinds[1]), right)
            if kinds[1] == "dynamic" and kinds[0] in _BY_KIND:
                return ir.BinaryOp(op, left, _as(right, kinds[0]))
        case ir.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return ir.BinaryOp(op, truth(left, columns), truth(right, columns))
        case ir.InList(value=value, items=items) if items and type_of(value, columns) == "dynamic":
            kinds_ = {type_of(item, columns) for item in items}
            if kinds_ <= set(_NUMBERS):
                return replace(node, value=_as(value, "real"))
            if len(kinds_) == 1 and (kind := kinds_.pop()) in _BY_KIND:
                return replace(node, value=_as(value, kind))
        case ir.Between(value=value, low=low) if type_of(value, columns) == "dynamic":
            kind = type_of(low, columns)
            if kind in _BY_KIND:
                return replace(node, value=_as(value, kind))
    return node


def truth(node: Any, columns: Types) -> Any:
    """``node`` as a condition: a dynamic one by its boolean value."""
    return _as(node, "bool") if type_of(node, columns) == "dynamic" else node


def _as(node: Any, kind: str) -> Any:
    sql = ready(node) if kind in _NUMBERS else None
    if sql is None:
        return ir.FunctionCall(_BY_KIND[kind], (node,))
    return Sql(f"TRY_CAST(({sql} ->> '$') AS DOUBLE)", "real")


_ALONE = (ir.BinaryOp, ir.InList, ir.HasList)


def in_filter(predicate: Any) -> Any:
    """``predicate``, keeping the same rows as a filter, with comparisons bare where that is safe."""
    if isinstance(predicate, ir.BinaryOp) and predicate.op in ("and", "or"):
        left, right = in_filter(predicate.left), in_filter(predicate.right)
        return ir.BinaryOp(predicate.op, left, right)
    return _emptiness(predicate) or _bare(predicate) or predicate


def _bare(leaf: Any) -> Any | None:
    if not isinstance(leaf, _ALONE) or _nests(leaf):
        return None
    sql = upstream.render_scalar(leaf)
    if sql is None or not (sql.startswith("coalesce(") and sql.endswith(", FALSE)")):
        return None
    return ir.RenderedAggregate(sql.removeprefix("coalesce(").removesuffix(", FALSE)"))


def _emptiness(leaf: Any) -> Any | None:
    """isempty and isnotempty of a string column, without their casts."""
    if not isinstance(leaf, ir.FunctionCall) or len(leaf.args) != 1:
        return None
    (arg,) = leaf.args
    if not (isinstance(arg, ir.Parameter) and arg.kind == "string"):
        return None
    column = upstream.render_scalar(arg)
    match leaf.name.lower():
        case "isempty":
            return ir.RenderedAggregate(f"({column} IS NULL OR {column} = '')")
        case "isnotempty":
            return ir.RenderedAggregate(f"({column} <> '')")
    return None


def _nests(leaf: Any) -> bool:
    """Whether a query or a run-time scalar is inside: those are rendered within the whole query only."""
    return any(isinstance(node, ir.ToScalar) or getattr(node, "subquery", None) is not None for node in walk(leaf))

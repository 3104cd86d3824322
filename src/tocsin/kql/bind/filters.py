"""Predicates of ``where`` in the form that DuckDB pushes into a scan.

KQL's comparisons are total: ``null == 'x'`` is false, so upstream writes ``coalesce((c = 'x'), FALSE)``. A filter drops
a row for null as for false, so where only ``and`` and ``or`` stand above it the bare comparison keeps the same rows.
"""

from __future__ import annotations

from typing import Any

from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import walk
from tocsin.kql.sandbox.upstream import ir

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

"""prev, next, row_number and row_cumsum: functions of rows in an order.

KQL's rows keep the order of the last sort; SQL's do not, so each call is given that order again in its OVER.
"""

from __future__ import annotations

from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.bind.simplify import Sql
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import rebuilt, walk
from tocsin.kql.sandbox.types import Types
from tocsin.kql.sandbox.upstream import ir

Order = tuple[tuple[str, str], ...] | None
"""Columns and directions of the last sort; () for rows in an order that no column notifies, None for rows in none."""

FUNCTIONS = frozenset(("prev", "next", "row_number", "row_cumsum"))


def after(op: Any, order: Order) -> Order:
    """The order of the rows that ``op`` makes of rows in ``order``."""
    match op:
        case ir.Sort(keys=keys) | ir.Top(keys=keys):
            plain = [(key.expr.name, _direction(key)) for key in keys if isinstance(key.expr, ir.ColumnRef)]
            return tuple(plain) if len(plain) == len(keys) else ()
        case ir.Where() | ir.Take():
            return order
        case ir.Extend() | ir.Parse() | ir.Project() | ir.ProjectAway() | ir.ProjectRename() | ir.MvExpand():
            return _kept(op, order)
    return None


def _kept(op: Any, order: Order) -> Order:
    if not order:
        return order
    names: set[str | None] = {name for name, _ in order}
    match op:
        case ir.Extend(expressions=targets):
            given = {target.name for target in targets}
            lost = names if None in given else given & names
        case ir.Project(expressions=targets):
            same = {t.expr.name for t in targets if isinstance(t.expr, ir.ColumnRef) and t.name in (None, t.expr.name)}
            lost = names - same
        case ir.ProjectAway(columns=gone):
            lost = names & set(gone)
        case _:
            lost = names
    return () if lost else order


def _direction(key: Any) -> str:
    first = key.ascending if key.nulls_first is None else key.nulls_first
    return f"{'ASC' if key.ascending else 'DESC'} NULLS {'FIRST' if first else 'LAST'}"


def windowed(op: Any, columns: Types, order: Order) -> Any:
    """``op`` with its calls over ``order``. Raises ``QueryError`` where rows have none, or ``op`` cannot hold them."""
    names = {n.name.lower() for n in walk(op) if isinstance(n, ir.FunctionCall)} & FUNCTIONS
    if not names:
        return op
    name = sorted(names)[0]
    if not isinstance(op, ir.Extend | ir.Project):
        raise QueryError(f"{name}() works in extend and project only", hint=f"extend x = {name}(…) first")
    if order is None:
        raise QueryError(f"{name}() needs rows in an order", hint="sort first, or serialize")
    keys = ", ".join(f"{_column(column)} {direction}" for column, direction in order)
    over = f"OVER (ORDER BY {keys}" if keys else "OVER ("
    return rebuilt(op, lambda node: _call(node, columns, over))


def _column(name: str) -> str:
    return str(upstream.render_scalar(ir.ColumnRef(name)))


def _call(node: Any, columns: Types, over: str) -> Any:
    if not isinstance(node, ir.FunctionCall) or node.name.lower() not in FUNCTIONS:
        return node
    name = node.name.lower()
    args: tuple[Any, ...] = node.args
    if name == "row_number":
        if len(args) > 1 or not all(isinstance(arg, ir.Literal) for arg in args):
            raise QueryError("row_number() takes a first number alone", hint="summarize and join to restart it")
        start = int(args[0].value) if args else 1
        return Sql(f"(row_number() {over}) + {start - 1})", "long")
    if not args or not isinstance(args[0], ir.ColumnRef) or args[0].name not in columns:
        raise QueryError(f"{name}() takes a column", hint=f"extend x = … first, then {name}(x)")
    column, kind = _column(args[0].name), columns[args[0].name]
    if name == "row_cumsum":
        if len(args) > 1:
            raise QueryError("row_cumsum() cannot restart", hint="one query for each part")
        return Sql(f"sum({column}) {over} ROWS UNBOUNDED PRECEDING)", "real" if kind == "real" else "long")
    if not all(isinstance(arg, ir.Literal) for arg in args[1:]):
        raise QueryError(f"{name}() takes a fixed offset and default")
    offset = int(args[1].value) if len(args) > 1 else 1
    default = upstream.render_scalar(args[2]) if len(args) > 2 else "''" if kind == "string" else "NULL"
    word = "lag" if name == "prev" else "lead"
    return (
        Sql(f"{word}({column}, {offset}, {default}) {over})", str(kind))
        if kind
        else ir.RenderedAggregate(f"{word}({column}, {offset}, {default}) {over})")
    )

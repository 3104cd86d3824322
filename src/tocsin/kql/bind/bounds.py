"""How large a query becomes as SQL, notified before it is rendered.

The renderer repeats operands where KQL's rules need it (``tobool(x)`` reads x seven times), so a query of a hundred
characters could become gigabytes. The factor of each form is measured once, by rendering it with a marker for each
operand.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import nested_queries, parts
from tocsin.kql.sandbox.upstream import ir

MAX_SQL = 400_000
"""Most characters of SQL that one expression may become."""
MAX_PARTS = 20_000
"""Most parts (columns, literals, calls) of one expression, lets written out."""
MAX_READS = 60
"""Most times that a query may read tables, lets counted wherever they are used."""
MAX_NESTED = 12
"""Deepest nesting of pipelines in joins, unions and ``in``: each level writes out the columns of all below it."""
MAX_OPERATORS = 150
"""Most operators of a query, lets counted once. DuckDB binds 400 of them in 3 s, and nothing interrupts it there."""
MAX_WHOLE = 250_000
"""Most characters of SQL that a whole query may become."""

_MARKER = "\x01%d\x02"
_FEW = 16  # operands of the largest form that is remembered
_OWN = 24  # characters of a node that has no operands


def expression_size(expr: Any) -> int:
    """An upper bound of the characters of SQL that ``expr`` becomes. Raises ``QueryError`` where they are too many."""
    sizes: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in sizes:
            continue
        operands = _operands(node)
        if not ready:
            stack.append((node, True))
            stack += [(each, False) for each in operands if id(each) not in sizes]
            continue
        own, factors = _form(node, operands)
        size = own + sum(factor * sizes.get(id(each), _OWN) for factor, each in zip(factors, operands, strict=True))
        if size > MAX_SQL:
            raise QueryError("an expression is too large", hint="compute its parts with extend first")
        sizes[id(node)] = size
    return sizes[id(expr)]


def check_shape(query: Any) -> None:
    """Raises ``QueryError`` where ``query`` has too many operators, or pipelines too deep in each other. Looks at no
    columns, whose number grows with both.
    """
    operators, stack = 0, [(query, 0)]
    while stack:
        pipeline, depth = stack.pop()
        operators += len(pipeline.operators)
        if operators > MAX_OPERATORS:
            raise QueryError(f"the query has more than {MAX_OPERATORS} operators", hint="join conditions with and")
        if depth > MAX_NESTED:
            raise QueryError(f"pipelines are nested more than {MAX_NESTED} deep", hint="join one after another")
        inner = [each for part in (pipeline.source, *pipeline.operators) for each in nested_queries(part)]
        bound = [value for _, value in pipeline.lets if isinstance(value, ir.Query)]
        stack += [(each, depth + 1) for each in (*inner, *bound)]


def check_tree(op: Any) -> None:
    """Raises ``QueryError`` where ``op``, its shared parts written out wherever they are used, has too many parts."""
    counts: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(expr, False) for expr in _expressions(op)]
    while stack:
        node, ready = stack.pop()
        if ready:
            counts[id(node)] = 1 + sum(counts.get(id(each), 0) for each in _operands(node))
            if counts[id(node)] > MAX_PARTS:
                raise QueryError("an expression is too large", hint="compute its parts with extend first")
        elif id(node) not in counts:
            stack.append((node, True))
            stack += [(each, False) for each in _operands(node)]


def check_size(op: Any) -> None:
    """Raises ``QueryError`` where an expression of ``op`` becomes too much SQL."""
    if sum(expression_size(expr) for expr in _expressions(op)) > MAX_SQL:
        raise QueryError("the query is too large", hint="compute parts of it with extend first")


def _expressions(value: Any) -> list[Any]:
    """The outermost expressions in a field of an operator."""
    if isinstance(value, tuple | list):
        return [expr for each in value for expr in _expressions(each)]
    if isinstance(value, ir.Expr):
        return [value]
    names = parts(value.__class__)
    if names is None or isinstance(value, ir.Query):
        return []
    return [expr for name in names for expr in _expressions(getattr(value, name))]


def _operands(node: Any) -> list[Any]:
    found: list[Any] = []
    for name in parts(node.__class__) or ():
        value = getattr(node, name)
        if isinstance(value, ir.Expr):
            found.append(value)
        elif not isinstance(value, str | int | float | None):
            found += _expressions(value)
    return found


def _form(node: Any, operands: list[Any]) -> tuple[int, list[int]]:
    if not operands:
        text = getattr(node, "sql", None) or getattr(node, "value", None) or getattr(node, "name", None) or ""
        return _OWN + len(str(text)), []
    match node:
        case ir.FunctionCall(name=name, args=args):
            form: Any = ir.FunctionCall(name, tuple(_stand_in(arg, n) for n, arg in enumerate(args)))
        case ir.BinaryOp(op=op, left=left, right=right):
            form = ir.BinaryOp(op, _stand_in(left, 0), _stand_in(right, 1))
        case _:
            return 4 * _OWN, [2] * len(operands)
    own, factors = (_remembered if len(operands) <= _FEW else _measured)(form)
    return own, list(factors) if len(factors) == len(operands) else [max(factors, default=2)] * len(operands)


def _stand_in(operand: Any, number: int) -> Any:
    """A literal as it is, as far as it decides the form; for anything else a marker."""
    if isinstance(operand, ir.Literal):
        return replace(operand, value="x" if operand.kind == "string" else operand.value)
    if isinstance(operand, ir.ColumnRef):
        return ir.ColumnRef(_MARKER % number)
    if isinstance(operand, ir.Parameter):
        return upstream.typed(_MARKER % number, operand.kind)
    return ir.RenderedAggregate(_MARKER % number)


def _measured(node: Any) -> tuple[int, tuple[int, ...]]:
    """Characters of a form by itself, and how often it repeats each operand."""
    operands = _operands(node)
    sql = upstream.finish(upstream.render_scalar(node) or "")
    if not sql:  # cannot stand alone (an aggregate, a wrong call): it is notified elsewhere what is wrong with it
        return 8 * _OWN, (2,) * len(operands)
    return len(sql), tuple(max(1, sql.count(_MARKER % number)) for number in range(len(operands)))


_remembered = lru_cache(maxsize=2048)(_measured)

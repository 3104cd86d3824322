"""Where an expression of the tree stands in the text: the tree of upstream knows no places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.tokens import Token, TokenKind, place

_BLANK = frozenset("()[],.~!")
"""Punctuation that the tree does not hold."""


def place_of_expression(text: str, tokens: Sequence[Token], node: Any) -> tuple[int, int]:
    """1-based line and column of the first place that reads as ``node``, or as much of it as the text holds; else
    (0, 0).
    """
    written = [(word, token.start) for token in tokens for word in _of_token(token)]
    wanted = list(_words(node))
    spans = [(0, end) for end in range(len(wanted), 0, -1)] + [(start, len(wanted)) for start in range(1, len(wanted))]
    for start, end in spans:
        part = wanted[start:end]
        for at in range(len(written) - len(part) + 1):
            if all(written[at + i][0] == word for i, word in enumerate(part)):
                return place(text, written[at][1])
    return 0, 0


def _of_token(token: Token) -> Iterator[str]:
    if token.kind is TokenKind.STRING:
        try:
            yield f"'{upstream.plain_string(token.text)}"
        except ValueError:
            yield token.text
    elif token.kind is TokenKind.NUMBER:
        yield _number(token.text)
    elif not (token.kind is TokenKind.PUNCT and token.text in _BLANK):
        yield token.text


def _number(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text


def _words(node: Any) -> Iterator[str]:
    """What the tokens of ``node`` are, as ``_of_token`` says them."""
    for part in _literal(node) if isinstance(node, ir.Literal) else _parts(node):
        if isinstance(part, str):
            yield part
        else:
            yield from _words(part)


def _literal(node: ir.Literal) -> Sequence[str]:
    value = node.value
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, int | float):
        return [*("-" if value < 0 else ""), repr(float(abs(value)))]
    if isinstance(value, str) and node.kind == "string":
        return [f"'{value}"]
    return [str(value) if node.kind == "timespan" else str(node.kind)]


def _parts(node: Any) -> Sequence[Any]:
    """Words of its own and the expressions below, in the order of the text."""
    match node:
        case ir.ColumnRef(name=name) | ir.Parameter(name=name):
            return [str(name)]
        case ir.UnaryOp(op=op, operand=operand):
            return [str(op), operand]
        case ir.BinaryOp(op=op, left=left, right=right):
            return [left, *str(op).removeprefix("!" if op != "!=" and op != "!~" else " ").split(), right]
        case ir.InList(value=value, items=items):
            return [value, "in", *items]
        case ir.Between(value=value, low=low, high=high):
            return [value, "between", low, "..", high]
        case ir.PathAccess(base=base, steps=steps):
            return [base, *(str(step.name) if step.index is None else step.index for step in steps)]
        case ir.FunctionCall(name=name, args=args):
            return [str(name), *args]
        case ir.NamedExpr(expr=expr):
            return [expr]
    return []

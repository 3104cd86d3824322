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
    match node:
        case ir.ColumnRef(name=name) | ir.Parameter(name=name):
            yield str(name)
        case ir.Literal(value=str() as value, kind="string"):
            yield f"'{value}"
        case ir.Literal(value=bool() as value):
            yield str(value).lower()
        case ir.Literal(value=int() | float() as value):
            if value < 0:
                yield "-"
            yield repr(float(abs(value)))
        case ir.Literal(value=value, kind="timespan"):
            yield str(value)
        case ir.Literal(kind=kind):
            yield str(kind)
        case ir.UnaryOp(op=op, operand=operand):
            yield str(op)
            yield from _words(operand)
        case ir.BinaryOp(op=op, left=left, right=right):
            yield from _words(left)
            yield from str(op).removeprefix("!" if op != "!=" and op != "!~" else " ").split()
            yield from _words(right)
        case ir.InList(value=value, items=items):
            yield from _words(value)
            yield "in"
            for item in items:
                yield from _words(item)
        case ir.Between(value=value, low=low, high=high):
            yield from _words(value)
            yield "between"
            yield from _words(low)
            yield ".."
            yield from _words(high)
        case ir.PathAccess(base=base, steps=steps):
            yield from _words(base)
            for step in steps:
                if step.index is not None:
                    yield from _words(step.index)
                else:
                    yield str(step.name)
        case ir.FunctionCall(name=name, args=args):
            yield str(name)
            for arg in args:
                yield from _words(arg)
        case ir.NamedExpr(expr=expr):
            yield from _words(expr)

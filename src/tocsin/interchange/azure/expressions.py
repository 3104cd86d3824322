"""The grammar of Azure Resource Manager's template expressions: ``[concat('a', parameters('b'))]``.

Grammar: learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tocsin.errors import TocsinError

MAX_LENGTH = 256 * 1024
"""Longest expression, in characters; Azure's limit is 24,576."""
MAX_DEPTH = 64
"""Deepest nesting of calls."""


class ExpressionError(TocsinError):
    """An expression is wrong, or asks for something that is not there."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a number, or a word without brackets (true, false, null)."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Call:
    """A function's call; a user's function has its namespace in the name."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """``of.key`` or ``of[key]``; ``maybe`` where null is given for what is not there (``.?``)."""

    of: Node
    key: Node
    maybe: bool


Node = Literal | Call | Member

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<punct>\.\?|\[\?|[().,\[\]])
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}


def is_expression(text: str) -> bool:
    """Whether a template's string is an expression: in brackets, of which the first is not escaped by another. A JSON
    list is none.
    """
    return text.startswith("[") and text.endswith("]") and text[1:].lstrip()[:1] not in ("[", "{", '"')


def unescaped(text: str) -> str:
    """A string that is no expression as it is meant: ``[[…]`` stands for ``[…]``."""
    return text[1:] if text.startswith("[[") and text.endswith("]") else text


def escaped(text: str) -> str:
    """``text`` as a template must write it, so that it is no expression."""
    return f"[{text}" if text.startswith("[") and text.endswith("]") else text


def parse_expression(text: str) -> Node:
    """What stands between the brackets. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression of {len(text)} characters")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._kind, self._token = "", ""
        self._next()

    def whole(self) -> Node:
        node = self._node()
        if self._kind:
            raise self._wrong()
        return node

    def _next(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            if self._text[self._at :].strip():
                raise ExpressionError(f"'{self._text[self._at :].strip()[:20]}' is no part of an expression")
            self._kind = self._token = ""
            return
        self._at = match.end()
        self._kind, self._token = str(match.lastgroup), match.group(str(match.lastgroup))

    def _take(self, token: str) -> None:
        if self._kind != "punct" or self._token != token:
            raise self._wrong()
        self._next()

    def _is(self, *tokens: str) -> bool:
        return self._kind == "punct" and self._token in tokens

    def _wrong(self) -> ExpressionError:
        return ExpressionError(
            f"an expression does not go on with '{self._token}'" if self._token else "ends too early"
        )

    def _node(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"calls are nested deeper than {MAX_DEPTH}")
        node = self._first()
        for _ in range(MAX_DEPTH):
            if self._is(".", ".?"):
                maybe = self._token == ".?"
                self._next()
                if self._kind != "name":
                    raise self._wrong()
                node = Member(node, Literal(self._token), maybe)
                self._next()
            elif self._is("[", "[?"):
                maybe = self._token == "[?"
                self._next()
                node = Member(node, self._node(), maybe)
                self._take("]")
            else:
                self._depth -= 1
                return node
        raise ExpressionError(f"more than {MAX_DEPTH} steps into one value")

    def _first(self) -> Node:
        kind, token = self._kind, self._token
        self._next()
        if kind == "string":
            return Literal(token[1:-1].replace("''", "'"))
        if kind == "number":
            return Literal(float(token) if "." in token else int(token))
        if kind != "name":
            raise ExpressionError(f"an expression does not go on with '{token}'" if token else "ends too early")
        while self._is(".") and not self._ends_call(token):
            self._next()
            if self._kind != "name":
                raise self._wrong()
            token += f".{self._token}"
            self._next()
        if not self._is("("):
            if token.lower() in _WORDS:
                return Literal(_WORDS[token.lower()])
            raise ExpressionError(f"'{token}' is neither a value nor a call")
        self._next()
        args: list[Node] = []
        while not self._is(")"):
            args.append(self._node())
            if not self._is(")"):
                self._take(",")
        self._next()
        return Call(token, tuple(args))

    def _ends_call(self, token: str) -> bool:
        return "." in token

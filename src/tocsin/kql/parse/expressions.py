"""Expressions of the common part of KQL, read straight from tokens; see ``parse``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.tokens import ASSIGNED, KEYWORDS, NO_NAMES, Token, TokenKind


class Unsure(Exception):
    """What follows is upstream's to read."""


_EQUALS = frozenset(("==", "!=", "<>"))
_RELATIONS = frozenset(("<", "<=", ">", ">="))
_TEXT = frozenset(
    [
        word + case
        for word in ("has", "hasprefix", "hassuffix", "contains", "startswith", "endswith")
        for case in ("", "_cs")
    ]
)
_LISTS = {"in": (False, False), "!in": (True, False), "in~": (False, True), "!in~": (True, True)}
_HAS_LISTS = {"has_any": False, "has_all": True}
_FUNCTIONS = frozenset(("bin", "count", "log", "pack", "range", "replace", "toscalar"))
"""Keywords that are functions before a bracket."""
_NULLS = {
    **{kind: kind for kind in ("long", "int", "real", "datetime", "timespan", "bool", "dynamic", "guid")},
    "double": "real",
}
"""Types whose null is written ``long(null)``, as upstream calls them."""
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_PLAIN = re.compile(r"""'(?:[^'\\\r\n]|\\['"\\nrt])*'|"(?:[^"\\\r\n]|\\['"\\nrt])*\"""")
"""Strings whose every escape upstream's lexer knows."""
_INSTANT = re.compile(r"[0-9][0-9TtZz:.+ -]*")
_TOUCHING = frozenset(("]-", "--", "-["))
"""Neighbours that upstream's lexer reads as one, for its graphs."""
_NUMBER = re.compile(r"[0-9]{1,19}|[0-9]{1,17}\.[0-9]{1,17}")


class Reader:
    """A place in a query's tokens. ``word`` is the token there, '' at the end; ``kind`` its kind."""

    __slots__ = ("_at", "_text", "_tokens", "kind", "word")

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text, self._tokens, self._at = text, tokens, -1
        self.word, self.kind = "", ""
        self.step()

    def step(self) -> None:
        """Go on by one token."""
        self._at += 1
        if self._at >= len(self._tokens):
            self.word, self.kind = "", ""
            return
        kind, self.word, start, _ = self._tokens[self._at]
        self.kind = kind.value
        if self._at and start == self._tokens[self._at - 1].end:
            self._touches(self._tokens[self._at - 1], kind)

    def _touches(self, before: Token, kind: TokenKind) -> None:
        """Raises where two tokens without a blank between them may be one to upstream."""
        if kind is TokenKind.PUNCT:
            glued = (before.text[-1] + self.word[0] in _TOUCHING) or (self.word == "-" and before.text in KEYWORDS)
            number = before.kind in (TokenKind.NUMBER, TokenKind.TIMESPAN) and self.word[0] == "."  # 1. is a number
        else:
            glued, number = before.kind is not TokenKind.PUNCT, False  # 5by, 'a''b'
        if glued or number:
            raise Unsure

    @property
    def ahead(self) -> str:
        """The token after this one, '' at the end."""
        return self._tokens[self._at + 1].text if self._at + 1 < len(self._tokens) else ""

    def joined(self, number: int) -> bool:
        """Whether the next ``number`` tokens follow without a blank."""
        these = self._tokens[self._at : self._at + number + 1]
        return len(these) == number + 1 and all(a.end == b.start for a, b in pairwise(these))

    def expect(self, word: str) -> None:
        """Go past ``word``."""
        if self.word != word:
            raise Unsure
        self.step()

    def name(self, allowed: frozenset[str] = frozenset()) -> str:
        """A plain name, one of the ``allowed`` words of the grammar, or one in brackets and quotes."""
        if self.kind == "name":
            word = self.word
            if (word in NO_NAMES and word not in allowed) or word in _BOOLEANS or "$" in word:
                raise Unsure
            self.step()
            return word
        if self.word != "[" or self.kind != "punct":
            raise Unsure
        self.step()
        name = self.text()
        self.expect("]")
        return name

    def text(self) -> str:
        """The value of a string literal."""
        if self.kind != "string" or not _PLAIN.fullmatch(self.word):
            raise Unsure
        value = upstream.plain_string(self.word)
        self.step()
        if self.kind == "string":  # neighbours are one
            raise Unsure
        return value

    def number(self) -> Any:
        """A whole number or one with a point."""
        word = self.word
        if self.kind != "number" or not _NUMBER.fullmatch(word):
            raise Unsure
        self.step()
        if "." in word:
            return ir.Literal(float(word), "real")
        if int(word) >= 1 << 63:
            raise Unsure
        return ir.Literal(int(word), "long")

    def targets(self) -> tuple[Any, ...]:
        """``name = expression, expression, …``"""
        found = []
        while True:
            name = None
            if self.ahead == "=" and self.kind == "name":
                name = self.name(ASSIGNED)
                self.step()
            elif self.word == "[" and self.kind == "punct":  # ['a b'] = …, or a column so called
                name = self.name()
                if self.word != "=":
                    raise Unsure
                self.step()
            found.append(ir.NamedExpr(self.expression(), name))
            if self.word != ",":
                return tuple(found)
            self.step()

    def expression(self) -> Any:
        """An expression, as far as it goes."""
        left = self._all()
        while self.word == "or" and self.kind == "name":
            self.step()
            left = ir.BinaryOp("or", left, self._all())
        return left

    def _all(self) -> Any:
        left = self._equality()
        while self.word == "and" and self.kind == "name":
            self.step()
            left = ir.BinaryOp("and", left, self._equality())
        return left

    def _equality(self) -> Any:
        left = self._relation()
        if self.kind == "punct" and self.word in _EQUALS:
            operator = self.word
            self.step()
            return ir.BinaryOp(operator, left, self._relation())
        operator = self._list_operator()
        if not operator:
            return left
        self.expect("(")
        if operator in ("between", "!between"):
            low = self._signed()
            self.expect("..")
            high = self._signed()
            self.expect(")")
            return ir.Between(left, low, high, operator == "!between")
        return self._listed(operator, left)

    def _list_operator(self) -> str:
        """``in`` and its kin, the cursor past it; '' where there is none."""
        negated = self.word == "!" and self.kind == "punct"
        word = self.ahead if negated else self.word
        if word not in ("in", "has_any", "has_all", "between") or (not negated and self.kind != "name"):
            return ""
        if negated:
            if not self.joined(1) or word in ("has_any", "has_all"):
                raise Unsure
            self.step()
        tilde = word == "in" and self.ahead == "~"
        if tilde and not self.joined(1):
            raise Unsure
        self.step()
        if tilde:
            self.step()
        return ("!" if negated else "") + word + ("~" if tilde else "")

    def _listed(self, operator: str, left: Any) -> Any:
        """What stands in the brackets of ``in (…)``."""
        subquery, items = None, []
        if self.ahead == "|" and self.kind == "name":
            subquery = self.pipeline()
        else:
            items.append(self._signed())
            while self.word == ",":
                self.step()
                items.append(self._signed())
        self.expect(")")
        if operator in _HAS_LISTS:
            return ir.HasList(left, tuple(items), _HAS_LISTS[operator], subquery)
        return ir.InList(left, tuple(items), *_LISTS[operator], subquery)

    def pipeline(self) -> Any:
        """A query inside an expression."""
        raise Unsure

    def _relation(self) -> Any:
        left = self._sum()
        if self.kind == "punct" and self.word in _RELATIONS:
            operator = self.word
            self.step()
            return ir.BinaryOp(operator, left, self._sum())
        return left

    def _sum(self) -> Any:
        left = self._product()
        while self.kind == "punct" and self.word in ("+", "-"):
            operator = self.word
            self.step()
            left = ir.BinaryOp(operator, left, self._product())
        return left

    def _product(self) -> Any:
        left = self._textual()
        while self.kind == "punct" and self.word in ("*", "/", "%"):
            operator = self.word
            self.step()
            left = ir.BinaryOp(operator, left, self._textual())
        return left

    def _textual(self) -> Any:
        left = self._signed()
        if self.kind == "punct":
            if self.word in ("=~", "!~"):
                operator = self.word
            elif self.word == "!" and self.ahead in _TEXT:
                if not self.joined(1):
                    raise Unsure
                operator = f"!{self.ahead}"
                self.step()
            else:
                return left
        elif self.kind == "name" and self.word in _TEXT:
            operator = self.word
        elif self.word == "matches" and self.kind == "name":
            start = self._tokens[self._at].start
            if self.ahead != "regex" or self._text[start : start + 13] != "matches regex":
                raise Unsure
            operator = "matches regex"
            self.step()
        else:
            return left
        self.step()
        return ir.BinaryOp(operator, left, self._signed())

    def _signed(self) -> Any:
        if self.kind != "punct" or self.word not in ("-", "+"):
            return self._path()
        minus = self.word == "-"
        self.step()
        operand = self._path()
        if not minus:
            return operand
        if isinstance(operand, ir.Literal) and isinstance(operand.value, int | float):
            return ir.Literal(-operand.value, operand.kind)
        return ir.UnaryOp("-", operand)

    def _path(self) -> Any:
        base = self._primary()
        steps: list[Any] = []
        while self.kind == "punct":
            if self.word == ".":
                self.step()
                steps.append(ir.PathStep(name=self.name()))
                if self.word == "(":
                    raise Unsure
            elif self.word == "[":
                self.step()
                index = self.expression()
                self.expect("]")
                named = isinstance(index, ir.Literal) and index.kind == "string"
                steps.append(ir.PathStep(name=str(index.value)) if named else ir.PathStep(index=index))
            else:
                break
        return ir.PathAccess(base, tuple(steps)) if steps else base

    def _primary(self) -> Any:
        kind, word = self.kind, self.word
        if kind == "string":
            return ir.Literal(self.text(), "string")
        if kind == "number":
            return self.number()
        if kind == "timespan":
            self.step()
            return ir.Literal(word, "timespan")
        if kind == "punct":
            if word == "(":
                self.step()
                inner = self.expression()
                self.expect(")")
                return inner
            return ir.ColumnRef(self.name())
        if word in _BOOLEANS:
            self.step()
            return ir.Literal(_BOOLEANS[word], "bool")
        if self.ahead == "(":
            return self._call()
        return ir.ColumnRef(self.name())

    def _call(self) -> Any:
        name = self.word
        if name in _NULLS and self.joined(3) and self._tokens[self._at + 2].text == "null":
            for _ in range(3):
                self.step()
            self.expect(")")
            return ir.Literal(None, _NULLS[name])
        if name == "datetime":
            return self._instant()
        if "$" in name or (name in NO_NAMES and name not in _FUNCTIONS):
            raise Unsure
        self.step()
        self.step()
        if name == "count":
            self.expect(")")
            return ir.FunctionCall("count")
        if name == "toscalar":
            if self.ahead != "|" or self.kind != "name":
                raise Unsure
            query = self.pipeline()
            self.expect(")")
            return ir.ToScalar(query)
        args: list[Any] = []
        while self.word != ")":
            if self.word == "*" and self.kind == "punct":
                self.step()
                args.append(ir.Wildcard())
            else:
                args.append(self.expression())
            if self.word == "," and self.ahead != ")":
                self.step()
            elif self.word != ")":
                raise Unsure
        self.step()
        return ir.FunctionCall(name, tuple(args))

    def _instant(self) -> Any:
        """``datetime(2026-01-01 12:00)``, whose inside is no expression."""
        if not self.joined(1):
            raise Unsure
        start = self._tokens[self._at + 1].end
        end = self._text.find(")", start)
        written = self._text[start:end].strip()
        if end < 0 or not _INSTANT.fullmatch(written):
            raise Unsure
        while self._at + 1 < len(self._tokens) and self._tokens[self._at + 1].start <= end:
            self._at += 1
        self.step()
        return ir.Literal(written, "datetime")

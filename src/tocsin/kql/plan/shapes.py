"""Literals of a query that may become constants, so that rules which differ in nothing else share one plan.

A candidate literal is replaced by a sentinel, a value that no user can write; the query is parsed and rendered with it;
and where the sentinel then stands, a column of constants is put. Only places where a column means the same as a literal
count: comparisons of known type, items of ``in``, arithmetic, values given to a column. Elsewhere the literal stays in
the shape: a dynamic path, a regex, the needle of ``has`` (folded into a pattern), a bin.

``Words`` finds which literals of a query may become constants; ``table`` gives a plan the constants of its rules.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tocsin.errors import QueryError
from tocsin.kql.plan.prefilter import Predicate, refilled
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.trees import walk
from tocsin.kql.sandbox.types import Types, type_of
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.tokens import Token, TokenKind

CONSTANT = "__tocsin_c"
"""Constants enter a plan's rows as columns of this name and their number."""

_MARK = f"kqlconst{secrets.token_hex(8)}x"
_LONG = 8_000_000_000_000_000_000 + secrets.randbelow(10**18) // 10**6 * 10**6
_REAL = 10**12 + secrets.randbelow(10**12) // 10**6 * 10**6
_SQL = re.compile(
    rf"'{_MARK}(?P<s>\d+)x'|CAST\((?P<m>-?)(?P<l>{_LONG // 10**6}\d{{6}}) AS BIGINT\)"
    rf"|CAST\((?P<n>-?)(?P<r>{_REAL // 10**6}\d{{6}})\.5 AS DOUBLE\)"
)
_OPAQUE = frozenset(
    [
        "datetime",
        "date",
        "dynamic",
        "timespan",
        "time",
        "guid",
        "real",
        "double",
        "long",
        "int",
        "decimal",
        "bool",
        "boolean",
        "typeof",
    ]
)
_INTEGER, _DECIMAL = re.compile(r"\d{1,18}"), re.compile(r"\d{1,15}\.\d{1,15}")

_TEXT_OPS = frozenset(
    ["==", "!=", "<>", "=~", "!~"]
    + [n + word + c for n in ("", "!") for word in ("contains", "startswith", "endswith") for c in ("", "_cs")]
)
_NUMBER_OPS = frozenset(["==", "!=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"])
_NUMBERS = ("int", "long", "real")
_PASSING = frozenset(("iff", "iif", "case", "strcat", "coalesce"))


def kind_of(token: Token) -> str | None:
    """``string``, ``long`` or ``real`` for a literal plain enough to become a constant, else None."""
    if token.kind is TokenKind.STRING and token.text[0] in "'\"":
        return "string"
    if token.kind is TokenKind.NUMBER:
        if _INTEGER.fullmatch(token.text):
            return "long"
        if _DECIMAL.fullmatch(token.text):
            return "real"
    return None


def candidates(tokens: Sequence[Token]) -> list[int]:
    """Indexes of the tokens that may become constants."""
    found = []
    closing = 0  # depth at which an opaque literal, datetime(2026-01-01), ends
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind is TokenKind.PUNCT:
            depth += token.text in "([{"
            depth -= token.text in ")]}"
            if closing and depth < closing:
                closing = 0
            continue
        if token.kind is TokenKind.NAME:
            opens = index + 1 < len(tokens) and tokens[index + 1].text == "("
            if opens and not closing and token.text.lower() in _OPAQUE:
                closing = depth + 1
        elif not closing and kind_of(token):
            found.append(index)
    return found


def pattern(tokens: Sequence[Token], chosen: Iterable[int]) -> tuple[str, ...]:
    """The query's words, with the kind in place of each chosen literal."""
    which = set(chosen)
    return tuple(f"\0{kind_of(t)}" if i in which else t.text for i, t in enumerate(tokens))


def value(token: Token) -> object:
    """What a candidate literal means."""
    kind = kind_of(token)
    if kind == "string":
        return upstream.plain_string(token.text)
    return int(token.text) if kind == "long" else float(token.text)


def with_sentinels(text: str, tokens: Sequence[Token], chosen: Sequence[int]) -> str:
    """The query with sentinel ``n`` in place of the ``n``-th chosen literal."""
    parts, at = [], 0
    for number, index in enumerate(chosen):
        token = tokens[index]
        kind = kind_of(token)
        written = (
            f"'{_MARK}{number}x'"
            if kind == "string"
            else str(_LONG + number)
            if kind == "long"
            else f"{_REAL + number}.5"
        )
        parts += [text[at : token.start], written]
        at = token.end
    return "".join([*parts, text[at:]])


def number_of(value: object) -> int | None:
    """The number of the sentinel that ``value`` is, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        inner = value.removeprefix(_MARK).removesuffix("x")
        return int(inner) if value.startswith(_MARK) and inner.isdigit() else None
    if isinstance(value, int):
        number = abs(value) - _LONG
    elif isinstance(value, float):
        number = int(abs(value) - 0.5) - _REAL
    else:
        return None
    return number if 0 <= number < 10**6 else None


def as_columns(sql: str) -> tuple[str, set[int]]:
    """SQL with columns of constants in place of sentinels, and which of them it reads."""
    read: set[int] = set()

    def column(match: re.Match[str]) -> str:
        number, minus = _sentinel(match)
        read.add(number)
        return f'(-"{CONSTANT}{number}")' if minus else f'"{CONSTANT}{number}"'

    return _SQL.sub(column, sql), read


def _sentinel(match: re.Match[str]) -> tuple[int, str]:
    """Number and sign of a sentinel in SQL."""
    if match["s"]:
        return int(match["s"]), ""
    if match["l"]:
        return int(match["l"]) - _LONG, match["m"]
    return int(match["r"]) - _REAL, match["n"]


def left_over(sql: str) -> bool:
    """Whether a sentinel is still somewhere in ``sql``."""
    return _MARK in sql or str(_LONG // 10**6) in sql or str(_REAL // 10**6) in sql


def usable(op: Any, columns: Types) -> tuple[set[int], set[int]]:
    """Sentinels of an operator that may become constants, and those that stand where they may not."""
    good: set[int] = set()
    every: list[int] = []
    for node in walk(op):
        if isinstance(node, ir.Literal) and (number := number_of(node.value)) is not None:
            every.append(number)
        for literal in _good(node, columns):
            if (number := number_of(literal.value)) is not None:
                good.add(number)
    # walk() meets a shared node once, so a literal counts as good only where nothing else holds it too.
    holders = _holders(op, columns)
    bad = {number for number in every if number not in good} | {n for n, (held, fine) in holders.items() if held > fine}
    return good - bad, bad


def _holders(op: Any, columns: Types) -> Mapping[int, tuple[int, int]]:
    """For each sentinel: how many nodes hold it directly, and for how many of these it may be a constant."""
    counts: dict[int, tuple[int, int]] = {}
    for node in walk(op):
        fine = [id(literal) for literal in _good(node, columns)]
        for child in _children(node):
            if isinstance(child, ir.Literal) and (number := number_of(child.value)) is not None:
                held, good = counts.get(number, (0, 0))
                counts[number] = held + 1, good + (id(child) in fine)
    return counts


def _children(node: Any) -> list[Any]:
    found: list[Any] = []
    for name in getattr(node, "__dataclass_fields__", {}):
        child = getattr(node, name)
        found += child if isinstance(child, tuple | list) else [child]
    return found


def _good(node: Any, columns: Types) -> list[Any]:
    """Literals directly in ``node`` for which a column would do as well."""
    match node:
        case ir.BinaryOp(op=op, left=left, right=right):
            return [
                literal
                for literal, other in ((left, right), (right, left))
                if isinstance(literal, ir.Literal) and _fits(literal, type_of(other, columns), op)
            ]
        case ir.InList(value=inner, items=items):
            return [i for i in items if isinstance(i, ir.Literal) and _fits(i, type_of(inner, columns), "==")]
        case ir.Between(value=inner, low=low, high=high):
            return [i for i in (low, high) if isinstance(i, ir.Literal) and _fits(i, type_of(inner, columns), "<")]
        case ir.NamedExpr(expr=ir.Literal() as literal):
            return [literal]
        case ir.FunctionCall(name=name, args=args) if name.lower() in _PASSING:
            return [arg for arg in args if isinstance(arg, ir.Literal) and arg.kind == "string"]
    return []


def _fits(literal: Any, other: str | None, op: str) -> bool:
    if literal.kind == "string":
        return op in _TEXT_OPS and other in ("string", "dynamic")
    if literal.kind in ("long", "real"):
        return op in _NUMBER_OPS and (other in _NUMBERS or (other == "dynamic" and op not in ("+", "-", "*", "/", "%")))
    return False


_DUCKDB = {"string": "VARCHAR", "long": "BIGINT", "real": "DOUBLE", "bool": "BOOLEAN", "datetime": "TIMESTAMP"}


class HasUsable(Protocol):
    """A plan that was built with sentinels in place of literals."""

    @property
    def usable(self) -> frozenset[int]:
        """Numbers of those that may be constants."""


B = TypeVar("B", bound=HasUsable)
Build = Callable[[str, tuple[str, ...]], B]
"""Builds the plan of a text with sentinels of these kinds. Raises QueryError."""


class Words:
    """A query as a cache key: equal to every query that differs in the ``chosen`` literals alone."""

    __slots__ = ("pattern", "text", "tokens")

    def __init__(self, text: str, tokens: tuple[Token, ...], chosen: Iterable[int]) -> None:
        self.pattern, self.text, self.tokens = pattern(tokens, tuple(chosen)), text, tokens

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and other.pattern == self.pattern

    def kinds(self, chosen: Iterable[int]) -> tuple[str, ...]:
        """KQL types of the literals at these places."""
        return tuple(str(kind_of(self.tokens[index])) for index in chosen)

    def values(self, chosen: Iterable[int]) -> tuple[object, ...]:
        """These literals."""
        return tuple(value(self.tokens[index]) for index in chosen)

    def built(self, chosen: tuple[int, ...], build: Build[B]) -> B:
        """The plan with constants at these places. Raises QueryError with its place in the query."""
        try:
            return self._with_sentinels(chosen, build)
        except QueryError:
            build(self.text, ())  # the same fault, at its place
            raise

    def places(self, build: Build[B]) -> tuple[int, ...]:
        """Indexes of the tokens that may become constants. Raises QueryError with its place in the query."""
        possible = tuple(candidates(self.tokens))
        every = self._usable(possible, build)
        if every == possible:
            return possible
        build(self.text, ())  # says what is wrong, at its place
        if every is None:  # one of them must be just what it is, such as a pattern of parse: each is tried alone
            alone = (self._usable((index,), build) for index in possible)
            every = tuple(index for found in alone for index in found or ())
        return self._usable(every, build) or ()

    def _usable(self, chosen: tuple[int, ...], build: Build[B]) -> tuple[int, ...] | None:
        """Which of the ``chosen`` may become constants; None where the query is no more one with sentinels in it."""
        try:
            plan = self._with_sentinels(chosen, build)
        except QueryError:
            return None
        return tuple(index for number, index in enumerate(chosen) if number in plan.usable)

    def _with_sentinels(self, chosen: tuple[int, ...], build: Build[B]) -> B:
        return build(with_sentinels(self.text, self.tokens, chosen), self.kinds(chosen))


def filled(templates: Iterable[Predicate], constants: Sequence[object]) -> tuple[Predicate, ...]:
    """Predicates with a query's constants in place of sentinels; without those that would promise too much."""
    found = []
    for each in templates:
        numbers = {value: number for value in each.values if (number := number_of(value)) is not None}
        found.append(refilled(each, {value: constants[number] for value, number in numbers.items()}))
    return tuple(each for each in found if each is not None)


def table(
    kinds: Sequence[str], numbers: Sequence[int], rows: Sequence[Sequence[object]]
) -> tuple[str, dict[str, object]]:
    """SQL of the table of rules' numbers and constants, and its parameters.

    They are JSON text: DuckDB takes a list of a thousand as a parameter in 160 ms, as text in one.
    """
    if not kinds and len(numbers) == 1:  # DuckDB plans a literal without a join
        return f"SELECT {numbers[0]} AS rule_no", {}
    listed = ["unnest($tocsin_rules::JSON::INTEGER[]) AS rule_no"]
    parameters: dict[str, object] = {"tocsin_rules": json.dumps(list(numbers))}
    for index, kind in enumerate(kinds):
        listed.append(f'unnest($tocsin_c{index}::JSON::{_DUCKDB[kind]}[]) AS "c{index}"')
        parameters[f"tocsin_c{index}"] = json.dumps([row[index] for row in rows], ensure_ascii=False)
    return f"SELECT {', '.join(listed)}", parameters

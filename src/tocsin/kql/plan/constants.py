"""Queries that differ in literals alone: which of these may become constants, and how a plan is given them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from tocsin.errors import QueryError
from tocsin.kql.plan import shapes
from tocsin.kql.plan.prefilter import Predicate, refilled
from tocsin.kql.tokens import Token

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
        self.pattern, self.text, self.tokens = shapes.pattern(tokens, tuple(chosen)), text, tokens

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and other.pattern == self.pattern

    def kinds(self, chosen: Iterable[int]) -> tuple[str, ...]:
        """KQL types of the literals at these places."""
        return tuple(str(shapes.kind_of(self.tokens[index])) for index in chosen)

    def values(self, chosen: Iterable[int]) -> tuple[object, ...]:
        """These literals."""
        return tuple(shapes.value(self.tokens[index]) for index in chosen)

    def built(self, chosen: tuple[int, ...], build: Build[B]) -> B:
        """The plan with constants at these places. Raises QueryError with its place in the query."""
        try:
            return self._with_sentinels(chosen, build)
        except QueryError:
            build(self.text, ())  # the same fault, at its place
            raise

    def places(self, build: Build[B]) -> tuple[int, ...]:
        """Indexes of the tokens that may become constants. Raises QueryError with its place in the query."""
        possible = tuple(shapes.candidates(self.tokens))
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
        return build(shapes.with_sentinels(self.text, self.tokens, chosen), self.kinds(chosen))


def filled(templates: Iterable[Predicate], constants: Sequence[object]) -> tuple[Predicate, ...]:
    """Predicates with a query's constants in place of sentinels; without those that would promise too much."""
    found = []
    for each in templates:
        numbers = {value: number for value in each.values if (number := shapes.number_of(value)) is not None}
        found.append(refilled(each, {value: constants[number] for value, number in numbers.items()}))
    return tuple(each for each in found if each is not None)


def table(
    kinds: Sequence[str], numbers: Sequence[int], rows: Sequence[Sequence[object]]
) -> tuple[str, dict[str, object]]:
    """SQL of the table of rules' numbers and constants, and its parameters.

    They are JSON text: DuckDB takes a list of a thousand as a parameter in 160 ms, as text in one.
    """
    listed = ["unnest($tocsin_rules::JSON::INTEGER[]) AS rule_no"]
    parameters: dict[str, object] = {"tocsin_rules": json.dumps(list(numbers))}
    for index, kind in enumerate(kinds):
        listed.append(f'unnest($tocsin_c{index}::JSON::{_DUCKDB[kind]}[]) AS "c{index}"')
        parameters[f"tocsin_c{index}"] = json.dumps([row[index] for row in rows], ensure_ascii=False)
    return f"SELECT {', '.join(listed)}", parameters

"""Rules of many rows by filling one that was compiled: only their constants differ, so only these are exchanged.

A rule is compiled once with a probe in place of each column, a value that nobody writes; where all probes have become
constants of its shape, a row's rule is that one with the row's values in their place. A value that is no plain literal
of its kind (a negative number, a bool) makes a query of other words: such a row is compiled by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tocsin.kql.plan import shapes
from tocsin.kql.tokens import tokenize
from tocsin.rules.kinds.base import Filling
from tocsin.rules.kinds.registry import AnyKind
from tocsin.rules.language import lengths as each_lengths
from tocsin.rules.language.literals import literal
from tocsin.rules.language.schema import When
from tocsin.rules.language.written import TableRow
from tocsin.rules.spec.rule import Rule

_REAL = re.compile(r"\d{1,15}\.\d{1,15}")


def probes_of(columns: Mapping[str, str]) -> dict[str, object]:
    """A probe for each column that can have one. They are the same at every start: a rule's meaning is hashed with
    them.
    """
    found: dict[str, object] = {}
    for i, (name, kind) in enumerate(columns.items()):
        if kind == "string":
            found[name] = f"tocsin-row-{i}-5d1f7c0b9a3e"
        elif kind in ("long", "int"):
            found[name] = 730_571_913_358_104_000 + i
        elif kind == "real":
            found[name] = 730571913358.5 + i
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How a compiled rule is filled. Whatever it fills is what compiling the row would give."""

    kind: AnyKind
    columns: Mapping[str, str]
    probes: Mapping[str, object]
    when: When | None  # as it is written: what of it is a template is each row's own

    @staticmethod
    def of(
        kind: AnyKind, rule: Rule, columns: Mapping[str, str], probes: Mapping[str, object], when: When | None
    ) -> Pattern | None:
        """The pattern of a rule compiled with ``probes``; None where a probe, or what is a template, is part of its
        shape.
        """
        templates = when is not None and bool(each_lengths.templates_of(when))
        found = None if templates and not kind.fills_lengths else kind.constants(rule)
        if found is None or probes.keys() != columns.keys():
            return None
        text, constants = found
        written = [shapes.value(token) for token in tokenize(text) if shapes.kind_of(token)]
        whole = all(written.count(probe) == constants.count(probe) for probe in probes.values())
        return Pattern(kind=kind, columns=columns, probes=probes, when=when) if whole else None

    def filled(self, rule: Rule, row: TableRow) -> Rule | None:
        """``rule`` with the row's values; None where the row has to be compiled."""
        values: dict[object, object] = {}
        for name, kind in self.columns.items():
            value = row.get(name)
            if kind == "string" and value is None:
                value = ""
            if not _plain(value, kind):
                return None
            values[self.probes[name]] = value

        def text(query: str) -> str:
            for name, probe in self.probes.items():
                query = query.replace(literal(probe), literal(row.get(name)))
            return query

        found = self.kind.filled(rule, Filling(row=row, values=values, text=text, when=self.when))
        return found if found is None else replace(found, query=text(rule.query))


def _plain(value: object, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "real":
        return isinstance(value, float) and _REAL.fullmatch(repr(value)) is not None
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18

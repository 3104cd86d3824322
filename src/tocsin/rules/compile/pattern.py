"""Rules of many rows by filling one that was compiled: only their constants differ, so only these are exchanged.

A rule is compiled once with a probe in place of each column, a value that nobody writes; where all probes have
become constants
of its shape, a row's rule is that one with the row's values in their place. A value that is no plain literal of its
kind (a
negative number, a bool) makes a query of other words: such a row is compiled by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tocsin.kql.plan import rowplan, shapes, windowplan
from tocsin.kql.tokens import tokenize
from tocsin.rules.language import lengths as each_lengths
from tocsin.rules.language.literals import literal
from tocsin.rules.language.schema import When
from tocsin.rules.spec import baseline as baselines
from tocsin.rules.spec import deadline as absence
from tocsin.rules.spec.deadline import Absence
from tocsin.rules.spec.rule import Rule

TableRow = Mapping[str, object]
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

    columns: Mapping[str, str]
    probes: Mapping[str, object]
    when: When | None = None  # as it is written: what of it is a template is each row's own

    @staticmethod
    def of(
        rule: Rule, columns: Mapping[str, str], probes: Mapping[str, object], when: When | None = None
    ) -> Pattern | None:
        """The pattern of a rule compiled with ``probes``; None where a probe, or what is a template, is part of its
        shape.
        """
        if when is not None and rule.absence is None and each_lengths.templates_of(when):
            return None
        if rule.window is not None and rule.window.query.raw_sql:
            return Pattern(columns=columns, probes=probes) if probes.keys() == columns.keys() else None
        if rule.window is not None:
            text, constants = rule.window.query.text, rule.window.query.constants
        else:
            text, constants = rule.query, rule.plan.constants
        written = [shapes.value(token) for token in tokenize(text) if shapes.kind_of(token)]
        whole = all(written.count(probe) == constants.count(probe) for probe in probes.values())
        return Pattern(columns=columns, probes=probes, when=when) if whole and probes.keys() == columns.keys() else None

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
        query = self._text(rule.query, row)
        if rule.window is not None:
            seen = rule.window.query
            filled = windowplan.with_values(seen, values, self._text(seen.text, row))
            return replace(rule, query=query, window=replace(rule.window, query=filled))
        plan = rowplan.with_values(rule.plan, values)
        if rule.absence is None:
            return replace(rule, query=query, row_plan=plan)
        waits = self._waits(rule.absence, row)
        return replace(rule, query=query, row_plan=plan, absence=waits, of_row=dict(row)) if waits is not None else None

    def _waits(self, waits: Absence, row: TableRow) -> Absence | None:
        """What a rule of the row waits for; None where its length is wrong, which compiling it will say."""
        assert self.when is not None
        try:
            when = each_lengths.filled(self.when, row)
        except ValueError:
            return None
        wrong = any(absence.faults(when)) or (when.duration is not None and any(baselines.faults(when)))
        return None if wrong else absence.absence_of(when, waits.terms)

    def _text(self, text: str, row: TableRow) -> str:
        for name, probe in self.probes.items():
            text = text.replace(literal(probe), literal(row.get(name)))
        return text


def _plain(value: object, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "real":
        return isinstance(value, float) and _REAL.fullmatch(repr(value)) is not None
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18

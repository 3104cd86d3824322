"""Which rules can a commit touch? A hash index over prefilters, so that cost follows activity, not the number of rules.

Each rule is filed under one of its simple predicates, the one whose values the fewest other rules share: under
``ExperimentName == 'churn'`` rather than under ``Status == 'Failed'``. A commit is reduced to the rows with a status
that some rule waits for, and these to their distinct values of the columns that predicates name. Each of them finds the
rules filed under its values, and those whose other predicates hold for it too are touched.

A predicate that cannot be evaluated outside DuckDB (a number inside a dynamic column, letters beyond ASCII under
``=~``) counts as holding: the index may name a rule too many, never one too few.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from tocsin.kql.plan.prefilter import Op, Predicate
from tocsin.logstore.interface import StoredRow
from tocsin.rules.spec.rule import Rule

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R", bound=Rule)
Key: TypeAlias = tuple[object, object]
"""What ``==`` and ``=~`` compare with; None where that cannot be evaluated."""
STATUS = "Status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column, or a path into a dynamic one, that predicates compare."""

    column: str
    path: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """It in SQL; a path as JSON text."""
        quoted = '"' + self.column.replace('"', '""') + '"'
        if not self.path:
            return quoted
        where = "$" + "".join('."' + step.replace("\\", "\\\\").replace('"', '\\"') + '"' for step in self.path)
        return f"json_extract({quoted}, '{where.replace(chr(39), chr(39) * 2)}')"

    def key(self, row: StoredRow) -> Key:
        """It in a row that is in memory; one that is not kept there cannot be evaluated."""
        if self.column not in row:
            return None, None
        value = row[self.column]
        if not self.path:
            return _key(value, False)
        value = json.loads(value)
        for step in self.path:
            value = value.get(step) if isinstance(value, dict) else None
        return _key(value, False) if value is None or isinstance(value, str) else (None, None)


def matching_sql(predicates: Iterable[Predicate]) -> tuple[str, dict[str, object]]:
    """A condition of SQL that rows satisfy which pass ``predicates``, and its parameters."""
    clauses, parameters = ["true"], dict[str, object]()
    for i, p in enumerate(predicates):
        value = Field(column=p.column, path=p.path).sql
        if p.path:
            value = f"({value} ->> '$')"
        if all(isinstance(each, bool) for each in p.values):
            clauses.append(f"{value} IN ({', '.join(str(each) for each in p.values)})")
            continue
        text = f"coalesce({value}, '')"
        parameters[f"tocsin_p{i}"] = json.dumps([str(each) for each in p.values], ensure_ascii=False)
        text = f"lower({text})" if p.op is Op.EQ_CI else text
        clauses.append(f"{text} IN (SELECT unnest(($tocsin_p{i}::JSON)::VARCHAR[]))")
    return " AND ".join(clauses), parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """A predicate on the ``number``-th field."""

    number: int
    folded: bool
    values: frozenset[object]

    def holds(self, key: object, low: object) -> bool:
        return (key is None) or (low if self.folded else key) in self.values or (self.folded and low is None)


@dataclass(frozen=True)
class RuleIndex(Generic[R]):
    """An index over rules; their numbers are places in ``rules``."""

    rules: Sequence[R]
    fields: tuple[Field, ...] = field(init=False)
    _filed: dict[tuple[int, bool, object], list[int]] = field(init=False, default_factory=dict)
    _checks: list[tuple[_Check, ...]] = field(init=False, default_factory=list)
    _always: list[int] = field(init=False, default_factory=list)  # filed under nothing

    def __post_init__(self) -> None:
        shared = Counter(
            (p.column, p.path, p.op is Op.EQ_CI, v) for r in self.rules for p in r.prefilter for v in p.values
        )
        fields: dict[Field, int] = {}
        for number, rule in enumerate(self.rules):
            checks = []
            best: tuple[int, _Check] | None = None
            for predicate in rule.prefilter:
                place = fields.setdefault(Field(column=predicate.column, path=predicate.path), len(fields))
                check = _check(predicate, place)
                crowd = sum(shared[(predicate.column, predicate.path, check.folded, v)] for v in predicate.values)
                checks.append(check)
                if best is None or crowd < best[0]:
                    best = (crowd, check)
            self._checks.append(tuple(checks))
            if best is None:
                self._always.append(number)
                continue
            for value in best[1].values:
                self._filed.setdefault((best[1].number, best[1].folded, value), []).append(number)
        object.__setattr__(self, "fields", tuple(fields))

    @cached_property
    def by_name(self) -> Mapping[str, R]:
        """Its rules by name."""
        return {rule.name: rule for rule in self.rules}

    @cached_property
    def statuses(self) -> frozenset[str] | None:
        """The statuses that rules wait for; None where some rule does not say."""
        found: set[str] = set()
        for rule in self.rules:
            said = [p for p in rule.prefilter if p.column == STATUS and not p.path and p.op is not Op.EQ_CI]
            if not said:
                return None
            found |= {str(v) for v in said[0].values}
        return frozenset(found)

    @cached_property
    def _by_field(self) -> tuple[tuple[int, bool], ...]:
        return tuple(sorted({(number, folded) for number, folded, _ in self._filed}))

    @cached_property
    def _unfiled(self) -> dict[tuple[int, bool], list[int]]:
        """Rules by the field that they are filed under: all of them are tried where its value cannot be evaluated."""
        found: dict[tuple[int, bool], list[int]] = {}
        for (number, folded, _), rules in self._filed.items():
            found.setdefault((number, folded), []).extend(rules)
        return found

    def keys_sql(self, rows_sql: str) -> str:
        """SQL that reads of ``rows_sql`` what ``touched`` wants: RunId, Status, and the indexed fields as k0, k1, …"""
        listed = ["RunId", STATUS]
        for i, one in enumerate(self.fields):
            value = one.sql
            if self.statuses is not None and one.path:  # JSON is read only where somebody waits for the status
                quoted = ", ".join(f"'{status}'" for status in sorted(self.statuses) if status.isalpha())
                value = f"CASE WHEN {STATUS} IN ({quoted or 'NULL'}) THEN {value} END"
            listed.append(f"{value} AS k{i}")
        return f"SELECT {', '.join(listed)} FROM ({rows_sql})"

    def touched(self, keys: pa.Table) -> list[int]:
        """Numbers of the rules that rows with these keys can match, in order."""
        if self.statuses is not None:
            import pyarrow as pa
            import pyarrow.compute as pc  # here, since commands that only read rules go without it

            keys = keys.filter(pc.is_in(keys.column(1), pa.array(sorted(self.statuses), pa.string())))
        if keys.num_rows == 0:
            return []
        names = [f"k{i}" for i in range(len(self.fields))]
        if not names:
            return self._always
        distinct = keys.select(names).group_by(names).aggregate([])
        columns = [
            [_key(value, bool(one.path)) for value in distinct.column(name).to_pylist()]
            for name, one in zip(names, self.fields, strict=True)
        ]
        found = set(self._always)
        for row in zip(*columns, strict=True):
            found.update(self._filed_under(row))
        return sorted(found)

    def touched_by(self, row: StoredRow) -> list[int]:
        """The same of one row that is in memory."""
        if self.statuses is not None and row[STATUS] not in self.statuses:
            return []
        return sorted({*self._always, *self._filed_under([one.key(row) for one in self.fields])})

    def _filed_under(self, row: Sequence[Key]) -> Iterator[int]:
        """Numbers of the rules that keys of the fields can match, but for those that are filed under nothing."""
        for number, folded in self._by_field:
            key, low = row[number]
            evaluated = low if folded else key
            candidates = (
                self._unfiled[(number, folded)]
                if evaluated is None
                else self._filed.get((number, folded, evaluated), ())
            )
            for rule in candidates:
                if all(c.holds(*row[c.number]) for c in self._checks[rule]):
                    yield rule


def _check(predicate: Predicate, number: int) -> _Check:
    return _Check(number=number, folded=predicate.op is Op.EQ_CI, values=frozenset(predicate.values))


def _key(value: object, from_path: bool) -> Key:
    if from_path and isinstance(value, str):
        value = json.loads(value)
        if value is not None and not isinstance(value, str):
            return None, None
    if value is None:
        value = ""  # KQL has no null string
    if isinstance(value, str):
        return value, value.lower() if value.isascii() else None
    return value, None

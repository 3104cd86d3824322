"""What a query's conditions say together: which values a field may still have, and what can never or always hold.

where Status == 'Failed'  and  Status in ('Running', 'Failed')  and  Attempt > 3  and  Attempt < 2
      one of {Failed}          one of {Failed}                      above 3            nothing is left
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin.kql.bind.translate import read
from tocsin.kql.sandbox.trees import nested_queries, walk
from tocsin.kql.sandbox.upstream import ir
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.statuses import STATUS_WORDS, Reason

EVENT_TABLES = frozenset({"RunStatusChanged", "Runs"})
VOCABULARY: Mapping[str, frozenset[str]] = {
    "Status": frozenset(STATUS_WORDS),
    "Reason": frozenset(r.value for r in Reason) | {""},
}
"""Columns of our tables that hold words of a fixed list."""
_TEXTS = frozenset(column.name for column in RUN_STATUS_CHANGED if column.type == KqlType.STRING)
_ANY = (-math.inf, math.inf)
_BOUNDS = {
    "Progress": (0.0, 1.0),
    "Attempt": (0.0, math.inf),
    "Attempts": (0.0, math.inf),
    "DurationMs": (0.0, math.inf),
}
FREE_TEXT = frozenset({"Message", "LogTail", "DisplayName"})
"""Columns in which people and programs write what they like."""
CASELESS = frozenset({"OwnerEmail", "TriggeringUserName"})
"""Columns of which the letters' case means nothing."""
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Word:
    """A literal compared with a column of a fixed list of words, or with free text."""

    column: str
    value: str
    op: str


@dataclass(slots=True)
class _Left:
    """What a field may still be."""

    only: set[object] | None = None  # None: anything
    folded: set[str] | None = None  # the same without case
    never: set[object] = field(default_factory=set)
    never_folded: set[str] = field(default_factory=set)
    low: float = -math.inf
    low_open: bool = False
    high: float = math.inf
    high_open: bool = False
    said: list[str] = field(default_factory=list)

    def empty(self) -> bool:
        if self.low > self.high or (self.low == self.high and (self.low_open or self.high_open)):
            return True
        if self.only is not None:
            return not any(self._takes(v) for v in self.only)
        return self.folded is not None and not (self.folded - self.never_folded)

    def _takes(self, value: object) -> bool:
        if isinstance(value, str):
            low = value.lower()
            return (
                value not in self.never and low not in self.never_folded and (self.folded is None or low in self.folded)
            )
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            above = value > self.low or (value == self.low and not self.low_open)
            below = value < self.high or (value == self.high and not self.high_open)
            return value not in self.never and above and below
        return value not in self.never


@dataclass(frozen=True, slots=True)
class Findings:
    """What a query's conditions come to."""

    contradictions: tuple[tuple[str, str], ...]  # (field, what is said of it) of which no value is left
    always: bool  # no condition keeps any event out
    compared: tuple[Word, ...]  # words and texts that are compared with ==, !=, in


def findings(query: str) -> Findings:
    """Look at ``query``. Raises QueryError where it does not parse."""
    _, tree = read(query)
    left: dict[str, _Left] = {}
    nulls: list[str] = []
    never, conditions, aggregated = False, 0, False
    ours = isinstance(tree.source, ir.TableRef) and tree.source.name in EVENT_TABLES
    made: set[str] = set()  # columns that the query made or recreated
    for op in tree.operators:
        if isinstance(op, ir.Where):
            for conjunct in _conjuncts(op.predicate):
                truth = _constant(conjunct, made if ours else None)
                never |= truth is False
                if truth is False and isinstance(conjunct, ir.FunctionCall):
                    nulls.append(_name(conjunct.args[0]))
                if truth is None and not _holds_for_all(conjunct, made, ours):
                    conditions += 1
                if truth is None and not aggregated:
                    _narrow(conjunct, left, made, ours)
        elif isinstance(op, (ir.Extend, ir.Project)):
            made |= {str(e.name) for e in walk(op) if isinstance(e, ir.NamedExpr) and e.name and not _itself(e)}
        elif isinstance(op, (ir.Summarize, ir.Count, ir.Distinct)):
            aggregated = True
            conditions += isinstance(op, ir.Count)
        else:  # join, lookup, mv-expand, top, …: they may keep rows out, and make columns of any name
            conditions += not isinstance(op, (ir.Sort, ir.ProjectAway, ir.ProjectRename, ir.Parse))
            aggregated = True
    contradictions = [(name, " and ".join(one.said)) for name, one in left.items() if one.empty()]
    contradictions += [
        (name, f"null in {name}: an absent text is '', and isempty({name}) asks for it") for name in nulls
    ]
    if never and not nulls:
        contradictions.append(("", "a condition that is false"))
    return Findings(
        contradictions=tuple(contradictions),
        always=not conditions,
        compared=tuple(dict.fromkeys(_compared(tree, made))),
    )


def _conjuncts(node: Any) -> Iterator[Any]:
    if isinstance(node, ir.BinaryOp) and node.op == "and":
        yield from _conjuncts(node.left)
        yield from _conjuncts(node.right)
    else:
        yield node


def _constant(node: Any, made: set[str] | None = None) -> bool | None:
    """What a condition says of any event, where that is plain: one without a column, or whether a text is null, which it
    never is. ``made`` are columns that the query made; None where its events are not ours.
    """
    if made is not None and isinstance(node, ir.FunctionCall) and node.name.lower() in ("isnull", "isnotnull"):
        name = getattr(node.args[0], "name", "") if node.args else ""
        if name in _TEXTS - made:
            return node.name.lower() == "isnotnull"
    if isinstance(node, ir.Literal):
        return bool(node.value) if isinstance(node.value, (bool, int)) else None
    if isinstance(node, ir.BinaryOp) and isinstance(node.left, ir.Literal) and isinstance(node.right, ir.Literal):
        a, b = node.left.value, node.right.value
        if type(a) is not type(b):
            return None
        same = {"==": a == b, "!=": a != b}
        return same.get(node.op)
    return None


def _holds_for_all(node: Any, made: set[str], ours: bool) -> bool:
    """Whether every event satisfies the condition: of what is never empty, or of every word of a list."""
    if not ours:
        return False
    if isinstance(node, ir.FunctionCall) and node.name.lower() in ("isnotempty", "isnotnull") and len(node.args) == 1:
        arg = node.args[0]
        always = {"RunId", "RootRunId", "Status", "TimeGenerated", "IngestedAt", "CommitSeq", "EventId", "Consumer"}
        return isinstance(arg, ir.ColumnRef) and arg.name in always - made
    name, kind, values = _compares(node)
    words = VOCABULARY.get(name) if name not in made else None
    if words is None:
        return False
    return (kind == "in" and words <= set(values)) or (kind == "!in" and not words & set(values))


def _name(node: Any) -> str:
    """A column, or a path into one, as it is written; '' for anything else."""
    if isinstance(node, ir.ColumnRef):
        return str(node.name)
    if isinstance(node, ir.PathAccess) and isinstance(node.base, ir.ColumnRef) and all(s.name for s in node.steps):
        return ".".join([node.base.name, *(str(s.name) for s in node.steps)])
    if isinstance(node, ir.FunctionCall) and node.name.lower() == "tostring" and len(node.args) == 1:
        return _name(node.args[0])
    return ""


def _compares(node: Any) -> tuple[str, str, tuple[object, ...]]:
    """(field, in | !in | in~ | !in~ | < | …, values) of a simple comparison; ('', '', ()) of anything else."""
    nothing: tuple[str, str, tuple[object, ...]] = ("", "", ())
    if isinstance(node, ir.FunctionCall) and node.name.lower() == "not" and len(node.args) == 1:
        name, kind, values = _compares(node.args[0])
        turned = {"in": "!in", "!in": "in", "in~": "!in~", "!in~": "in~", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
        return (name, turned[kind], values) if kind in turned else nothing
    if isinstance(node, ir.InList) and node.subquery is None:
        items: list[Any] = list(node.items)
        if not all(isinstance(i, ir.Literal) for i in items):
            return nothing
        kind = ("!" if node.negated else "") + ("in~" if node.case_insensitive else "in")
        return _name(node.value), kind, tuple(i.value for i in items)
    if not isinstance(node, ir.BinaryOp):
        return nothing
    left, right, op = node.left, node.right, node.op
    if isinstance(left, ir.Literal):
        left, right, op = right, left, _FLIP.get(op, "" if op not in ("=~", "!~") else op)
    if not isinstance(right, ir.Literal):
        return nothing
    kind = {"==": "in", "!=": "!in", "=~": "in~", "!~": "!in~"}.get(op, op if op in ("<", "<=", ">", ">=") else "")
    return (_name(left), kind, (right.value,)) if kind else nothing


def _narrow(node: Any, left: dict[str, _Left], made: set[str], ours: bool) -> None:
    if isinstance(node, ir.Between) and not node.negated:
        low, high = node.low, node.high
        if isinstance(low, ir.Literal) and isinstance(high, ir.Literal):
            _narrow(ir.BinaryOp(op=">=", left=node.value, right=low), left, made, ours)
            _narrow(ir.BinaryOp(op="<=", left=node.value, right=high), left, made, ours)
        return
    name, kind, values = _compares(node)
    if not name or name.split(".")[0] in made:
        return
    if name not in left:
        least, most = _BOUNDS.get(name, _ANY) if ours else _ANY
        left[name] = _Left(low=least, high=most)
    one = left[name]
    one.said.append(in_words(name, kind, values))
    texts = {v.lower() for v in values if isinstance(v, str)}
    if kind == "in":
        one.only = set(values) if one.only is None else one.only & set(values)
    elif kind == "in~":
        one.folded = texts if one.folded is None else one.folded & texts
    elif kind == "!in":
        one.never |= set(values)
    elif kind == "!in~":
        one.never_folded |= texts
    elif isinstance(values[0], (int, float)) and not isinstance(values[0], bool):
        _bound(one, kind, float(values[0]))


def _bound(one: _Left, kind: str, value: float) -> None:
    if kind in (">", ">="):
        if (value, kind == ">") > (one.low, one.low_open):
            one.low, one.low_open = value, kind == ">"
    elif (value, kind == "<=") < (one.high, not one.high_open):
        one.high, one.high_open = value, kind == "<"


def in_words(name: str, kind: str, values: Iterable[object]) -> str:
    """A comparison as KQL."""
    shown = [f"'{v}'" if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    single = {"in": "==", "!in": "!=", "in~": "=~", "!in~": "!~"}
    if len(shown) == 1 or kind not in single:
        return f"{name} {single.get(kind, kind)} {shown[0] if shown else '()'}"
    return f"{name} {kind} ({', '.join(shown)})"


def _compared(tree: Any, made: set[str]) -> Iterator[Word]:
    """Every literal text that is compared exactly with a column of our tables, in the query and those nested in it."""
    source = tree.source
    if isinstance(source, ir.TableRef) and source.name in EVENT_TABLES:
        for node in walk(tree.operators):
            name, kind, values = _compares(node)
            if kind in ("in", "!in", "in~", "!in~") and name not in made:
                for value in values:
                    if isinstance(value, str):
                        yield Word(name, value, kind)
    for inner in nested_queries(tree.operators):
        yield from _compared(inner, made)
    for _, bound in tree.lets:
        if isinstance(bound, ir.Query):
            yield from _compared(bound, made)


def _itself(named: Any) -> bool:
    return isinstance(named.expr, ir.ColumnRef) and named.expr.name == named.name

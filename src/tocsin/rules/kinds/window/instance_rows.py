"""What was seen of the instances of a window rule: rows of an answer, by key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.model.remembered import ConditionState
from tocsin.rules.history import plain
from tocsin.rules.kinds.window.spec import WindowRule

SHOWN = 10
"""Rows that an alert shows, at most."""
MORE = "*"
"""Stands for the instances beyond ``max_instances``."""
_NONE = 98  # ranks behind every severity


@dataclass(slots=True)
class InstanceRows:
    """Rows of one instance."""

    rows: list[dict[str, object]] = field(default_factory=list)
    holds: bool = False
    clear: bool = False
    severity: int = 99
    value: float | None = None
    first: dict[str, object] = field(default_factory=dict)  # the row that stands for it
    count: int = 0


def row_key(state: ConditionState) -> str:
    """The key under which rows of an instance come; '' where none ever came."""
    return state.data.row.key if state.data.row is not None else ""


def stands_for_others(state: ConditionState) -> bool:
    """Whether it is the one instance that stands for those beyond ``max_instances``."""
    return bool(state.instance) and all(value == MORE for value in state.instance.values())


class Rows:
    """Rows of an answer: its columns, those that a query shows by name and KQL type."""

    def __init__(self, columns: Mapping[str, Sequence[object]], shown: Mapping[str, str]) -> None:
        self._columns, self._shown = columns, shown

    def severity(self, rule: WindowRule, i: int) -> int | None:
        """The worst severity that row ``i`` reaches: the least severe where a condition decides; None where none is
        reached.
        """
        thresholds = rule.spec.severities
        if not thresholds:
            return int(rule.severity)
        least = int(thresholds[-1][0]) if rule.spec.condition else None  # of a row for which the condition holds
        return next((int(severity) for severity, column in thresholds if self._columns[column][i]), least)

    def add(self, rule: WindowRule, i: int, seen: InstanceRows) -> None:
        """Row ``i`` is one more of an instance."""
        own, columns = rule.spec, self._columns
        row = {name: plain_of(columns[name][i], dynamic=kind == "dynamic") for name, kind in self._shown.items()}
        severity = self.severity(rule, i)
        holds = bool(columns["holds"][i]) and severity is not None
        value = _number(row.get(own.value)) if own.value else None
        seen.count += 1
        rank = _NONE if severity is None else severity
        better = not seen.first or (holds, -rank, value or 0.0) > (seen.holds, -seen.severity, seen.value or 0.0)
        if better:
            seen.first, seen.value, seen.severity = row, value, rank
        seen.holds = seen.holds or holds
        seen.clear = seen.clear and (not own.clear or bool(columns[own.clear][i]))
        if len(seen.rows) < SHOWN:
            seen.rows.append({name: value for name, value in row.items() if name not in own.beside})


def plain_of(value: object, *, dynamic: bool) -> object:
    """A value of a row as JSON takes it; a dynamic one that is no JSON text stays text."""
    try:
        return plain(value, dynamic=dynamic)
    except ValueError:
        return value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None

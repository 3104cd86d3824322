"""A run's relatives as a tree, and the parameters in which runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
MOST = 500
"""Runs of a tree that are shown."""
DEEPEST = 20

FAMILY = """
SELECT RunId, ParentRunId, DisplayName, Status, DurationMs, StartTime FROM Runs WHERE RootRunId = $root
ORDER BY coalesce(StartTime, FirstSeen), RunId LIMIT $limit
"""


@dataclass(slots=True)
class Node:
    """A run and its children."""

    run: Row
    children: list[Node] = field(default_factory=list)


def tree(rows: Sequence[Row], top: str) -> Node | None:
    """``rows`` as a tree below the run ``top``; None where it is not among them. A run that is its own ancestor is shown once."""
    nodes = {row["RunId"]: Node(row) for row in rows}
    below: dict[str, list[str]] = {}
    for row in rows:
        below.setdefault(row["ParentRunId"], []).append(row["RunId"])
    if top not in nodes:
        return None
    seen = {top}
    level = [top]
    for _ in range(DEEPEST):
        following = []
        for parent in level:
            for child in below.get(parent, ()):
                if child not in seen:
                    seen.add(child)
                    nodes[parent].children.append(nodes[child])
                    following.append(child)
        level = following
    return nodes[top]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One parameter of several runs; '' where a run has none."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs have different values."""
        return len(set(self.values)) > 1


def lines(of_runs: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line for each key that any of the runs has, those that differ first."""
    keys = sorted({key for one in of_runs for key in one})
    found = [
        Line(name=key, values=tuple("" if one.get(key) is None else str(one[key]) for one in of_runs)) for key in keys
    ]
    return sorted(found, key=lambda line: (not line.differs, line.name))

"""What a rule sees now, for a person who asks: reads, decides nothing, remembers nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin.errors import QueryError
from tocsin.logstore.interface import LogReader
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.spec.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was seen."""

    rows: Sequence[Mapping[str, object]] = ()  # a few; of events the newest first
    of: str = ""  # what was evaluated, in words
    error: str = ""  # why nothing could be seen


def last_rows(rule: Rule, reader: LogReader, at: datetime) -> Evaluation:
    """The last rows of ``rule``: of a window what its query gives now, else the newest events that it matches.

    Raises StoreLost; a query that fails says so in the answer.
    """
    try:
        found = kind_of(rule).preview(rule, reader, at)
    except QueryError as e:
        return Evaluation(error=str(e))
    return Evaluation(rows=found.rows, of=found.of)

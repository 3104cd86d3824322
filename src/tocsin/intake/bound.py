"""What a sender's token is bound to: the sources that it speaks for, and the runs that it may name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from tocsin.model.event import DeadReason

NAMES: Final = ("RunId", "JobKey", "ParentRunId", "RootRunId")
"""Columns by which an event has to do with a run: it ends a run by RunId, closes the alerts of a job's earlier attempts by JobKey, and
counts among the children of a parent.
"""
_OTHERS: Final = re.compile(r"[?[]")  # what fnmatch reads beside *


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """``sources``: values of Source; ``runs``: patterns of names, ``*`` for any characters. None of either: any."""

    sources: Collection[str] = ()
    runs: Collection[str] = ()

    def __bool__(self) -> bool:
        return bool(self.sources or self.runs)

    def fits(self, name: str) -> bool:
        """Whether a run or job may be called so."""
        return not self.runs or any(fnmatchcase(name, _OTHERS.sub(r"[\g<0>]", pattern)) for pattern in self.runs)

    def refusal(self, source: str, columns: Mapping[str, object]) -> tuple[DeadReason, str] | None:
        """Why an event with these ``columns`` is a dead letter; None where it is none."""
        if self.sources and source not in self.sources:
            return DeadReason.FOREIGN_SOURCE, f"the token is not for the source {source[:200]!r}"
        for column in NAMES if self.runs else ():
            name = columns.get(column)
            if name is not None and name != "" and not (isinstance(name, str) and self.fits(name)):
                return DeadReason.FOREIGN_RUN, f"the token is not for the {column} {str(name)[:200]!r}"
        return None


ANY: Final = Bound()
"""Bound to nothing."""

"""``collapse:`` as a file says it: one alert for a parent instead of one for each of its children."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tocsin.alerts.parents import Terms
from tocsin.config.yaml.document import KeyPath
from tocsin.rules.kinds.event.keys import Collapse

END = "end"
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_COLUMNS = {"root": "RootRunId", "parent": "ParentRunId"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapsed:
    """What of a rule's runs stands for others, and from when on."""

    column: str  # of events: names the parent; RootRunId or ParentRunId
    terms: Terms

    @property
    def words(self) -> str:
        """It in words, e.g. ``RootRunId: from 20% and 10 runs on, again at 50%, end``."""
        again = [*map(_percent, self.terms.updates), *([END] if self.terms.at_end else [])]
        from_on = f"{self.column}: from {_percent(self.terms.share)} and {self.terms.at_least} runs on"
        return f"{from_on}, again at {', '.join(again)}" if again else from_on


def faults(said: Collapse) -> Iterator[tuple[KeyPath, str, str]]:
    """(path from the rule, what is wrong, what would be right)."""
    share = _share(said.when.failed)
    if share is None:
        yield ("collapse", "when", "failed"), f"'{said.when.failed}' is no share", "write for example 20%"
    seen: set[str] = set()
    for i, word in enumerate(said.update):
        path: KeyPath = ("collapse", "update", i)
        update = _share(word)
        if word in seen:
            yield path, f"'{word}' stands there twice", "once is enough"
        elif word != END and update is None:
            yield path, f"'{word}' is neither a share nor `end`", "write for example [50%, end]"
        elif update is not None and share is not None and update <= share:
            yield (
                path,
                f"{word} is not above `failed: {said.when.failed}`, where it is notified first",
                "name a greater share",
            )
        seen.add(word)


def collapsed(said: Collapse) -> Collapsed:
    """What ``said`` means. Raises ValueError where ``faults`` has found some."""
    share = _share(said.when.failed)
    if share is None:
        raise ValueError(said.when.failed)
    updates = sorted(filter(None, map(_share, said.update)))
    return Collapsed(
        column=_COLUMNS[said.to],
        terms=Terms(
            share=share, at_least=said.when.at_least, updates=tuple(updates), at_end=END in said.update
        ),
    )  # fmt: skip


def _share(word: str) -> Fraction | None:
    """``20%`` as a fraction; None for what is none, or not above 0 and up to 100 %."""
    match = _SHARE.fullmatch(word.strip())
    share = Fraction(match[1]) / 100 if match else Fraction(0)
    return share if 0 < share <= 1 else None


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):g}%"

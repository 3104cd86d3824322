"""The text that a scraper gets, byte for byte as prometheus-client writes it, at a quarter of its time.

prometheus-client makes a new dictionary and line for each sample of each scrape. Labels do not change, so the head of a line
(`name{label="value"} `) is kept from one scrape to the next, and only the value is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from prometheus_client.utils import floatToGoString

_Values = tuple[str, ...]


@lru_cache(maxsize=4096)
def number_text(number: float) -> str:
    """A number as Go writes it. Most samples of a scrape are one of few numbers."""
    return str(floatToGoString(number))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A family as of a scrape."""

    name: str
    type: str  # counter | gauge | histogram
    help: str
    labels: tuple[str, ...]
    suffixes: tuple[tuple[str, str], ...] = (("", ""),)
    """Of each sample of a series: what follows the name, and the value of its label `le`; '' for none."""
    rows: Iterable[tuple[_Values, Sequence[float]]]
    """Values of the labels, and a number for each of ``suffixes``."""


class Writer:
    """Writes families. It keeps the heads of the lines of the families that it wrote last."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, tuple[str, ...]], dict[_Values, tuple[str, ...]]] = {}  # by name and labels

    def write(self, families: Iterable[Series], *, openmetrics: bool) -> str:
        """In Prometheus's text format, or as OpenMetrics without the ``# EOF``."""
        out: list[str] = []
        known, self._heads = self._heads, {}
        for family in families:
            name = family.name.removesuffix("_total") if openmetrics and family.type == "counter" else family.name
            out.append(f"# HELP {name} {_escaped(family.help, quotes=openmetrics)}\n# TYPE {name} {family.type}\n")
            key = (family.name, family.labels)
            before, now = known.get(key, {}), self._heads.setdefault(key, {})
            for values, numbers in family.rows:
                heads = now[values] = before.get(values) or _heads(family, values)
                for head, number in zip(heads, numbers, strict=True):
                    out.append(f"{head}{number_text(number)}\n")
        return "".join(out)


def _heads(family: Series, values: _Values) -> tuple[str, ...]:
    labels = list(zip(family.labels, values, strict=True))
    made = []
    for suffix, bound in family.suffixes:
        pairs = sorted([*labels, ("le", bound)] if bound else labels)
        inside = ",".join(f'{label}="{_escaped(value, quotes=True)}"' for label, value in pairs)
        made.append(f"{family.name}{suffix}{{{inside}}} " if inside else f"{family.name}{suffix} ")
    return tuple(made)


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text

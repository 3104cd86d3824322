"""Gauges that rules make of their values (``export: {metric: …}``): families that come and go with the rules."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tocsin.metrics.table import label_of
from tocsin.metrics.text import Series

SERIES = 1000
"""Series of a family, at most."""
LABEL_LENGTH = 200
"""Characters of the longest label value; what is longer is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A gauge of a rule."""

    name: str
    help: str
    labels: tuple[str, ...]  # fields; `label_of` gives their labels


class Exports(Collector):
    """The gauges of rules, by name. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, Family] = {}
        self._values: dict[str, dict[tuple[str, ...], float]] = {}

    def declare(self, families: Sequence[Family]) -> None:
        """Have just these; a family that is no more, or has other labels, loses its series."""
        with self._lock:
            known = self._families
            self._families = {family.name: family for family in families}
            self._values = {
                name: self._values[name] if name in known and known[name].labels == family.labels else {}
                for name, family in self._families.items()
            }

    def put(self, name: str, labels: Mapping[str, object], value: float) -> bool:
        """Set a series; whether there was room for it. Nothing happens for a family that is not declared."""
        with self._lock:
            if name not in self._families:
                return True
            series, key = self._values[name], self._key(name, labels)
            if key not in series and len(series) >= SERIES:
                return False
            series[key] = value
            return True

    def replace(self, name: str, series: Sequence[tuple[Mapping[str, object], float]]) -> bool:
        """Have exactly these series; whether there was room for all. Nothing happens for a family that is not declared."""
        with self._lock:
            if name not in self._families:
                return True
            found = {self._key(name, labels): value for labels, value in series}
            self._values[name] = dict(list(found.items())[:SERIES])
            return len(found) <= SERIES

    def drop(self, name: str, labels: Mapping[str, object]) -> None:
        """Forget a series; nothing happens where it does not exist."""
        with self._lock:
            if name in self._families:
                self._values[name].pop(self._key(name, labels), None)

    def clear(self, name: str) -> None:
        """Forget the series of a family."""
        with self._lock:
            self._values.get(name, {}).clear()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As prometheus-client asks."""
        with self._lock:
            found = [(family, dict(self._values[name])) for name, family in self._families.items()]
        for family, series in found:
            gauge = GaugeMetricFamily(family.name, family.help, labels=[label_of(field) for field in family.labels])
            for values, value in series.items():
                gauge.add_metric(values, value)
            yield gauge

    def series(self) -> Iterator[Series]:
        """The same for the text of a scrape."""
        with self._lock:
            found = [(family, list(self._values[name].items())) for name, family in self._families.items()]
        for family, values in found:
            yield Series(
                name=family.name,
                type="gauge",
                help=family.help,
                labels=tuple(label_of(field) for field in family.labels),
                rows=((key, (value,)) for key, value in values),
            )

    def _key(self, name: str, labels: Mapping[str, object]) -> tuple[str, ...]:
        said = (labels.get(label) for label in self._families[name].labels)
        return tuple("" if value is None else _clean(str(value)) for value in said)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")[:LABEL_LENGTH]

"""One registry object a process. Stations get it as an argument; nothing is registered on import."""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tocsin import __version__
from tocsin.metrics.exports import Exports
from tocsin.metrics.table import TABLE


class Metrics:
    """All metric families of ``metrics.table``, by name; and those that rules export."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for m in TABLE:
            if m.type == "counter":
                self._counters[m.name] = Counter(m.name, m.help, m.labels, registry=self.registry)
            elif m.type == "gauge":
                self._gauges[m.name] = Gauge(m.name, m.help, m.labels, registry=self.registry)
            else:
                self._histograms[m.name] = Histogram(
                    m.name, m.help, m.labels, registry=self.registry, buckets=m.buckets or Histogram.DEFAULT_BUCKETS
                )
        self.exports = Exports()
        self.registry.register(self.exports)
        self.set("tocsin_build_info", 1, version=__version__)

    def inc(self, name: str, by: float = 1, **labels: str) -> None:
        """Add ``by`` to a counter. Raises KeyError for a name that is not in the table."""
        c = self._counters[name]
        (c.labels(**labels) if labels else c).inc(by)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        g = self._gauges[name]
        (g.labels(**labels) if labels else g).set(value)

    def clear(self, name: str) -> None:
        """Forget a gauge's labelled series, before setting those that exist now."""
        self._gauges[name].clear()

    def drop(self, name: str, **labels: str) -> None:
        """Forget one labelled series of a gauge; nothing happens where it does not exist."""
        with contextlib.suppress(KeyError):
            self._gauges[name].remove(*(labels[label] for label in self._gauges[name]._labelnames))

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Observe a value in a histogram."""
        h = self._histograms[name]
        (h.labels(**labels) if labels else h).observe(value)

    def observe_many(self, name: str, value: float, times: int, **labels: str) -> None:
        """Observe ``value`` ``times`` over, at the cost of one."""
        h = self._histograms[name]
        child = h.labels(**labels) if labels else h
        child._sum.inc(value * times)
        for i, bound in enumerate(child._upper_bounds):
            if value <= bound:
                child._buckets[i].inc(times)
                break

    def exposition(self) -> bytes:
        """The text format that Prometheus scrapes."""
        return generate_latest(self.registry)

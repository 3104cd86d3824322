"""One registry object a process. Stations get it as an argument; nothing is registered on import."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from tocsin import __version__
from tocsin.metrics.exports import Exports
from tocsin.metrics.table import TABLE, Metric
from tocsin.metrics.text import Series, Writer, number_text

KNOWN = {m.name: m.known for m in TABLE}


class Metrics:
    """All metric families of ``metrics.table``, by name; and those that rules export."""

    def __init__(self, run_labels: Sequence[str] = ()) -> None:
        """``run_labels`` are the labels that the metrics of runs get beside their own."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which no dashboard asks for
        self.registry = CollectorRegistry()
        self.run_labels = tuple(run_labels)
        self._families: dict[str, Counter | Gauge | Histogram] = {}
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for m in TABLE:
            labels = m.with_labels_of_runs(self.run_labels)
            if m.type == "counter":
                self._families[m.name] = self._counters[m.name] = Counter(
                    m.name, m.help, labels, registry=self.registry
                )
            elif m.type == "gauge":
                self._families[m.name] = self._gauges[m.name] = Gauge(m.name, m.help, labels, registry=self.registry)
            else:
                self._families[m.name] = self._histograms[m.name] = Histogram(
                    m.name, m.help, labels, registry=self.registry, buckets=m.buckets or Histogram.DEFAULT_BUCKETS
                )
            if labels and m.known.keys() == set(labels):
                self.present(m.name)
        self.exports = Exports()
        self.registry.register(self.exports)
        self._of_python = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            self.registry.register(collector(registry=self._of_python))
        self._writer, self._writing = Writer(), threading.Lock()
        self.set("tocsin_build_info", 1, version=__version__)

    def present(self, name: str, **values: Sequence[str]) -> None:
        """Have the series of a metric with 0, for each combination of ``values`` and of those that the table knows.

        Without it ``increase()`` misses the first failure. Series that exist keep their value.
        """
        family = self._families[name]
        everything = {**KNOWN[name], **values}
        for each in product(*(everything[label] for label in family._labelnames)):
            family.labels(*each)

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

    def forget(self, name: str, **labels: str) -> None:
        """Remove every series of a metric whose labels have these values."""
        family = self._families[name]
        with family._lock:
            found = [
                values
                for values in family._metrics
                if labels.items() <= dict(zip(family._labelnames, values, strict=True)).items()
            ]
        for values in found:
            with contextlib.suppress(KeyError):
                family.remove(*values)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What Prometheus scrapes, and its content type: OpenMetrics where ``accept`` asks for it, else the text format."""
        encode, content_type = choose_encoder(accept)
        with self._writing:
            ours = self._writer.write(
                self._series(), openmetrics=content_type.startswith("application/openmetrics-text")
            )
        return ours.encode() + encode(self._of_python), content_type

    def _series(self) -> Iterator[Series]:
        for m in TABLE:
            yield _series_of(m, self._families[m.name])
        yield from self.exports.series()


def _series_of(m: Metric, family: Any) -> Series:
    """As of now. A histogram's buckets count what is no larger, as Prometheus wants them.

    ``family`` is a Counter, Gauge or Histogram. To ask which by ``isinstance`` takes longer than to read it.
    """
    children: list[tuple[tuple[str, ...], Any]] = [((), family)]
    if family._labelnames:
        with family._lock:
            children = list(family._metrics.items())
    labels = tuple(family._labelnames)
    if m.type != "histogram":
        rows: list[tuple[tuple[str, ...], Sequence[float]]]
        rows = [(values, (child._value.get(),)) for values, child in children]
        return Series(name=m.name, type=m.type, help=m.help, labels=labels, rows=rows)
    suffixes = tuple(("_bucket", number_text(bound)) for bound in family._upper_bounds)
    rows = []
    for values, child in children:
        counts = list(accumulate(bucket.get() for bucket in child._buckets))
        rows.append((values, (*counts, counts[-1], child._sum.get())))
    suffixes = (*suffixes, ("_count", ""), ("_sum", ""))
    return Series(name=m.name, type=m.type, help=m.help, labels=labels, suffixes=suffixes, rows=rows)

"""Curves as plots: SVG that needs no script, and the data from which a script draws them larger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from markupsafe import Markup

from tocsin.app.runs.curves import Curve, shown

WIDTH: Final = 600
HEIGHT: Final = 160
COLORS: Final = 8
"""Colours of curves in tocsin.css; later runs have them again, dashed and then dotted."""
AT_ONCE: Final = 8
"""Plots that are shown without opening a group of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One metric, a curve a run."""

    name: str
    axis: str  # what x is
    curves: tuple[Curve, ...]
    runs: tuple[str, ...]  # all runs of the page, whose order gives the colours

    @property
    def data(self) -> str:
        """JSON for runs.js."""
        series = [
            {"run": c.run, "color": self.color(c.run), "x": c.x, "y": c.y}
            for c in self.curves
        ]  # fmt: skip
        return msgspec.json.encode({"name": self.name, "axis": self.axis, "series": series}).decode()

    def color(self, run: str) -> int:
        """The number of a run's colour and line: the colour is its rest by COLORS."""
        return self.runs.index(run)

    @property
    def single(self) -> bool:
        """Whether there is one value only, and so nothing to draw."""
        return all(len(c.x) < 2 for c in self.curves)

    @property
    def last(self) -> str:
        """The last value of the first curve."""
        return shown(self.curves[0].y[-1]) if self.curves and self.curves[0].y else "–"

    @property
    def words(self) -> str:
        """The plot in words, for who cannot see it."""
        parts = [
            f"{c.run}: from {shown(c.y[0])} to {shown(c.y[-1])}, least {shown(min(c.y))}, greatest {shown(max(c.y))}"
            for c in self.curves
        ]  # fmt: skip
        return f"{self.name} by {self.axis}. {'; '.join(parts)}"

    @property
    def svg(self) -> Markup:
        """Lines in a frame of WIDTH times HEIGHT, with the ranges as texts."""
        xs = [x for c in self.curves for x in c.x]
        ys = [y for c in self.curves for y in c.y]
        left, right = min(xs), max(xs)
        low, high = rounded(min(ys), max(ys))
        parts = []
        for c in self.curves:
            places = [
                f"{_part(x, left, right) * WIDTH:.1f},{(1 - _part(y, low, high)) * HEIGHT:.1f}"
                for x, y in zip(c.x, c.y, strict=True)
            ]
            dot = len(places) == 1  # of a line from a point to itself only its round ends are seen
            line = Markup('<polyline class="c{} d{}{}" points="{}"/>')
            color = self.color(c.run)
            points = " ".join(places * 2 if dot else places)
            parts.append(line.format(color % COLORS, color // COLORS, " point" if dot else "", points))
        frame = Markup(
            '<div class="axes"><span>{}</span><span>{}</span></div>'
            '<svg viewBox="-2 -2 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
            '<div class="axes"><span>{} {}</span><span>{}</span></div>'
        )
        return frame.format(
            shown(high), f"last {self.last}" if len(self.curves) == 1 else "", WIDTH + 4, HEIGHT + 4, self.words,
            Markup().join(parts), self.axis, shown(left), shown(right),
        ) + Markup('<span class="low">{}</span>').format(shown(low))  # fmt: skip


def rounded(low: float, high: float) -> tuple[float, float]:
    """The range of an axis that holds both, with ends that are read at a glance: 2.18 to 245.7 is 0 to 250."""
    rough = (high - low) / 4
    if not rough > 0 or not math.isfinite(rough):
        return low, high
    size = 10.0 ** math.floor(math.log10(rough))
    step = max(part * size for part in (1, 2, 2.5, 5) if part * size <= rough * 1.000_001)
    ends = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return ends if all(map(math.isfinite, ends)) else (low, high)


def _part(value: float, low: float, high: float) -> float:
    if not high > low or not math.isfinite(high - low):
        return 0.5
    return (value - low) / (high - low)


def plots(curves: Sequence[Curve], runs: Sequence[str]) -> list[Plot]:
    """A plot a metric that has numbers; none where each has a single value, of which a table says as much."""
    names = dict.fromkeys(c.name for c in curves if c.x)
    out = []
    for name in names:
        mine = tuple(c for c in curves if c.name == name and c.x)
        axis = "step" if any(c.stepped for c in mine) else "index"
        out.append(Plot(name=name, axis=axis, curves=mine, runs=tuple(runs)))
    return out if not all(plot.single for plot in out) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Plots of metrics with the same prefix (``train/``); '' of those without one."""

    prefix: str
    plots: tuple[Plot, ...]
    opened: bool


def folded(plots: Sequence[Plot]) -> list[Group]:
    """All ``plots``: as they are where they are few, else by their prefixes, of which the first are open."""
    if len(plots) <= AT_ONCE:
        return [Group(prefix="", plots=tuple(plots), opened=True)] if plots else []
    found: dict[str, list[Plot]] = {}
    for plot in plots:
        prefix, slash, _ = plot.name.partition("/")
        found.setdefault(prefix + slash if slash else "", []).append(plot)
    out, shown_ = [], 0
    for prefix, mine in sorted(found.items()):
        out.append(Group(prefix=prefix, plots=tuple(mine), opened=shown_ < AT_ONCE))
        shown_ += len(mine)
    return out

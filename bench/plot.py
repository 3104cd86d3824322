"""Curves as SVG, without a library: both axes logarithmic, each curve with its name at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 48, 52
COLOURS = ("#1b6ca8", "#c2410c", "#15803d", "#6b21a8")
MARKS = (1, 2, 5)

Points = Sequence[tuple[float, float]]


def curves(path: Path, title: str, axes: tuple[str, str], drawn: Mapping[str, Points]) -> None:
    """Write a plot of these curves, by name, of points (x, y) that are all above 0; ``axes`` are the words of x and y."""
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    across = _scale(xs, LEFT, WIDTH - RIGHT)
    up = _scale(ys, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(axes[0])}</text>',
        f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">{escape(axes[1])}</text>',
    ]
    for value in _ticks(xs):
        x = across(value)
        parts += [
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>',
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:,.0f}</text>',
        ]
    for value in _ticks(ys):
        y = up(value)
        parts += [
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>',
        ]
    free = float(HEIGHT)
    for name in sorted(drawn, key=lambda name: drawn[name][-1][1]):
        colour = COLOURS[list(drawn).index(name) % len(COLOURS)]
        line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in drawn[name])
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in drawn[name]]
        free = min(up(drawn[name][-1][1]) + 4, free - 15)  # names do not cover each other
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{free:.1f}" fill="{colour}">{escape(name)}</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _scale(values: Sequence[float], begin: float, end: float) -> Callable[[float], float]:
    low, high = math.log(min(values) / 1.2), math.log(max(values) * 1.2)
    return lambda value: begin + (math.log(value) - low) / (high - low) * (end - begin)


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 of each power of ten that lie among the values."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    every = [mark * 10.0**power for power in powers for mark in MARKS]
    return [value for value in every if min(values) / 1.2 <= value <= max(values) * 1.2]

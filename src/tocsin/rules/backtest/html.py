"""A backtest as one HTML page: a plot in inline SVG, no scripts, nothing loaded, light or dark as the reader's
screen is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any

from tocsin.rules.backtest.report import Answer, Bar, timeline_of

LISTED = 500
"""So many alerts are listed below the plot."""
W, H = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 12, 28
_SPAN = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}

_STYLE = """
:root { color-scheme: light dark; --bg: #fbfaf8; --card: #fff; --ink: #1d2126; --dim: #69717c; --line: #e4e1db;
  --bar: #c2410c; --soft: #fdeee4 }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --card: #1b1f25; --ink: #e6e8eb; --dim: #939ba7;
  --line: #2c323a; --bar: #fb923c; --soft: #33241a } }
* { box-sizing: border-box }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 24px; line-height: 1.3; margin: 4px 0 6px; letter-spacing: -.01em }
.rule { color: var(--bar); font-weight: 600 } .dim { color: var(--dim) } p { margin: 0 0 4px }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px; margin-top: 20px }
.facts { display: flex; flex-wrap: wrap; gap: 12px 40px } .facts b { display: block; font-size: 22px; font-weight: 600;
  font-variant-numeric: tabular-nums } .facts span { color: var(--dim); font-size: 13px }
svg { display: block; width: 100%; min-width: 620px; height: auto } svg text { fill: var(--dim); font: 11px system-ui, sans-serif }
.grid { stroke: var(--line) } .bar { fill: var(--bar) } .slot { fill: transparent } g.b:hover .slot { fill: var(--soft) }
.note { background: var(--soft); border-radius: 8px; padding: 8px 12px; margin-top: 12px }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: 14px }
th { text-align: left; font-weight: 500; color: var(--dim); font-size: 13px } th, td { padding: 6px 14px 6px 0;
  border-bottom: 1px solid var(--line); vertical-align: top } tr:last-child td { border-bottom: 0 }
td.t { white-space: nowrap; font-variant-numeric: tabular-nums } td.r { font-family: ui-monospace, monospace; font-size: 13px;
  min-width: 90px; overflow-wrap: anywhere } td.m { color: var(--dim); overflow-wrap: anywhere; min-width: 180px; max-width: 420px }
"""


def page(answer: Answer) -> str:
    """The whole page for what ``backtest.report.as_json`` gave."""
    line = timeline_of(answer)
    mode = "event times taken for arrival times" if answer["AsIfLive"] else "by arrival"
    span = f"{_day(answer['From'])} – {_day(answer['To'])} UTC, {mode}"
    facts = [
        *((f"{answer[what]:,}", what.lower()) for what in ("Fired", "Notified", "Resolved")),
        (f"{answer['Events']:,}", "events looked at"),
        (f"{line.peak:,}", f"most in one {line.unit}"),
        (f"{sum(not b.count for b in line.bars):,} of {len(line.bars):,}", f"{line.unit}s without a notification"),
    ]
    if answer["Expired"]:
        facts.append((f"{answer['Expired']:,}", "expired"))
    cards = "".join(f"<div><b>{escape(number)}</b><span>{escape(what)}</span></div>" for number, what in facts)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in answer["Notes"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(answer["Rule"])}: backtest</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<p class="rule">{escape(answer["Rule"])}</p>
<h1>{escape(answer["Headline"][:1].upper() + answer["Headline"][1:])}</h1>
<p class="dim">{escape(span)}</p>
{notes}
<section class="card facts">{cards}</section>
<section class="card scroll">{plot(line.bars, line.unit)}</section>
{_list(answer["Alerts"], sum(answer["ByKind"].values()))}
</main>
</body>
</html>
"""


def plot(bars: Sequence[Bar], unit: str) -> str:
    """A bar a span of time, with its count as a tooltip."""
    peak = max((b.count for b in bars), default=0)
    top = _ceiling(peak)
    wide, high = W - LEFT - RIGHT, H - TOP - BOTTOM
    slot = wide / max(1, len(bars))
    out = [
        f'<svg viewBox="0 0 {W} {H}" role="img" aria-label="notified by the {unit}, at most {peak}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for value in _ticks(top):
        y = TOP + high * (1 - value / top)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{W - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>')
    gap = min(3.0, slot * 0.2)
    for i, bar in enumerate(bars):
        x, tall = LEFT + i * slot, high * bar.count / top
        shown = f"{_stamp(bar.begins, unit)}: {bar.count:,} notified"
        drawn = [f'<rect class="slot" x="{x:.2f}" y="{TOP}" width="{slot:.2f}" height="{high}"/>']
        if bar.count:
            tall = max(tall, 1.5)
            drawn.append(
                f'<rect class="bar" x="{x + gap / 2:.2f}" y="{TOP + high - tall:.2f}" width="{max(slot - gap, 0.8):.2f}"'
                f' height="{tall:.2f}" rx="{min(2.0, slot / 4):.1f}"/>'
            )
        out.append(f'<g class="b"><title>{escape(shown)}</title>{"".join(drawn)}</g>')
    for i, text in _labels(bars, unit):
        x = LEFT + (i + 0.5) * slot
        anchor = "start" if i == 0 else "end" if x > W - 40 else "middle"
        out.append(f'<text x="{LEFT if i == 0 else x:.1f}" y="{H - 8}" text-anchor="{anchor}">{escape(text)}</text>')
    return "".join(out) + "</svg>"


def _ceiling(peak: int) -> int:
    """The top of the scale: 1, 2, 4, 5, 8 or 10 times a power of ten."""
    power = 1
    while True:
        for factor in (1, 2, 4, 5, 8):
            if peak <= factor * power:
                return factor * power
        power *= 10


def _ticks(top: int) -> list[int]:
    parts = next((n for n in (4, 5, 2) if top % n == 0), 1)
    return [top * i // parts for i in range(parts + 1)]


def _labels(bars: Sequence[Bar], unit: str) -> list[tuple[int, str]]:
    """Where the axis says when."""
    every = max(1, -(-len(bars) // 8))
    form = "%d %b %H:00" if unit == "hour" else "%d %b" if len({b.begins.year for b in bars}) == 1 else "%d %b %Y"
    return [(i, bars[i].begins.strftime(form).lstrip("0")) for i in range(0, len(bars), every)]


def _stamp(begins: datetime, unit: str) -> str:
    if unit == "hour":
        return f"{begins:%Y-%m-%d %H:%M}"
    last = begins + _SPAN[unit] - timedelta(days=1)
    return f"{begins:%a %Y-%m-%d}" if unit == "day" else f"{begins:%Y-%m-%d} to {last:%Y-%m-%d}"


def _list(alerts: Sequence[Mapping[str, Any]], messages: int) -> str:
    if not alerts:
        return ""
    rows = "".join(
        f'<tr><td class="t">{escape(_day(a["Time"]))}</td><td>{escape(_kind(a))}</td><td>{escape(str(a["Subject"]))}</td>'
        f'<td class="r">{escape(str(a["RunId"]))}</td><td class="m">{escape(str(a["Message"])[:200])}</td></tr>'
        for a in alerts[:LISTED]
    )
    more = f'<p class="dim">The first {LISTED:,} of {messages:,}.</p>' if messages > LISTED else ""
    return (
        '<section class="card scroll"><table><thead><tr><th>When (UTC)</th><th></th><th>What</th><th>Run</th><th>Why</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>{more}</section>"
    )


def _kind(alert: Mapping[str, Any]) -> str:
    return str(alert["Severity"]) if alert["Kind"] == "fired" else str(alert["Kind"])


def _day(iso: str) -> str:
    return iso[:16].replace("T", " ")

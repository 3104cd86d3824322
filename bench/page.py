"""docs/performance.md and its plot from what `make bench` found: bench/results.json is the part that the page shows."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from bench.common import Figure, span, table, three
from bench.plan import HERE
from bench.plot import curves

DATA = HERE / "results.json"
PAGE = "docs/performance.md"
PLOTS = {
    "saturation": ("docs/images/latency.svg", "From event to mail, by the rate of events; one in fifty is mailed"),
    "saturation-mails": ("docs/images/latency-mails.svg", "From event to mail, by the rate of events; each is mailed"),
}
"""By the benchmark of rates: the file of its plot, and what it shows."""
CURVES = ("p99", "critical p99", "p50", "critical p50")
"""Columns of the table of rates that are drawn."""
LATE = 1.0
"""Seconds: what a last mail may come after the last event before the rate counts as past the knee."""


def kept(results: dict[str, Any]) -> dict[str, Any]:
    """What the page is made from: figures, and the table of rates."""
    fields = ("name", "title", "at", "exit_code", "figures")
    found = [
        {key: each[key] for key in fields} | ({"tables": each["tables"]} if each["name"] in PLOTS else {})
        for each in results["benchmarks"]
    ]
    return {"versions": results["versions"], "benchmarks": found}


def lines(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Lines of the closing table: what, tocsin, peer, ratio, its spread, target, workload. A failed benchmark says so."""
    found = []
    for each in results["benchmarks"]:
        for figure in each["figures"]:
            found.append(_line(each["title"], figure))
        if each["exit_code"]:
            found.append((each["title"], "failed", "-", "-", "-", "-", f"exit code {each['exit_code']}"))
    return found


def _line(title: str, given: dict[str, Any]) -> tuple[str, ...]:
    figure = Figure(**{key: value for key, value in given.items() if key not in ("target", "least_ratio")})
    ratios = figure.ratios
    ratio = three(statistics.median(ratios)) if ratios else "-"
    spread = f"{three(min(ratios))}–{three(max(ratios))}" if ratios else "-"
    theirs = (
        f"{span(figure.theirs)} ({figure.peer})"
        if figure.theirs
        else f"not installed ({figure.peer})"
        if figure.peer
        else "-"
    )
    ours = f"{span(figure.ours)} {figure.unit}".strip()
    return (f"{title}: {figure.what}", ours, theirs, ratio, spread, _target(figure, given), figure.workload)


def _target(figure: Figure, given: dict[str, Any]) -> str:
    least, target = given["least_ratio"], given["target"]
    if least is not None and figure.ratios:
        met = statistics.median(figure.ratios) >= least
        return f"ratio ≥ {three(least)}: {'met' if met else '**not met**'}"
    if target is None:
        return "-"
    ours = statistics.median(figure.ours)
    met = ours >= target if figure.more else ours <= target
    return f"{'≥' if figure.more else '≤'} {three(target)}: {'met' if met else '**not met**'}"


def rates(results: dict[str, Any], name: str) -> tuple[list[str], list[list[str]]] | None:
    """Columns of a table of rates, and its rows; None where that benchmark failed or was not run."""
    for each in results["benchmarks"]:
        for one in each["tables"] if each["name"] == name and not each["exit_code"] else ():
            return one["columns"], one["rows"]
    return None


def _number(cell: str) -> float:
    return float(cell.replace(",", ""))


def parts(results: dict[str, Any]) -> dict[str, str]:
    """What stands between the marks of the page, by their names; what was not measured is left as it is."""
    beside: list[tuple[str, ...]] = []
    alone: list[tuple[str, ...]] = []
    for what, ours, peer, ratio, spread, target, workload in lines(results):
        if peer == "-":
            alone.append((what, ours, target, workload))
        else:
            beside.append((what, ours, peer, f"{ratio} ({spread})" if ratio != "-" else "-", target, workload))
    whens = sorted(each["at"][:16].replace("T", " ") for each in results["benchmarks"])
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    found = {
        "versions": f"Measured from {whens[0]} to {whens[-1]} UTC: {versions}.",
        "beside": table(("what", "tocsin", "peer", "ratio (spread)", "target", "workload"), *beside),
        "alone": table(("what", "tocsin", "target", "workload"), *alone),
    }
    for name in PLOTS:
        if (measured := rates(results, name)) is not None:
            columns, rows = measured
            late = columns.index("last mail late, s")
            in_time = [row[0] for row in rows if _number(row[late]) <= LATE]
            words = (
                f"Up to {in_time[-1]} events a second the last mail comes within a second of the last event. "
                if in_time
                else ""
            )
            words += f"At {rows[-1][0]} it comes {rows[-1][late]} s later."
            found[name] = f"{words}\n\n{table(columns, *rows)}"
    return found


def render(page: str, results: dict[str, Any]) -> str:
    """The page with all its parts. Raises ValueError where the page has no marks for one."""
    for name, text in parts(results).items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page needs one {begin.strip()} and one {end}")
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}{text}\n{end}{rest.partition(end)[2]}"
    return page


def write(root: Path) -> list[Path]:
    """Make the page and the plots under ``root`` from bench/results.json; their paths."""
    results = json.loads(DATA.read_text(encoding="utf-8"))
    page = root / PAGE
    page.write_text(render(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    written = [page]
    for name, (plot, title) in PLOTS.items():
        if (measured := rates(results, name)) is not None:
            columns, rows = measured
            drawn = {
                curve: [(_number(row[0]), _number(row[columns.index(f"{curve}, ms")])) for row in rows]
                for curve in CURVES
            }
            curves(root / plot, title, ("events a second", "milliseconds"), drawn)
            written.append(root / plot)
    return written

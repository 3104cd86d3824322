"""What benchmarks print is kept as tables, and drawn; the page on performance is made from it."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import bench.__main__ as program
from bench.__main__ import tables
from bench.common import Figure, table
from bench.page import DATA, PAGE, PLOTS, lines, render, write
from bench.plan import HERE, PLAN, Planned
from bench.plot import curves

SVG = "{http://www.w3.org/2000/svg}"
ROOT = HERE.parent


def test_each_benchmark_is_in_the_plan() -> None:
    modules = {file.stem for file in HERE.glob("*.py") if not file.stem.startswith("_")}
    runnable = {name for name in modules if "__main__" in (HERE / f"{name}.py").read_text()}
    assert {one.module for one in PLAN.values()} == runnable - {"paired", "plan", "common"}


def test_a_ratio_says_how_many_times_as_good_as_the_peer() -> None:
    """Twice the rate and half the time are both 2; rounds without a peer have none."""
    rate = Figure(what="a", unit="", ours=[200, 300], theirs=[100, 100], workload="", more=True)
    time = Figure(what="a", unit="", ours=[5], theirs=[10], workload="")
    assert [[2, 3], [2], []] == [rate.ratios, time.ratios, Figure(what="a", unit="", ours=[1], workload="").ratios]


def results(**more: Any) -> dict[str, Any]:
    """Results of one benchmark with one figure."""
    figure = {
        "what": "first mail",
        "unit": "s",
        "ours": [0.5, 0.4, 0.25],
        "theirs": [1, 1, 1],
        "workload": "w",
        "peer": "P",
        "more": False,
    }
    figure |= {"target": 0.3, "least_ratio": None, **more}
    one = {
        "name": "burst",
        "title": "Burst",
        "at": "2026-11-29T19:00:00",
        "exit_code": 1,
        "figures": [figure],
        "tables": [],
    }
    return {"versions": {"duckdb": "1"}, "benchmarks": [one]}


def test_the_closing_table_says_what_is_met_and_what_failed() -> None:
    line = ("Burst: first mail", "0.400 (0.250–0.500) s", "1 (P)", "2.50", "2–4", "≤ 0.300: **not met**", "w")
    failed = ("Burst", "failed", "-", "-", "-", "-", "exit code 1")
    assert [line, failed] == lines(results())
    assert "ratio ≥ 2.50: met" == lines(results(least_ratio=2.5))[0][5]
    assert ("not installed (P)", "-", "-") == lines(results(theirs=[]))[0][2:5]


def test_a_benchmark_that_fails_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {
        "fails": Planned(title="A", module="sdk", options=("--nonsense",), seconds=1),
        "works": Planned(title="B", module="plot", seconds=1),
    }
    monkeypatch.setattr(program, "PLAN", plan)
    monkeypatch.setattr(program, "DIST", tmp_path)
    assert 1 == program.main([])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [("fails", 2), ("works", 0)] == [(each["name"], each["exit_code"]) for each in found["benchmarks"]]
    assert 0 == program.main(["works"])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert ["fails", "works"] == [each["name"] for each in found["benchmarks"]]


def test_the_page_on_performance_is_made_from_results(tmp_path: Path) -> None:
    """Page and plots are as `python -m bench --page` makes them from bench/results.json: no figure is written by hand."""
    made = [PAGE, *(plot for plot, _ in PLOTS.values())]
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    write(tmp_path)
    for name in made:
        assert (ROOT / name).read_text() == (tmp_path / name).read_text()
    other = json.loads(DATA.read_text()) | results()
    assert "0.400 (0.250–0.500) s" in render((ROOT / PAGE).read_text(), other)


def test_tables_of_a_benchmark_are_read_back() -> None:
    printed = f"words\n{table(('rate', 'ms'), (10, 5), (20, '7 (6-8)'))}\n\nmore\n{table(('x',), (1,))}\n"
    assert [
        {"columns": ["rate", "ms"], "rows": [["10", "5"], ["20", "7 (6-8)"]]},
        {"columns": ["x"], "rows": [["1"]]},
    ] == tables(printed)


def test_a_plot_has_each_curve_with_its_name(tmp_path: Path) -> None:
    """More is higher and further to the right; names of curves that end at one place do not cover each other."""
    file = tmp_path / "a.svg"
    curves(file, "a < b", ("x", "y"), {"p50": [(1, 10), (100, 20)], "p99": [(1, 30), (100, 20)]})
    root = ET.parse(file).getroot()
    first, second = (
        [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()] for line in root.iter(f"{SVG}polyline")
    )
    assert first[0][0] < first[1][0] and first[0][1] > first[1][1] and second[0][1] < second[1][1]
    ends = {text.text: float(text.attrib["y"]) for text in root.iter(f"{SVG}text") if text.text in ("p50", "p99")}
    assert 15 <= abs(ends["p50"] - ends["p99"])

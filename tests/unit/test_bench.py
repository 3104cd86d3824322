"""What benchmarks print is kept as tables, and drawn."""

import xml.etree.ElementTree as ET
from pathlib import Path

from bench.__main__ import tables
from bench.common import table
from bench.plot import curves

SVG = "{http://www.w3.org/2000/svg}"


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

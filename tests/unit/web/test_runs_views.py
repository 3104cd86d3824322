"""Descriptions that can do nothing, plots, and vendored files that are what they were."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

import tocsin.web
from tocsin.app.runs.curves import Curve, shown
from tocsin.app.runs.tree import lines, tree
from tocsin.web.runs.asked import ListAsked
from tocsin.web.runs.day import strip
from tocsin.web.runs.files import _whole
from tocsin.web.runs.markdown import html
from tocsin.web.runs.plots import folded, plots, rounded

VENDOR = Path(tocsin.web.__file__).parent / "pages" / "vendor"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**b** ~~s~~", "<p><strong>b</strong> <s>s</s></p>"),
        ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("[x](https://a.example/?a=1&b=2)", '<p><a href="https://a.example/?a=1&amp;b=2" rel="noreferrer nofollow">x</a></p>'),
        ("[x](//a.example)", '<p><a href="#" rel="noreferrer nofollow">x</a></p>'),
        ("[x](ftp://a.example)", '<p><a href="#" rel="noreferrer nofollow">x</a></p>'),
        ("[x](/runs/r2#metrics)", '<p><a href="/runs/r2#metrics" rel="noreferrer nofollow">x</a></p>'),
        ("[x](<outputs/a b.csv>)", '<p><a href="/files?run=r%2F1&amp;name=outputs%2Fa%20b.csv" rel="noreferrer nofollow">x</a></p>'),
        ("![p](outputs/p.png)", '<p><img src="/files?run=r%2F1&amp;name=outputs%2Fp.png" alt="p" loading="lazy"></p>'),
        ("![p](https://a.example/p.png)", '<p><a href="https://a.example/p.png" rel="noreferrer nofollow">p</a></p>'),
        ("![<b>](data:image/svg+xml;base64,AA)", "<p>![&lt;b&gt;](data:image/svg+xml;base64,AA)</p>"),
        ("![p](data:image/png;base64,AA)", '<p><img src="data:image/png;base64,AA" alt="p" loading="lazy"></p>'),
        ("# h", "<h3>h</h3>"),
    ],
)  # fmt: skip
def test_a_description_can_only_be_read(text: str, shown: str) -> None:
    assert shown == html(text, "r/1").strip()


def test_deep_nesting_takes_no_time() -> None:
    assert html("> " * 5_000 + "x", "r") and html("[" * 20_000, "r") and html("*a " * 20_000, "r")


def test_a_plot_is_drawn_in_its_frame_and_in_words() -> None:
    curves = [
        Curve(run="b", name="loss", stepped=True, x=(0, 1, 2), y=(3.0, 1.0, 2.0)),
        Curve(run="a", name="loss", stepped=True, x=(0, 2), y=(1.0, 1.0)),
        Curve(run="a", name="one", stepped=False, x=(0,), y=(5.0,)),
    ]  # fmt: skip
    loss, one = plots(curves, ["a", "b"])
    assert ("step", "index", True, False) == (loss.axis, one.axis, one.single, loss.single)
    assert '<polyline class="c1 d0" points="0.0,0.0 300.0,160.0 600.0,80.0"/>' in loss.svg
    assert (
        '<polyline class="c0 d0 point" points="300.0,80.0 300.0,80.0"/>' in one.svg
    )  # one value beside others' curves
    assert [] == plots([curves[2]], ["a"])  # a table says as much
    assert "b: from 3 to 2, least 1, greatest 3" in loss.words
    assert '"color":1' in loss.data


def test_more_than_eight_plots_are_folded_by_prefix_and_none_is_cut() -> None:
    def drawn(*names: str) -> list[tuple[str, int, bool]]:
        curves = [Curve(run="a", name=name, stepped=True, x=(0, 1), y=(1.0, 2.0)) for name in names]
        return [(g.prefix, len(g.plots), g.opened) for g in folded(plots(curves, ["a"]))]

    few = [f"train/m{n}" for n in range(8)]
    assert [("", 8, True)] == drawn(*few)
    assert [("", 1, True), ("train/", 8, True), ("val/", 30, False)] == drawn(
        *few, *(f"val/m{n}" for n in range(30)), "x"
    )
    assert [] == drawn()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1_234_567.0, "1.235 M"), (3.4e-5, "3.4e-5"), (0.0, "0"), (1.3e9, "1.3 G"), (2.5e17, "2.5e17"), (0.93, "0.93"), (250_000, "250 k"),
        (99_999.0, "99999"), (-1.2e6, "-1.2 M"), (float("nan"), "nan"), (None, "–"),
    ],
)  # fmt: skip
def test_a_number_is_written_in_few_characters(value: float | None, words: str) -> None:
    assert words == shown(value)


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (2.18445, 245.703, (0, 250)), (1.0, 3.0, (1, 3)), (0.0, 20.0, (0, 20)), (-0.31, 0.92, (-0.5, 1.0)), (5.0, 5.0, (5, 5)),
        (1e-7, 9.3e-7, (0, 1e-6)), (1e6, 1e6 + 3, (1e6, 1e6 + 3)), (0.0, 1e308, (0, 1e308)), (0.0, 5e-324, (0, 5e-324)),
    ],
)  # fmt: skip
def test_an_axis_ends_at_round_numbers(low: float, high: float, ends: tuple[float, float]) -> None:
    assert ends == pytest.approx(rounded(low, high))


def test_a_run_that_is_its_own_ancestor_is_shown_once() -> None:
    rows = [{"RunId": "a", "ParentRunId": "b"}, {"RunId": "b", "ParentRunId": "a"}, {"RunId": "c", "ParentRunId": "b"}]
    top = tree(rows, "a")
    assert top is not None
    (child,) = top.children
    assert ("b", ["c"]) == (child.run["RunId"], [node.run["RunId"] for node in child.children])
    assert tree(rows, "nothing") is None


def test_differences_come_first() -> None:
    found = lines([{"a": 1, "b": 1}, {"a": 1, "b": 2, "c": None}])
    assert [("b", ("1", "2"), True), ("a", ("1", "1"), False), ("c", ("", ""), False)] == [
        (f.name, f.values, f.differs) for f in found
    ]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_tail_never_ends_inside_a_character(cut: int) -> None:
    """What is cut off comes with the next part."""
    data = "aé€😀z".encode()
    first = _whole(data[:cut])
    assert data[:cut].startswith(first) and first.decode() and len(data[:cut]) - len(first) < 4


def test_vendored_files_are_those_of_their_release() -> None:
    """vendor/README.md names version and SHA-256 of each; nothing else lies there."""
    named = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (VENDOR / "README.md").read_text()))
    there = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in VENDOR.iterdir() if f.name != "README.md"}
    assert named == there


def test_numbers_that_are_none_make_no_plot() -> None:
    assert [] == plots([Curve(run="a", name="x", stepped=True, x=(), y=())], ["a"])
    flat = Curve(run="a", name="x", stepped=True, x=(1, 2), y=(math.pi, math.pi))
    assert "0.0,80.0 600.0,80.0" in plots([flat], ["a"])[0].svg


NOW = datetime(2026, 1, 5, 12, 30, tzinfo=UTC)


def test_filters_are_typed_into_the_search_field() -> None:
    """What is typed as name:value is the filter of that name; other words stay what is searched; the address is the view."""
    asked = ListAsked.of(QueryParams("q=status:failed+tag.team:vision+net+since:2h&tag=gpu"), NOW)
    assert "/runs?q=net&status=Failed&tag=gpu&since=2h&tag=team%3Dvision" == asked.address()
    runs = asked.asked
    assert (["Failed"], [("gpu", None), ("team", "vision")], "net") == (runs.status, runs.tags, runs.search)
    assert datetime(2026, 1, 5, 10, 30, tzinfo=UTC) == runs.since and runs.until is None
    with pytest.raises(HTTPException, match="since: 'never' is no time"):
        _ = ListAsked.of(QueryParams("q=since:never"), NOW).asked
    assert "http://x:1 a:" == ListAsked.of(QueryParams("q=http://x:1+a:"), NOW).given["q"]


def test_a_day_is_24_bars_whose_parts_are_links_to_their_runs() -> None:
    """Bars are as high as their hour has runs beside the fullest; a single run is still seen; what is older is left out."""
    hour = datetime(2026, 1, 5, 11)
    counts = {"Failed": 1, "Completed": 999, "Queued": 500}
    rows = [{"Hour": hour, "Status": status, "N": n} for status, n in counts.items()]
    old = {"Hour": datetime(2026, 1, 4, 12), "Status": "Failed", "N": 7}
    bars = strip([*rows, old], [{"Hour": hour, "N": 2}], NOW)
    assert 24 == len(bars) and datetime(2026, 1, 4, 13, tzinfo=UTC) == bars[0].start and () == bars[-1].parts
    bar = bars[-2]
    assert (2, ["Failed", "Completed", "Queued"]) == (bar.alerts, [part.status for part in bar.parts])
    assert 2.5 < bar.parts[0].height < 3 and pytest.approx(0, abs=0.05) == bar.parts[-1].y
    assert "/runs?status=Failed&since=2026-01-05T11%3A00Z&until=2026-01-05T12%3A00Z" == bar.parts[0].href

"""What the page of KQL makes of an answer: a file, lines, bars."""

from datetime import UTC, datetime, timedelta

import pytest

from tocsin.web.ports import ColumnInfo, Row
from tocsin.web.sections.query import Bar, bars_of, chart_of, csv_of, plot_of

T = datetime(2026, 11, 29, 12, tzinfo=UTC)


def columns(**kinds: str) -> list[ColumnInfo]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


@pytest.mark.parametrize(
    ("kql", "chart"),
    [
        ("Runs | render timechart", "timechart"),
        ("Runs | summarize count() by Status | render PieChart;", "piechart"),
        ("Runs | render barchart with (title = 'a | render table')", "barchart"),
        ("Runs | where Message == '| render timechart'", ""),
        ("Runs | extend render = 1", ""),
        ("render", ""),
    ],
)
def test_the_last_operator_says_the_chart(kql: str, chart: str) -> None:
    assert chart == chart_of(kql)


def test_csv_is_quoted_and_runs_nothing_in_a_spreadsheet() -> None:
    """Whoever posts an event names a run; a spreadsheet would take =HYPERLINK(…) for a formula."""
    made = csv_of(
        columns(RunId="string", n="long", at="datetime", d="timespan", tags="dynamic", ok="bool"),
        [
            {"RunId": '=HYPERLINK("x")', "n": -1, "at": T, "d": timedelta(seconds=5), "tags": {"a": 1}, "ok": True},
            {"RunId": "a,b\n\"c\"", "n": None, "at": None, "d": None, "tags": None, "ok": None},
        ],
    )  # fmt: skip
    assert (
        "RunId,n,at,d,tags,ok\r\n"
        '"\'=HYPERLINK(""x"")",-1,2026-11-29T12:00:00+00:00,00:00:05,"{""a"": 1}",true\r\n'
        '"a,b\n""c""",,,,,\r\n'
    ) == made


def test_lines_go_over_the_first_time_one_a_text_and_number() -> None:
    kinds = columns(at="datetime", Status="string", n="long")
    rows = [{"at": T + timedelta(hours=h), "Status": s, "n": h} for h in (3, 0) for s in ("Failed", "Completed")]
    plot = plot_of(kinds, rows, "q")
    assert plot is not None
    assert ("hours after 2026-11-29 12:00 UTC", ("Failed", "Completed")) == (plot.axis, plot.runs)
    assert [((0.0, 3.0), (0.0, 3.0))] * 2 == [(c.x, c.y) for c in plot.curves]
    assert "<polyline" in plot.svg
    assert plot_of(columns(a="string"), [{"a": "x"}], "q") is None
    numbers = plot_of(columns(x="real", y="real"), [{"x": 2.0, "y": 1.0}, {"x": 1.0, "y": None}], "q")
    assert numbers is not None and ("x", (2.0,)) == (numbers.axis, numbers.curves[0].x)


def test_bars_are_the_first_number_by_what_is_none() -> None:
    rows: list[Row] = [{"e": "churn", "n": 3, "m": 1}, {"e": "", "n": None, "m": 2}, {"e": "", "n": 0, "m": 2}]
    assert [Bar(name="churn", value=3), Bar(name="–", value=0)] == bars_of(
        columns(e="string", n="long", m="long"), rows
    )
    assert [] == bars_of(columns(e="string"), [{"e": "x"}])

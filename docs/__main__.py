"""Writes the pages and dashboards that are made from code: `make docs`. With --check it only says which are stale, and ends with 1."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deploy.grafana.boards import BOARDS
from deploy.grafana.draw import DASHBOARDS, document
from docs.tour import tour
from tocsin.cli.reference import cli_reference
from tocsin.config.reference import settings_reference
from tocsin.metrics.table import TABLE, Metric
from tocsin.model.reference import events_reference

HERE = Path(__file__).parent
_FAMILIES = (
    ("tocsin_runs_", "Runs"),
    ("tocsin_alerts_", "Alerts"),
    ("tocsin_intake_", "Intake"),
    ("tocsin_store_", "Log store"),
    ("tocsin_http_", "HTTP"),
    ("tocsin_evaluate_", "Evaluation"),
    ("tocsin_rule_", "Rules"),
    ("tocsin_not", "Notifications"),
    ("tocsin_", "tocsin itself"),
)


def metrics_reference() -> str:
    """One line a metric, by family."""
    out = [
        "# Metrics",
        "",
        "<!-- Made by `make docs` from src/tocsin/metrics/table.py; a test holds both, and what is exported, equal. -->",
        "",
        "`GET /metrics` gives these in Prometheus's text format; each process has its own.",
        "A scraper that asks for OpenMetrics gets OpenMetrics.",
        "Where there are tokens, one with the role `metrics`, or one that reads, is needed.",
        "Counters end in `_total`, lengths are in seconds, sizes in bytes.",
        "Series whose labels are known when files are loaded exist with 0 from then on, so that `increase()` sees the first failure.",
        "Metrics marked with * get the labels of runs that `metrics.run_labels` in tocsin.yaml names: `experiment`, `workspace`, `target`.",
        "Of their combinations the busiest `metrics.run_series` have series of their own. Others count as `other`.",
        "Besides there are prometheus-client's `process_*` and `python_*`.",
        "A series bound says what keeps the number of series finite: no label's values come from events unbounded.",
        "Rules may add gauges of their values: `export`, on the page on [window rules](rules-window.md).",
        "`deploy/prometheus/` has a scrape file and alerting rules that use them.",
        "",
    ]
    left = list(TABLE)
    for prefix, title in _FAMILIES:
        mine = [m for m in left if m.name.startswith(prefix)]
        left = [m for m in left if m not in mine]
        if mine:
            out += [
                f"## {title}",
                "",
                "| metric | type | labels | series | meaning |",
                "| --- | --- | --- | --- | --- |",
            ]
            out += [_line(m) for m in mine]
            out.append("")
    return "\n".join(out)


def _line(m: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in m.labels)
    star = " *" if m.of_runs else ""
    return f"| `{m.name}`{star} | {m.type} | {labels} | {m.bound} | {m.help} |"


PAGES: dict[Path, Callable[[], str]] = {
    HERE / "cli.md": cli_reference,
    HERE / "events.md": events_reference,
    HERE / "metrics.md": metrics_reference,
    HERE / "settings.md": settings_reference,
    HERE / "tour.md": tour,
    **{DASHBOARDS / f"{board.uid}.json": partial(document, board) for board in BOARDS},
}


def main() -> int:
    stale = [page for page, make in PAGES.items() if not page.exists() or page.read_text() != make()]
    for page in stale:
        print(("stale: " if "--check" in sys.argv else "written: ") + str(page.relative_to(HERE.parent)))
        if "--check" not in sys.argv:
            page.write_text(PAGES[page]())
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes the dashboards' JSON from ``boards.py``; ``make docs`` writes it.

Grafana's file provider reads them: ``id`` is null, ``uid`` is fixed, the data source is a variable, and there is no
``__inputs``, which only imports by hand understand.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import Board, Panel

DASHBOARDS = Path(__file__).parent / "dashboards"
SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8
"""Of a panel, in Grafana's rows."""
STAT_HEIGHT = 4

Drawn = timeseries.Panel | stat.Panel | bargauge.Panel


def document(board: Board) -> str:
    """The JSON of a dashboard."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["tocsin"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Instance")
            .datasource(models.DataSourceRef(type_val=SOURCE.type_val, uid=SOURCE.uid))
            .query("label_values(tocsin_build_info, instance)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
        .link(
            dashboard.DashboardLink("Other dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["tocsin"])
            .keep_time(True)
            .include_vars(True)
        )
    )
    ids = count(1)
    for section in board.sections:
        made = made.with_row(dashboard.Row(section.title).id(next(ids)))
        for each in section.panels:
            made = made.with_panel(_panel(each).id(next(ids)))
    whole = json.loads(JSONEncoder().encode(made.build())) | {"id": None}
    return json.dumps(whole, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _panel(panel: Panel) -> Drawn:
    drawn = _kind(panel)
    drawn.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    drawn.span(panel.width).height(STAT_HEIGHT if panel.kind == "stat" else HEIGHT)
    if panel.interval:
        drawn.interval(panel.interval)
    for number, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery()
            .expr(f"{query.expr} or on() vector(0)" if panel.zero else query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .datasource(SOURCE)
        )
        drawn.with_target(target.instant() if panel.instant else target.range())
    return drawn


def _kind(panel: Panel) -> Drawn:
    if panel.kind == "stat":
        return stat.Panel().graph_mode(common_models.BigValueGraphMode.NONE).reduce_options(_last())
    if panel.kind == "ranking":
        return bargauge.Panel().orientation(common_models.VizOrientation.HORIZONTAL).reduce_options(_last())
    lines = timeseries.Panel().legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if panel.kind == "bars":
        return (
            lines.draw_style(common_models.GraphDrawStyle.BARS)
            .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
            .fill_opacity(80)
        )
    return lines.fill_opacity(10)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])

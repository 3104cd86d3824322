"""Words of KQL's grammar, as upstream has it; a test holds them equal."""

from __future__ import annotations

KEYWORDS = frozenset(
    """
    3Dchart __contextual_datatable __crossCluster __crossDB __executeAndCache __id __isFuzzy __noWithSource
    __packedColumn __partitionby __projectAway __sourceColumnIndex access accumulate aggregations alias all and
    anomalychart anomalycolumns areachart as asc assert-schema axes bagexpansion barchart base between bin bin_legacy
    bool boolean by card cluster columnchart consume contains contains_cs containscs count database datascope datatable
    date datetime decimal declare decodeblocks default delta desc distinct double dynamic edges endswith endswith_cs
    entity_group evaluate execute expandoutput extend external_data externaldata facet filter find first flags float fork
    from getschema granny-asc granny-desc graph-mark-components graph-match graph-shortest-paths graph-to-table guid has
    has_all has_any has_cs hasprefix hasprefix_cs hassuffix hassuffix_cs hidden hot hotcache hotdata hotindex id in
    int int16 int32 int64 int8 into invoke isfuzzy join kind ladderchart last legend let like likecs limit linear
    linechart list log long lookup macro-expand make-graph make-series map materialize materialized-view-combine
    mv-apply mv-expand mvapply mvexpand nodes none nooptimization notcontains notcontainscs notlike notlikecs null nulls
    of on optional or order others output pack panels parse parse-kv parse-where partition partitioned-by pattern
    piechart pivotchart plugin print project project-away project-keep project-rename project-reorder project-smart
    query_parameters range real reduce regex relaxed render replace restrict sample sample-distinct scan scatterchart
    search serialize series set simple sort stacked stacked100 stackedareachart startswith startswith_cs step string
    summarize table take threshold time timechart timeline timepivot timespan title to top top-hitters top-nested
    toscalar totable treemap typeof uint uint16 uint32 uint64 uint8 ulong union uniqueid unstacked uuid view visible
    where with with_itemindex with_match_id with_node_id with_source with_step_name withsource xaxis xcolumn xmax xmin
    xtitle yaxis ycolumns ymax ymin ysplit ytitle
    """.split()  # noqa: SIM905
)
"""Words of the grammar."""
NO_NAMES = KEYWORDS | frozenset(
    ("assert", "granny", "graph", "hint", "macro", "make", "matches", "materialized", "mv", "partitioned", "stored")
)
"""No names here: some are names in some places, and some begin a longer word. That is upstream's affair."""
ASSIGNED = frozenset(("count", "id", "list", "log", "map", "range", "series", "set", "step", "title", "top"))
"""Words of the grammar that are names left of ``=`` in a list of targets, of those that people use."""

"""Counts what tocsin does, for Prometheus.

In: calls on `Metrics` by every station, and gauges that rules export. Out: the text of `GET /metrics`.
Called by: all rooms above; web serves the text.
Never: does I/O, reads a clock, or takes a label whose values nothing bounds.
Start at: `table.py`, one row a metric; `registry.Metrics` has an attribute for each.
"""

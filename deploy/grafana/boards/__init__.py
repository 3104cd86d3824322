"""The four dashboards, a module each."""

from __future__ import annotations

from deploy.grafana.boards.alerts import ALERTS
from deploy.grafana.boards.consumers import CONSUMERS
from deploy.grafana.boards.pipeline import PIPELINE
from deploy.grafana.boards.runs import RUNS

BOARDS = (RUNS, ALERTS, PIPELINE, CONSUMERS)

"""Which role a request needs."""

from __future__ import annotations

from typing import Final

from tocsin.config.project.tokens import Role

PING: Final = "/ping/"
"""Ping URLs carry their token in the path, and act by a GET."""
TAKING: Final = ("/intake/", PING)
"""Paths that take events."""
PAGERDUTY: Final = "/api/v1/pagerduty"
"""Takes PagerDuty's webhooks, which act on alerts."""
_READS: Final = ("GET", "HEAD", "OPTIONS")
_ASKS: Final = frozenset({"/api/v1/query", "/api/v1/silences/preview", "/api/v1/backtest"})
"""Posts that change nothing."""
_ADMINS: Final = frozenset({"/api/v1/dead-letters/replay", "/consumers/replay", "/api/v1/backup", "/api/v1/export"})


def needed(method: str, path: str) -> Role:
    """The role that opens ``path`` to ``method``."""
    if path.startswith(TAKING):
        return Role.PRODUCER
    if path == "/metrics":
        return Role.METRICS
    if method in _READS or path in _ASKS:
        return Role.VIEWER
    return Role.ADMIN if path in _ADMINS else Role.RESPONDER

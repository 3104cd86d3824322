"""Beside the alerts: once a day `admin_email` gets the list of those that no step of an escalation brought anybody to
take. The first list comes a day after the first of them ran out of steps.
"""

from __future__ import annotations

from datetime import datetime

from tocsin.model.active import ActiveAlert
from tocsin.notify.stages.live import DAILY, DAY, Live


def unanswered(live: Live, at: datetime) -> tuple[ActiveAlert, ...]:
    """What is to be listed now, the severest first; nothing where the list is not due."""
    found = [live.alerts[id_] for id_ in live.exhausted]
    last = live.daily.get("")
    if not found:
        if last is not None:
            live.put_daily(None)
        return ()
    if last is not None and at - last.at < DAY:
        return ()
    live.put_daily(at)
    live.wake(DAILY, "", at + DAY)
    return tuple(sorted(found, key=lambda a: (a.severity, a.fired_at))) if last is not None else ()

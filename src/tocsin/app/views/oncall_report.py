"""The report on being on call: history out of the state, names and time zones out of the on-call files in force."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tocsin.app.project.content import Content
from tocsin.notify.oncall.report import Known, report
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.state.interface import State

_UTC = ZoneInfo("UTC")


def oncall_report(state: State, content: Content | None, now: datetime, weeks: int) -> dict[str, Any]:
    """Of the last ``weeks`` weeks. Without on-call files people are called by their addresses, and nights are UTC's."""
    rules = content.oncall if content is not None else OnCallRules()
    default = ZoneInfo(content.settings.timezone) if content is not None else _UTC

    def person(text: str) -> str:
        if text in rules.people:
            return text
        found = rules.person_at(text)
        return found.name if found is not None else ""

    def zone(who: str) -> ZoneInfo:
        known = rules.people.get(who)
        return ZoneInfo(known.timezone) if known is not None and known.timezone else default

    since = now - timedelta(weeks=weeks)
    scheduled = {name for name, receiver in rules.receivers.items() if receiver.schedule}

    def on_call(receiver: str, at: datetime) -> tuple[str, ...]:
        found = rules.receivers.get(receiver)
        return rules.on_call(found.schedule, at) if found is not None and found.schedule else ()

    known = Known(person=person, zone=zone, scheduled=scheduled, on_call=on_call)
    return report(state.oncall_history(since), known, since, now)

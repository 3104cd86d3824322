"""Log lines that lead from an event to its messages: ids only; what events say goes to a terminal alone (``people``).

alert             event_id, run_id, commit_seq, rule, intent
delivery_sent     intents, delivery, message_id
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from tocsin.model.intent import Intent
from tocsin.model.statuses import TERMINAL

log = structlog.get_logger(__name__)


def log_alerts(intents: Iterable[Intent]) -> None:
    """One line for each thing that is to be notified, once it is durable."""
    for intent in intents:
        event = intent.event or {}
        log.info(
            "alert",
            kind=intent.kind.value,
            rule=intent.rule,
            severity=intent.severity.word,
            run_id=intent.run_id,
            event_id=event.get("EventId", ""),
            commit_seq=intent.commit_seq,
            intent=intent.id,
            people=_people(intent, event),
        )


def _people(intent: Intent, event: Mapping[str, object]) -> dict[str, object]:
    """What a person wants to read of it: the run's name and status, or the instance and its value, and why."""
    if event:
        status = (
            event.get("Status") if event.get("Status") in TERMINAL else ""
        )  # of a parent that goes on it says nothing
        why = event.get("Message") or event.get("Reason")
        return {"name": event.get("ExperimentName"), "run": event.get("DisplayName"), "status": status, "why": why}
    instance = ", ".join(f"{key} {value}" for key, value in intent.instance.items() if value != intent.run_id)
    return {"name": instance, "why": "" if intent.value is None else f"value {intent.value:g}"}

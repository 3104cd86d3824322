"""Log lines that lead from an event to its messages: ids only, never what events or messages say.

alert             event_id, run_id, commit_seq, rule, intent
delivery_sent     intents, delivery, message_id
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from tocsin.model.intent import Intent

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
        )

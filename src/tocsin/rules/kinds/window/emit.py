"""What the change of an instance carries."""

from __future__ import annotations

from dataclasses import replace

from tocsin.alerts.changes import Change
from tocsin.model.details import NONE, Details
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import Row
from tocsin.rules.kinds.window.seen import Seen


def change_of(change: Change, kept: Row, seen: Seen | None) -> Change:
    """``change`` with what is ``kept`` of its instance, and the rows that were ``seen``."""
    fields = seen.first if seen is not None else {**kept.summary, **kept.fields, **change.instance}
    run = fields.get("RunId")
    return replace(
        change,
        labels=kept.labels,
        fields=kept.fields,
        run_id=run if isinstance(run, str) else "",
        event=fields,
        rows=seen.rows if seen is not None and change.kind is not IntentKind.RESOLVED else (),
        details=Details(rows=seen.count) if seen is not None and seen.count > 1 else NONE,
    )

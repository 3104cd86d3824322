"""What an intent says of a wait."""

from __future__ import annotations

from tocsin.model.details import Wait
from tocsin.rules.history import moment
from tocsin.rules.kinds.deadline.spec import DeadlineRule


def wait_of(rule: DeadlineRule, since_us: int | None) -> Wait:
    """What an intent says of a wait: its form, what was waited in, and since when."""
    since = moment(since_us) if since_us is not None else None
    return Wait(form=rule.spec.form.value, statuses=tuple(rule.spec.named), since=since)

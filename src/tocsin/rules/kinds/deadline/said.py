"""What an intent says of a wait."""

from __future__ import annotations

from tocsin.rules.history import moment, plain
from tocsin.rules.kinds.deadline.spec import DeadlineRule


def wait_said(rule: DeadlineRule, since_us: object, **more: object) -> dict[str, object]:
    """What an intent says of a wait: its form, what was waited in, and since when; ``more`` besides."""
    since = {"since": plain(moment(since_us))} if isinstance(since_us, int) else {}
    return {"waits": rule.spec.form.value, "statuses": list(rule.spec.named), **since, **more}

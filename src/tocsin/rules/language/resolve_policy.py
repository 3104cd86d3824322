"""How alerts are closed and repeated, from what a file says."""

from __future__ import annotations

from datetime import timedelta

from tocsin.alerts.conditions import REPEAT, ZERO, Terms
from tocsin.rules.language.checks import Faults, Said
from tocsin.rules.language.schema import RuleModel


def closes_after(model: RuleModel, faults: Faults) -> timedelta | None:
    """After how long an alert is closed (`auto_close: 1h`); None where the rule does not say."""
    if model.auto_close is not None and model.auto_close <= ZERO:
        faults.add(("auto_close",), "must be longer than nothing", "write for example auto_close: 1h")
    return model.auto_close


def repeats(model: RuleModel, said: Said, faults: Faults) -> timedelta:
    """How often what fires is notified again."""
    repeat = said(lambda m: m.repeat_every, "repeat_every")
    if repeat is not None and repeat <= ZERO:
        key = ("repeat_every",) if "repeat_every" in model.model_fields_set else ()
        faults.add(key, "repeat_every must be longer than nothing", "write for example repeat_every: 4h")
    return repeat or REPEAT


def wait_terms(model: RuleModel, said: Said, faults: Faults) -> Terms:
    """The life of what an absence rule fires."""
    if model.resolve is not None:
        faults.add(("resolve",), "does not go with an absence rule", "its alert resolves when what is absent comes")
    return Terms(
        repeat=repeats(model, said, faults),
        close_after=closes_after(model, faults),
        send_resolved=model.send_resolved,
    )

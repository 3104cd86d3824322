"""How alerts end and how often they are told, from what a file says: `resolve` and `repeat_every`, with every fault's place."""

from __future__ import annotations

from datetime import timedelta

from tocsin.alerts.conditions import REPEAT, ZERO, Terms
from tocsin.rules.checks import Faults, Said
from tocsin.rules.schema import Resolve, RuleModel


def closes_after(model: RuleModel, faults: Faults, by_itself: str) -> timedelta | None:
    """After how long what a condition fires is closed (`resolve: {after: 1h}`); None where the rule does not say.

    ``by_itself`` says how such a rule's alerts end anyway.
    """
    if not isinstance(model.resolve, Resolve):
        return None
    if model.resolve.when is not None:
        faults.add(("resolve", "when"), "belongs to a row rule", by_itself)
        return None
    if model.resolve.after is None or model.resolve.after <= ZERO:
        faults.add(("resolve",), "says nothing", "write resolve: never, or resolve: {after: 1h}")
        return None
    return model.resolve.after


def repeats(model: RuleModel, said: Said, faults: Faults) -> timedelta:
    """How often what fires is told again."""
    repeat = said(lambda m: m.repeat_every, "repeat_every")
    if repeat is not None and repeat <= ZERO:
        key = ("repeat_every",) if "repeat_every" in model.model_fields_set else ()
        faults.add(key, "repeat_every must be longer than nothing", "write for example repeat_every: 4h")
    return repeat or REPEAT


def absence_terms(model: RuleModel, said: Said, faults: Faults) -> Terms:
    """The life of what an absence rule fires."""
    return Terms(
        repeat=repeats(model, said, faults),
        close_after=closes_after(model, faults, "an absence rule ends by itself, when what is awaited comes"),
        tells_end=model.resolve != "never",
    )

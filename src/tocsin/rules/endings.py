"""How alerts end and how often they are told, from what a file says: `resolve` and `repeat_every`, with every fault's place."""

from __future__ import annotations

from datetime import timedelta

from tocsin.alerts.conditions import REPEAT, ZERO, Terms
from tocsin.alerts.openings import FORGOTTEN, Ending
from tocsin.config.document import suggest
from tocsin.config.durations import format_duration
from tocsin.kql.rowplan import RowPlan
from tocsin.model.columns import RUN_STATUS_CHANGED, RUNS, KqlType
from tocsin.rules.checks import Faults, Said
from tocsin.rules.schema import Resolve, ResolveWhen, RuleModel


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


_OF_PARENTS = {c.name for c in RUNS if c.type is KqlType.STRING} - {"RunId", "Status"}
_COMPARED = {c.name: c.type is not KqlType.DYNAMIC for c in RUN_STATUS_CHANGED}


def row_ending(model: RuleModel, said: Said, plan: RowPlan | None, faults: Faults) -> Ending | None:
    """How long the alerts of a row rule stay open; None where they are told and done with."""
    repeat = said(lambda m: m.repeat_every, "repeat_every")
    given = "repeat_every" in model.model_fields_set
    if given and repeat is not None and repeat <= ZERO:
        faults.add(("repeat_every",), "must be longer than nothing", "write for example 4h")
    resolve = model.resolve
    if not isinstance(resolve, Resolve):
        if given:
            faults.add(
                ("repeat_every",), "would go on for ever: nothing ends this alert",
                "add resolve: {after: 1d}, or resolve: {when: {status: Completed, same: ExperimentName}}",
            )  # fmt: skip
        return None
    after = resolve.after
    if after is None and resolve.when is None:
        faults.add(("resolve",), "says nothing", "write resolve: never, or resolve: {after: 1h}")
    if after is not None and after <= ZERO:
        faults.add(("resolve", "after"), "must be longer than nothing", "write for example 1h")
    after = after or FORGOTTEN
    if given and repeat is not None and repeat >= after:
        faults.add(
            ("repeat_every",), f"never comes: the alert is closed after {format_duration(after)}", "make it shorter"
        )
    if resolve.when is not None:
        _check_when(resolve.when, plan, faults, of_sweeps=model.collapse is not None)
    return Ending(
        after=after,
        repeat=repeat,
        statuses=frozenset(resolve.when.status) if resolve.when else frozenset(),
        same=resolve.when.same if resolve.when else (),
    )


def _check_when(when: ResolveWhen, plan: RowPlan | None, faults: Faults, *, of_sweeps: bool) -> None:
    if not when.same:
        faults.add(("resolve", "when", "same"), "names no column", "write for example same: ExperimentName")
    for i, name in enumerate(when.same):
        if name not in _COMPARED:
            faults.add(("resolve", "when", "same", i), f"'{name}' is no column of an event", suggest(name, _COMPARED))
        elif not _COMPARED[name]:
            faults.add(("resolve", "when", "same", i), f"'{name}' is an object: it cannot be compared as a whole")
        elif of_sweeps and name not in _OF_PARENTS:
            faults.add(
                ("resolve", "when", "same", i), f"'{name}' is no text that a parent has", suggest(name, _OF_PARENTS)
            )
    for predicate in plan.prefilter if plan is not None else ():
        both = set(when.status) & {str(v) for v in predicate.values}
        if predicate.column == "Status" and not predicate.path and both:
            faults.add(
                ("resolve", "when", "status"), f"'{min(both)}' is also what the rule waits for",
                "name what comes when all is well again",
            )  # fmt: skip

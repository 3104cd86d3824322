"""How the alerts of an event rule end, from what a file says: `resolve`, `auto_close` and `repeat_every`."""

from __future__ import annotations

from tocsin.alerts.active import FORGOTTEN, ResolvePolicy
from tocsin.alerts.conditions import ZERO
from tocsin.config.yaml.document import suggest
from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan.rowplan import RowPlan
from tocsin.model.columns import RUN_STATUS_CHANGED, RUNS, KqlType
from tocsin.rules.kinds.event.keys import EventModel
from tocsin.rules.language.checks import Faults, Said
from tocsin.rules.language.resolve_policy import closes_after
from tocsin.rules.language.schema import ResolveWhen

_OF_PARENTS = {c.name for c in RUNS if c.type is KqlType.STRING} - {"RunId", "Status"}
_COMPARED = {c.name: c.type is not KqlType.DYNAMIC for c in RUN_STATUS_CHANGED}


def ends_of(model: EventModel, said: Said, plan: RowPlan | None, faults: Faults) -> ResolvePolicy | None:
    """How long the alerts of an event rule stay open; None where they are notified and done with."""
    repeat = said(lambda m: m.repeat_every, "repeat_every")
    given = "repeat_every" in model.model_fields_set
    if given and repeat is not None and repeat <= ZERO:
        faults.add(("repeat_every",), "must be longer than nothing", "write for example 4h")
    after = closes_after(model, faults)
    when = model.resolve.when if model.resolve is not None else None
    if isinstance(when, str):
        faults.add(
            ("resolve", "when"), "is a condition, and an event rule resolves by an event",
            "write for example resolve: {when: {status: Completed, same: ExperimentName}}",
        )  # fmt: skip
        when = None
    if model.resolve is None and model.auto_close is None:
        if given:
            faults.add(
                ("repeat_every",), "would go on for ever: nothing ends this alert",
                "add auto_close: 1d, or resolve: {when: {status: Completed, same: ExperimentName}}",
            )  # fmt: skip
        return None
    after = after or FORGOTTEN
    if given and repeat is not None and repeat >= after:
        faults.add(
            ("repeat_every",), f"never comes: the alert is closed after {format_duration(after)}", "make it shorter"
        )
    if when is not None:
        _check_when(when, plan, faults, of_parent_groups=model.collapse is not None)
    return ResolvePolicy(
        after=after,
        repeat=repeat,
        statuses=frozenset(when.status) if when else frozenset(),
        same=when.same if when else (),
    )


def _check_when(when: ResolveWhen, plan: RowPlan | None, faults: Faults, *, of_parent_groups: bool) -> None:
    if not when.same:
        faults.add(("resolve", "when", "same"), "names no column", "write for example same: ExperimentName")
    for i, name in enumerate(when.same):
        if name not in _COMPARED:
            faults.add(("resolve", "when", "same", i), f"'{name}' is no column of an event", suggest(name, _COMPARED))
        elif not _COMPARED[name]:
            faults.add(("resolve", "when", "same", i), f"'{name}' is an object: it cannot be compared as a whole")
        elif of_parent_groups and name not in _OF_PARENTS:
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

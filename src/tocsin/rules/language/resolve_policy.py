"""How alerts end and how often they are notified, from what a file says: `resolve` and `repeat_every`, with every
fault's place.
"""

from __future__ import annotations

from datetime import timedelta

from tocsin.alerts.active import FORGOTTEN, ResolvePolicy
from tocsin.alerts.conditions import REPEAT, ZERO, Terms
from tocsin.config.yaml.document import suggest
from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan.rowplan import RowPlan
from tocsin.model.columns import RUN_STATUS_CHANGED, RUNS, KqlType
from tocsin.rules.language.checks import Faults, Said
from tocsin.rules.language.schema import ResolveWhen, RuleModel


def resolves_when(model: RuleModel, faults: Faults) -> str:
    """The condition on which a firing instance of a window rule resolves; '' where it resolves when it no longer
    fires.
    """
    if model.resolve is None:
        return ""
    if not isinstance(model.resolve.when, str):
        faults.add(
            ("resolve", "when"),
            "belongs to an event rule",
            'a window rule has a condition: resolve: {when: "rate < 0.1"}',
        )
        return ""
    if not model.condition:
        faults.add(
            ("resolve", "when"), "needs `condition:`: a row that the query cut cannot be asked",
            'write the last where as condition: "rate > 0.2"',
        )  # fmt: skip
    return model.resolve.when


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


def absence_terms(model: RuleModel, said: Said, faults: Faults) -> Terms:
    """The life of what an absence rule fires."""
    if model.resolve is not None:
        faults.add(("resolve",), "does not go with an absence rule", "its alert resolves when what is absent comes")
    return Terms(
        repeat=repeats(model, said, faults),
        close_after=closes_after(model, faults),
        send_resolved=model.send_resolved,
    )


_OF_PARENTS = {c.name for c in RUNS if c.type is KqlType.STRING} - {"RunId", "Status"}
_COMPARED = {c.name: c.type is not KqlType.DYNAMIC for c in RUN_STATUS_CHANGED}


def event_resolve_policy(model: RuleModel, said: Said, plan: RowPlan | None, faults: Faults) -> ResolvePolicy | None:
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

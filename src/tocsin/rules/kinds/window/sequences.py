"""Sequences: ``when: {status: Queued, after: Running, times: 3, within: 6h, by: [RunId]}`` as a window rule.

    Running  Queued  Running  Queued  Preparing  Queued  Running  Queued
               1                2                  no               3      fires

What came just before is the run's event before it, in event-time order (SEMANTICS.md), be it up to
``look_back`` older than the window. It fires once until the count falls below ``times`` again, and says nothing of
that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration
from tocsin.errors import QueryError
from tocsin.kql.plan.before import INSIDE, preceded
from tocsin.kql.plan.rowplan import row_plan
from tocsin.model.alert import fingerprint
from tocsin.rules.kinds.window.compile import compile_window
from tocsin.rules.language.schema import RuleModel, When
from tocsin.rules.language.written import Written
from tocsin.rules.spec.rule import Rule

WITHIN = timedelta(hours=24)
REACH = timedelta(days=7)
"""What came just before an event that counts may be so much older than ``within``, where the rule does not say: a
run may run for
days. It has an end, since each tick reads that far back.
"""
LATENESS = timedelta(seconds=1)
"""It is evaluated on ticks: a commit does not read hours of events again."""
_CARRIED = ("ExperimentName", "DisplayName", "WorkspaceName", "Target", "RunType", "OwnerEmail", "TriggeringUserName")
_KEYS = ("after", "times", "within", "by")


def is_sequence(model: RuleModel) -> bool:
    """Whether the rule waits for a sequence."""
    return model.when is not None and (model.when.after is not None or model.when.times is not None)


def faults(when: When) -> Iterator[tuple[KeyPath, str, str]]:
    """What is wrong with a sequence."""
    if not when.status:
        yield ("when",), "does not say which status", "write for example status: Queued"
    for key, text in (("within", when.within), ("times", when.times)):
        if isinstance(text, str):
            yield ("when", key), "is a template: it needs a table", "add for_each: {table: …}, or write a plain value"
    if isinstance(when.within, timedelta) and when.within <= timedelta(0):
        yield ("when", "within"), "must be longer than nothing", "write for example 6h"
    if when.look_back is not None and not when.after:
        yield (
            ("when", "look_back"),
            "is how far back after is looked for, and there is none",
            "add for example after: Running",
        )
    if when.look_back is not None and when.look_back <= timedelta(0):
        yield ("when", "look_back"), "must be longer than nothing", "write for example 7d"
    for key, said in (
        ("final", when.final), ("in_status_for", when.in_status_for is not None),
        ("silent_for", when.silent_for is not None), ("unchanged", bool(when.unchanged)), ("for", when.for_ is not None),
        ("absent", when.absent is not None), ("duration", when.duration is not None),
    ):  # fmt: skip
        if said:
            yield ("when", key), "stands beside after and times", "a rule has one of them"


def sequence_query(when: When, by: tuple[str, ...], *, inside: bool = False) -> str:
    """The sequence as KQL, for a window that sees older events too where ``inside``. ``where`` comes only after the
    order is known, so rules that differ in it share all up to there.
    """
    quoted = ", ".join(f"'{status}'" for status in when.status or ())
    times = when.times or 1
    carried = ", ".join(
        f"{name} = take_any({name})" for name in (("RunId",) if "RunId" not in by else ()) + _CARRIED if name not in by
    )
    if when.after:
        lines = [preceded(when.status or (), when.after, inside=inside)]
    else:
        lines = ["RunStatusChanged", f"| where Status in ({quoted})"]
    if when.where:
        lines += ["| where (", when.where, ")"]
    return "\n".join([
        *lines,
        f"| summarize times = count(), {carried} by {', '.join(by)}",
        f"| where times >= {times}",
    ])  # fmt: skip


def subject(when: When, often: str = "{{ times }} times") -> str:
    """The mail's subject where the rule has none: ``churn: Queued 3 times in 6h``."""
    return f"{{{{ ExperimentName or RunId }}}}: {when.status[0] if when.status else ''} {often}"


def by_of(model: RuleModel) -> tuple[str, ...]:
    """What a sequence is counted for."""
    assert model.when is not None
    return tuple(model.when.by or model.by or ("RunId",))


def compile_sequence(written: Written, *, carries: str = "", naming: tuple[str, ...] = ()) -> Rule | None:
    """As ``compile.compile_rule``, for a sequence. ``carries`` is KQL after its query, which gives the fields
    ``naming``: these name
    its instances besides its own.
    """
    model, schema, wrong = written.model, written.schema, written.faults
    when = model.when
    assert when is not None
    before = len(written.problems)
    for path, message, hint in faults(when):
        wrong.add(path, message, hint)
    if model.resolve is not None:
        wrong.add(
            ("resolve",),
            "does not go with a sequence",
            "its alert ends when the count falls; nobody is notified of that",
        )
    if model.auto_close is not None:
        wrong.add(("auto_close",), "does not go with a sequence", "its alert ends when the count falls")
    columns = schema["RunStatusChanged"]
    by = tuple(name for name in by_of(model) if name not in naming)
    for name in by:
        if name not in columns:
            wrong.add(("when", "by"), f"'{name}' is no column of an event", "write for example by: [RunId]")
    if when.where:
        try:
            row_plan(f"RunStatusChanged\n| where (\n{when.where}\n)", schema)
        except QueryError as e:
            wrong.add_query(("when", "where"), e, 2)
    if model.kind not in (None, "window"):
        wrong.add(("kind",), f"is '{model.kind}', but a sequence makes it a window rule", "write kind: window")
    if len(written.problems) > before:
        return None
    within = when.within if isinstance(when.within, timedelta) else WITHIN
    times = when.times or 1
    as_window = model.model_copy(
        update={
            "when": None, "kind": None, "query": sequence_query(when, by, inside=bool(when.after)) + carries, "by": (*naming, *by), "over": format_duration(within),
            "lateness": LATENESS, "value": "times", "send_resolved": False,
            "summary": model.summary or subject(when, f"{times} times in {format_duration(within)}"),
        }
    )  # fmt: skip
    if when.after:
        schema = {**schema, "RunStatusChanged": {**columns, INSIDE: "bool"}}
    rule = compile_window(replace(written, model=as_window, schema=schema))
    if rule is None or rule.window is None:
        return None
    repeat = written.said(lambda m: m.repeat_every, "repeat_every")
    reach = (when.look_back or REACH) if when.after else timedelta(0)
    window = replace(rule.window, reach=reach, terms=replace(rule.window.terms, repeat=repeat))
    meaning = rule.meaning if reach in (REACH, timedelta(0)) else fingerprint(rule.meaning, repr(reach))
    return replace(rule, query=sequence_query(when, by) + carries, window=window, meaning=meaning)

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
from tocsin.rules.kinds.base import Body, of_model
from tocsin.rules.kinds.window.compile import compile_window
from tocsin.rules.kinds.window.keys import SequenceWhen, WindowModel
from tocsin.rules.kinds.window.spec import WindowSpec
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import Head, Written

WITHIN = timedelta(hours=24)
REACH = timedelta(days=7)
"""What came just before an event that counts may be so much older than ``within``, where the rule does not say: a run
may run for days. It has an end, since each tick reads that far back.
"""
LATENESS = timedelta(seconds=1)
"""It is evaluated on ticks: a commit does not read hours of events again."""
_CARRIED = ("ExperimentName", "DisplayName", "WorkspaceName", "Target", "RunType", "OwnerEmail", "TriggeringUserName")


def faults(when: SequenceWhen) -> Iterator[tuple[KeyPath, str, str]]:
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


def sequence_query(when: SequenceWhen, by: tuple[str, ...], *, inside: bool = False) -> str:
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


def subject(when: SequenceWhen, often: str = "{{ times }} times") -> str:
    """The mail's subject where the rule has none: ``churn: Queued 3 times in 6h``."""
    return f"{{{{ ExperimentName or RunId }}}}: {when.status[0] if when.status else ''} {often}"


def by_of(model: RuleModel, when: SequenceWhen, naming: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What a sequence is counted for, besides columns of a table that are ``naming`` its row."""
    return tuple(name for name in when.by or model.by if name not in naming) or ("RunId",)


def compile_sequence(written: Written, when: SequenceWhen, head: Head) -> Body:
    """As ``Kind.compile``, for a sequence: as the window rule that it stands for."""
    model, schema, wrong = of_model(written.model, WindowModel), written.schema, written.faults
    before = len(written.problems)
    for path, message, hint in faults(when):
        wrong.add(path, message, hint)
    if model.resolve is not None:
        hint = "its alert ends when the count falls; nobody is notified of that"
        wrong.add(("resolve",), "does not go with a sequence", hint)
    if model.auto_close is not None:
        wrong.add(("auto_close",), "does not go with a sequence", "its alert ends when the count falls")
    columns = schema["RunStatusChanged"]
    by = by_of(model, when, written.naming)
    for name in by:
        if name not in columns:
            wrong.add(("when", "by"), f"'{name}' is no column of an event", "write for example by: [RunId]")
    if when.where:
        try:
            row_plan(f"RunStatusChanged\n| where (\n{when.where}\n)", schema)
        except QueryError as e:
            wrong.add_query(("when", "where"), e, 2)
    if len(written.problems) > before:
        return Body(spec=None)
    within = when.within if isinstance(when.within, timedelta) else WITHIN
    times = when.times or 1
    carries = written.extension("times")  # the count is what its alerts carry, whatever a column of the table is called
    as_window = model.model_copy(
        update={
            "when": None, "query": sequence_query(when, by, inside=bool(when.after)) + carries,
            "by": (*written.naming, *by), "over": format_duration(within), "lateness": LATENESS, "value": "times",
            "send_resolved": False,
        }
    )  # fmt: skip
    if when.after:
        schema = {**schema, "RunStatusChanged": {**columns, INSIDE: "bool"}}
    body = compile_window(replace(written, model=as_window, schema=schema), head)
    if not isinstance(body.spec, WindowSpec):
        return body
    repeat = written.said(lambda m: m.repeat_every, "repeat_every")
    reach = (when.look_back or REACH) if when.after else timedelta(0)
    return replace(
        body,
        spec=replace(body.spec, reach=reach, terms=replace(body.spec.terms, repeat=repeat)),
        query=sequence_query(when, by) + carries,
        subject=subject(when)
        if written.lengths_differ
        else subject(when, f"{times} times in {format_duration(within)}"),
    )

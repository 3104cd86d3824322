"""Absence rules: what one waits for, as a value. Their deadlines are computed in ``deadlines_compute``, evaluated in
``deadlines_evaluate``.

when: {status: [Queued, Preparing], in_status_for: 45m}      since it came into these statuses (event time)
when: {status: Running, silent_for: 10m}                     since its last event or heartbeat was received
when: {status: Running, unchanged: Progress, for: 1h}        since its progress last changed
when: {absent: {status: Completed}, cron: "0 2 * * *"}       by the schedule, see ``spec.cron``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar, TypeAlias

from tocsin.alerts.conditions import Terms
from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import in_words
from tocsin.errors import QueryError
from tocsin.kql.plan.rowplan import RowPlan
from tocsin.kql.tokens import TokenKind, tokenize
from tocsin.model.calendars.calendar import Maintenance
from tocsin.model.statuses import TERMINAL, Status
from tocsin.rules.kinds.deadline.keys import DeadlineWhen
from tocsin.rules.spec.baseline import Baseline, baseline
from tocsin.rules.spec.rule import RuleOf, WaitSpec

_CLOCKS = frozenset({"now", "ago", "ingestion_time"})
STANDS_STILL = "Progress"
"""The column that can stand still: heartbeats and events bring it."""


class Form(StrEnum):
    """What is waited for."""

    IN_STATUS = "in_status_for"
    SILENT = "silent_for"
    UNCHANGED = "unchanged"
    LONGER = "duration"  # than it usually takes


FORMS = tuple(Form)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeadlineSpec(WaitSpec):
    """What a rule about single runs waits for: ``length`` without the run moving on."""

    kind: ClassVar[str] = "deadline"
    word: ClassVar[str] = "absence"

    plan: RowPlan  # which runs are waited for
    form: Form
    length: timedelta
    statuses: frozenset[str]  # in which the clock runs
    named: tuple[str, ...] = ()  # the same, as the rule names them
    anyone: bool = False  # whether it is about every run in these statuses
    baseline: Baseline | None = None  # of LONGER, whose length it gives
    terms: Terms = field(default_factory=Terms)
    pauses: tuple[Maintenance, ...] = ()  # that may stop its clocks
    row: Mapping[str, object] = field(default_factory=dict)  # of the table that the rule is one for each row of

    @property
    def words(self) -> tuple[str, ...]:
        return (f"{self.form} {self.length} {self.baseline or ''}".strip(),)


DeadlineRule: TypeAlias = RuleOf[DeadlineSpec]


def form_of(when: DeadlineWhen) -> Form | None:
    """Which absence form ``when`` has; None where it has none (or is about the schedule)."""
    if when.in_status_for is not None:
        return Form.IN_STATUS
    if when.silent_for is not None:
        return Form.SILENT
    if when.duration is not None and when.duration.above:
        return Form.LONGER
    return Form.UNCHANGED if when.unchanged else None


def faults(when: DeadlineWhen) -> Iterator[tuple[KeyPath, str, str]]:
    """(path below the rule, what is wrong, what would be right) of an absence form."""
    given = [key for key, said in _given(when) if said]
    for other in given[1:]:
        yield ("when", other), f"stands beside {given[0]}", "a rule has one of them"
    if "unchanged" in given:
        if when.unchanged != STANDS_STILL:
            yield ("when", "unchanged"), f"'{when.unchanged}' cannot be followed", f"write unchanged: {STANDS_STILL}"
        if when.for_ is None:
            yield ("when", "unchanged"), "does not say for how long", "write for example for: 1h"
    elif when.for_ is not None:
        yield ("when", "for"), f"does not go with {given[0]}", f"{given[0]} says how long already"
    if "in_status_for" in given and not when.status:
        yield ("when", "in_status_for"), "does not say in which status", "write for example status: Queued"
    for word in when.status or ():
        if word in TERMINAL and form_of(when) is not Form.LONGER:
            yield (
                ("when", "status"),
                f"'{word}' ends a run: nothing is waited for then",
                "name statuses of a run under way",
            )
    if when.where and _asks_the_time(when.where):
        yield (
            ("when", "where"),
            "asks what time it is: which runs are waited for is asked when they say something, not as time goes by",
            f"say how long in {given[0]}, and which runs by what is known of them",
        )
    yield from _length_faults(when)


def _length_faults(when: DeadlineWhen) -> Iterator[tuple[KeyPath, str, str]]:
    for key, said in (("in_status_for", when.in_status_for), ("silent_for", when.silent_for), ("for", when.for_)):
        if isinstance(said, str):
            yield ("when", key), "is a template: it needs a table", "add for_each: {table: …}, or write for example 45m"
        elif said is not None and said <= timedelta(0):
            yield ("when", key), "must be longer than nothing", "write for example 10m"


def _asks_the_time(where: str) -> bool:
    try:
        tokens = tokenize(where)
    except QueryError:  # notified where the query is compiled
        return False
    return any(a.kind is TokenKind.NAME and a.text in _CLOCKS and b.text == "(" for a, b in pairwise(tokens))


def _given(when: DeadlineWhen) -> tuple[tuple[str, bool], ...]:
    return (
        (Form.IN_STATUS.value, when.in_status_for is not None),
        (Form.SILENT.value, when.silent_for is not None),
        (Form.UNCHANGED.value, bool(when.unchanged)),
        ("duration", when.duration is not None),
    )


def _length(when: DeadlineWhen) -> timedelta | None:
    return next((d for d in (when.in_status_for, when.silent_for, when.for_) if isinstance(d, timedelta)), None)


def spec_of(when: DeadlineWhen, plan: RowPlan, terms: Terms, row: Mapping[str, object]) -> DeadlineSpec | None:
    """What a ``when`` without faults waits for; None where it waits for nothing."""
    form, length = form_of(when), _length(when)
    past = baseline(when.duration) if form is Form.LONGER and when.duration else None
    if form is None or (length is None and past is None):
        return None
    return DeadlineSpec(
        plan=plan,
        form=form,
        length=length or timedelta(0),
        statuses=frozenset(watched(when)),
        named=watched(when),
        baseline=past,
        anyone=not when.where,
        terms=terms,
        row=dict(row),
    )


def watched(when: DeadlineWhen) -> tuple[str, ...]:
    """Statuses in which the clock runs: every one of a run under way where none is named."""
    return when.status or tuple(s.value for s in Status if s.value not in TERMINAL)


def subject(when: DeadlineWhen, length: timedelta | None) -> str:
    """The mail's subject where the rule has none: ``ranking: Queued or Preparing for 45 min``. ``length`` None: it
    differs.
    """
    what = "{{ ExperimentName or DisplayName or RunId }}"
    lasted, statuses = in_words(length) if length is not None else "{{ Waited }}", watched(when)
    in_them = f"{' or '.join(statuses)} for" if len(statuses) < 3 else "still {{ Status }} after"
    form = form_of(when)
    assert form is not None
    return {
        Form.IN_STATUS: f"{what}: {in_them} {lasted}",
        Form.SILENT: f"{what}: silent for {lasted}",
        Form.UNCHANGED: f"{what}: no progress for {lasted}",
        Form.LONGER: f"{what}: runs longer than its baseline",
    }[form]

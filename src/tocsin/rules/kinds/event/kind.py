"""The kind of event rules: each event that matches, alone, with what collapses, resolves and repeats its alerts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from tocsin.alerts.active import active_alert_of
from tocsin.alerts.conditions import changed
from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan import rowplan
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.instants import Instant, Timer, TimerKind
from tocsin.model.remembered import ConditionState, Parent
from tocsin.rules.failures import attempts_of, lag, note, note_events
from tocsin.rules.kinds.base import (
    Body,
    Explained,
    Filling,
    Finding,
    Given,
    Kind,
    Part,
    Preview,
    Remembered,
    Span,
    of_when,
    repeats_in_words,
)
from tocsin.rules.kinds.event import candidates, timers
from tocsin.rules.kinds.event.commits import evaluate_commits
from tocsin.rules.kinds.event.compile import compile_event, text_of
from tocsin.rules.kinds.event.keys import EventModel, EventWhen
from tocsin.rules.kinds.event.matching import matches
from tocsin.rules.kinds.event.parents.collapse import forget
from tocsin.rules.kinds.event.resolve import timers as resolving
from tocsin.rules.kinds.event.rules import EventRules
from tocsin.rules.kinds.event.spec import EventRule, EventSpec
from tocsin.rules.kinds.previews import of_events
from tocsin.rules.language.lint_query import Findings
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import Head, Written
from tocsin.rules.spec.rule import Rule
from tocsin.rules.timers import Released

COMMITS_AT_ONCE = 1000
"""Commits that a rule which lags takes in one step."""
_ENDS = frozenset({"Failed", "Canceled", "Completed", "NotResponding"})


class EventKind(Kind[EventSpec, EventRules]):
    """Event rules."""

    name, word, called = "event", "event", "an event rule"
    how = "`when: {status: …}`, or a `query:` that keeps each event"
    order = 1
    model, when = EventModel, EventWhen
    own = frozenset({"final_after"})
    conditions = False

    def claims(self, model: RuleModel) -> tuple[KeyPath, str] | None:
        """As ``Kind.claims``: what no other kind claims is an event rule."""
        return None

    def compile(self, written: Written, head: Head) -> Body:
        return compile_event(written, head)

    def text(self, model: RuleModel) -> str:
        when = of_when(model.when, EventWhen)
        return model.query if when is None else text_of(when)[0]

    def constants(self, rule: EventRule) -> tuple[str, Sequence[object]] | None:
        return rule.query, rule.spec.plan.constants

    def filled(self, rule: EventRule, filling: Filling) -> EventRule | None:
        return replace(rule, spec=replace(rule.spec, plan=rowplan.with_values(rule.spec.plan, filling.values)))

    def gather(self, rules: tuple[EventRule, ...]) -> EventRules:
        return EventRules(rules)

    def remembers(self, rule: EventRule) -> bool:
        return rule.spec.resolve_policy is not None

    def on_commits(self, rules: EventRules, commits: Sequence[CommitInfo], after: int, given: Given) -> None:
        if not rules.rules or not any(c.rows for c in commits):
            return
        memory = given.memory
        failures = evaluate_commits(rules, commits, after, given.reader, memory, given.source_progress, memory.follows)
        first, last = commits[0], commits[-1]
        note_events(failures, last.ingested_at, last.seq, memory)
        cursor = Instant(at=first.ingested_at, timer=False, commit_seq=after)
        for name, error in failures.rules.items():
            lag(name, error, cursor, last.ingested_at, last.seq, memory)

    def on_timers(self, rules: EventRules, kind: TimerKind, released: Sequence[Released], given: Given) -> None:
        reader, memory, progress = given.reader, given.memory, given.source_progress
        if kind is TimerKind.FINAL_AFTER:
            for _, alike in groupby(released, key=lambda r: r.commit_seq):
                group = list(alike)
                failures = timers.evaluate_deadlines(group, rules.by_name, reader, memory, progress)
                note(failures, group[-1].at, group[-1].commit_seq, memory)
        elif kind is TimerKind.CLOSE:
            # one of a Parent is of what a rule has counted of a parent, not of an alert
            open_ = [each for each in released if not isinstance(each.timer.data, Parent)]
            resolving.on_wakes(open_, rules.by_name, reader, memory, progress)
            for each in released:
                if isinstance(each.timer.data, Parent):
                    forget(each.timer, memory)
        else:
            super().on_timers(rules, kind, released, given)

    def retry(self, rules: EventRules, rule: EventRule, released: Released, given: Given) -> None:
        memory, attempts = given.memory, attempts_of(released)
        record = memory.record(rule.name)
        assert record.cursor is not None
        after = record.cursor.commit_seq
        commits = [c for c in given.reader.commits(after, COMMITS_AT_ONCE) if c.seq <= released.commit_seq]
        if commits:
            only = EventRules((rule,))
            failures = evaluate_commits(only, commits, after, given.reader, memory, given.source_progress)
            note_events(failures, released.at, released.commit_seq, memory)
            if error := failures.rules.get(rule.name):
                lag(rule.name, error, record.cursor, released.at, released.commit_seq, memory, attempts)
                return
        if len(commits) < COMMITS_AT_ONCE:
            memory.put_record(replace(record, cursor=None))
            return
        last = commits[-1]
        lagging = Instant(at=last.ingested_at, timer=False, commit_seq=last.seq)
        memory.put_record(replace(record, cursor=lagging))
        memory.put_timer(Timer(rule=rule.name, kind=TimerKind.RETRY, key="", due=released.at))

    def standing(self, rules: EventRules) -> Mapping[str, str]:
        return {rule.name: f"{rule.meaning} {rule.spec.resolve_policy}" for rule in rules.opening}

    def schedule(
        self, rules: EventRules, names: Collection[str], timers: Collection[Timer], at: datetime, commit_seq: int,
        given: Given,
    ) -> None:  # fmt: skip
        """As ``Kind.schedule``: what is open is brought in line with its rule."""
        opening = [rule for rule in rules.opening if rule.name in names and given.memory.follows(rule.name)]
        failures = resolving.schedule_deadlines(opening, at, commit_seq, given.reader, given.memory)
        note(failures, at, commit_seq, given.memory)

    def candidates(self, rule: EventRule, log: LogReader, span: Span, remembered: Remembered) -> Iterator[Part]:
        return candidates.candidates(rule, log, span, remembered)

    def apart(self, rule: EventRule) -> timedelta | None:
        return candidates.apart(rule)

    def decides(self, rule: EventRule, timer: Timer, ahead: object) -> bool:
        return candidates.decides(rule, timer, ahead)

    def changed(self, rule: EventRule, state: ConditionState) -> ConditionState | None:
        if rule.spec.resolve_policy is None and active_alert_of(state) is not None:
            return None
        return changed(state)

    def explain(self, rule: EventRule) -> Explained:
        spec, policy = rule.spec, rule.spec.resolve_policy
        ends = ""
        if policy is not None:
            by_event = [f"by {policy.words}"] if policy.recovers else []
            ends = "; ".join([*by_event, f"closed after {format_duration(policy.after)}"])
        return Explained(
            ends=ends,
            repeats=repeats_in_words(policy.repeat if policy is not None else None),
            final=_final_in_words(spec),
            collapse=spec.collapse.words if spec.collapse else "",
            shape=spec.plan.shape,
            constants=spec.plan.constants,
            sql=spec.plan.sql,
        )

    def lint(self, rule: EventRule, findings: Findings | None) -> Iterator[Finding]:
        if findings is not None and findings.always:
            yield Finding("", "fires for every event: no condition keeps any out", "say which with where")
        said = [p for p in rule.prefilter if p.column == "Status" and not p.path]
        if rule.spec.final and said and not any({str(v) for v in p.values} & _ENDS for p in said):
            words = ", ".join(str(v) for v in said[0].values)
            yield Finding("when.final", f"says nothing of {words}: only what ends can be followed by another attempt")

    def sense(self, rule: EventRule) -> tuple[object, ...]:
        spec = rule.spec
        collapse = spec.collapse.words if spec.collapse else ""
        return (rule.kind, spec.plan.shape, spec.plan.constants, spec.finals is None, collapse)

    def lint_all(self, rules: Mapping[str, Rule]) -> Iterator[tuple[Rule, Finding]]:
        """As ``Kind.lint_all``: rules that notify each run of what another one collapses."""
        mine: list[EventRule] = [rule for rule in rules.values() if isinstance(rule.spec, EventSpec)]  # type: ignore[misc]
        single = {self.sense(rule): rule for rule in mine if not rule.spec.collapse}
        for rule in mine:
            alone = replace(rule, spec=replace(rule.spec, collapse=None))
            other = single.get(self.sense(alone)) if rule.spec.collapse else None
            if other is not None:
                message = f"saves no mail: {other.name} at {other.place} notifies of each run"
                yield rule, Finding("collapse", message, "disable one of the two")

    def preview(self, rule: EventRule, reader: LogReader, at: datetime) -> Preview:
        return of_events(rule, reader, matches)


def _final_in_words(spec: EventSpec) -> str:
    if spec.finals is None:
        return "no, each attempt counts"
    of = f" of {' and '.join(sorted(spec.finals))}" if spec.finals else ""
    return f"yes, only the last attempt{of}; where it is not known, after {format_duration(spec.final_after)}"


KIND = EventKind()

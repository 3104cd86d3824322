"""The kind of absence rules by a schedule: ``when: {absent: {status: Completed}, cron: "0 2 * * *"}``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.alerts.conditions import Terms
from tocsin.config.yaml.document import KeyPath
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.calendars.calendar import Calendar, Maintenance
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.failures import note
from tocsin.rules.kinds import pausing, waiting
from tocsin.rules.kinds.base import (
    Body,
    Due,
    Explained,
    Finding,
    Given,
    Kind,
    Preview,
    Rows,
    of_when,
)
from tocsin.rules.kinds.previews import of_events
from tocsin.rules.kinds.schedule import evaluate
from tocsin.rules.kinds.schedule import spec as specs
from tocsin.rules.kinds.schedule.compile import compile_schedule
from tocsin.rules.kinds.schedule.keys import ScheduleWhen
from tocsin.rules.kinds.schedule.spec import ScheduleRule, ScheduleSpec
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import Head, Written
from tocsin.rules.memory import Memory
from tocsin.rules.queries import matches
from tocsin.rules.timers import Released

Schedules = tuple[ScheduleRule, ...]


class ScheduleKind(Kind[ScheduleSpec, Schedules]):
    """Absence rules by a schedule. A rule goes over all rows of its table."""

    name, word, called = "schedule", "absence", "an absence rule"
    how = "`absent` and `cron`"
    order = 3
    when = ScheduleWhen
    expands = True

    def claims(self, model: RuleModel) -> tuple[KeyPath, str] | None:
        when = of_when(model.when, ScheduleWhen)
        return None if when is None or when.absent is None else (("when", "absent"), "`absent`")

    def compile(self, written: Written, head: Head) -> Body:
        return compile_schedule(written, head)

    def text(self, model: RuleModel) -> str:
        when = of_when(model.when, ScheduleWhen)
        return specs.schedule_query(when, {})[0] if when is not None else ""

    def doubts(self, rule: ScheduleRule) -> Iterator[Finding]:
        if rule.enabled and not rule.spec.when.timezone and not rule.spec.zone:
            hint = "write timezone: Europe/Budapest beside it, under defaults: or in tocsin.yaml"
            yield Finding("when.cron", "no time zone is set, so its times are UTC", hint)

    def with_rows(self, rule: ScheduleRule, rows: Rows) -> ScheduleRule:
        spec = rule.spec
        return replace(rule, spec=replace(spec, items=spec.over(rows(rule, spec.table)))) if spec.table else rule

    def under(self, rule: ScheduleRule, maintenance: Sequence[Maintenance]) -> ScheduleRule:
        return replace(rule, spec=replace(rule.spec, pauses=pausing.pauses_among(rule, maintenance)))

    def gather(self, rules: Schedules) -> Schedules:
        return rules

    def on_commits(self, rules: Schedules, commits: Sequence[CommitInfo], after: int, given: Given) -> None:
        if following := _following(rules, given.memory):
            failures = evaluate.on_commits(following, commits, after, given.reader, given.memory)
            note(failures, commits[-1].ingested_at, commits[-1].seq, given.memory)

    def on_timers(self, rules: Schedules, kind: TimerKind, released: Sequence[Released], given: Given) -> None:
        by_name = {rule.name: rule for rule in rules}
        memory, progress = given.memory, given.source_progress
        if kind is TimerKind.DEADLINE:
            failures = evaluate.on_deadlines(released, by_name, given.reader, memory, progress)
            note(failures, released[-1].at, released[-1].commit_seq, memory)
        elif kind is TimerKind.CLOSE:
            for each in released:
                evaluate.on_wake(each, by_name[each.timer.rule], memory, progress)
        else:
            super().on_timers(rules, kind, released, given)

    def standing(self, rules: Schedules) -> Mapping[str, str]:
        """As ``Kind.standing``. A table's rows may have changed under the same meaning: what is expected is compared
        again after each reload.
        """
        return {rule.name: f"{rule.meaning} {id(rules)}" for rule in rules}

    def schedule(
        self, rules: Schedules, names: Collection[str], timers: Collection[Timer], at: datetime, commit_seq: int,
        given: Given,
    ) -> None:  # fmt: skip
        chosen = [rule for rule in _following(rules, given.memory) if rule.name in names]
        evaluate.schedule_deadlines(chosen, timers, given.memory, at, commit_seq)
        note(evaluate.still_missing(chosen, given.reader, given.memory, at, commit_seq), at, commit_seq, given.memory)

    def apart(self, rule: ScheduleRule) -> None:
        """As ``Kind.apart``: what is expected ends what fires."""
        return None

    def consumers(self, rule: ScheduleRule) -> frozenset[str]:
        """As ``Kind.consumers``: it may never have brought anything."""
        return frozenset({rule.spec.consumer} - {""})

    def terms(self, rule: ScheduleRule) -> Terms:
        return rule.spec.terms

    def explain(self, rule: ScheduleRule) -> Explained:
        spec = rule.spec
        when = spec.when
        said = {
            "cron": when.cron,
            "timezone": when.timezone or spec.zone or "UTC",
            "grace": when.grace or "none",
            "early": when.early,
            "rows": f"{len(spec.items)} of table {spec.table}" if spec.table else "",
            "consumer": when.consumer,
            "except": _days(when.except_ if isinstance(when.except_, str) else "", spec.calendar),
        }
        return waiting.explained(rule, said)

    def expects(self, rule: ScheduleRule, now: datetime, most: int) -> Iterator[Due]:
        for item in rule.spec.items[:most]:
            at = item.schedule.after(now)
            for _ in range(most):
                if at is None:
                    break
                yield Due(instance=item.instance, at=at, due=at + item.schedule.grace, zone=item.schedule.zone)
                at = item.schedule.after(at)

    def preview(self, rule: ScheduleRule, reader: LogReader, at: datetime) -> Preview:
        return of_events(rule, reader, matches)


def _following(rules: Schedules, memory: Memory) -> list[ScheduleRule]:
    return [rule for rule in rules if memory.follows(rule.name)]


def _days(name: str, calendar: Calendar) -> str:
    """Which days do not count: ``company: holidays of HU, 3 dates from 2026-12-24 to 2026-12-31``."""
    parts = []
    if calendar.country:
        parts.append("holidays of " + "-".join(filter(None, (calendar.country, calendar.subdivision))))
    if dates := sorted(calendar.dates):
        span = f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else f"{dates[0]}"
        parts.append(f"{len(dates)} {'date' if len(dates) == 1 else 'dates'}, {span}")
    said = " and ".join(parts) or ("no day" if name else "")
    return f"{name}: {said}" if name else said


KIND = ScheduleKind()

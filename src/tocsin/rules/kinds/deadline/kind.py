"""The kind of absence rules about single runs: ``when: {status: Queued, in_status_for: 45m}``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.alerts.conditions import Terms
from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan import rowplan
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.calendars.calendar import Maintenance
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.failures import note
from tocsin.rules.kinds import pausing, waiting
from tocsin.rules.kinds.base import Body, Explained, Filling, Given, Kind, Part, Preview, Remembered, Span, of_when
from tocsin.rules.kinds.deadline import commits, evaluate
from tocsin.rules.kinds.deadline import spec as specs
from tocsin.rules.kinds.deadline.compile import compile_deadline, text_of
from tocsin.rules.kinds.deadline.due import When
from tocsin.rules.kinds.deadline.generated import GeneratedRules, generated_rules_of
from tocsin.rules.kinds.deadline.keys import DeadlineWhen
from tocsin.rules.kinds.deadline.replay.ahead import Ahead, candidates
from tocsin.rules.kinds.deadline.spec import DeadlineRule, DeadlineSpec
from tocsin.rules.kinds.previews import of_events
from tocsin.rules.language import lengths
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import Head, Written
from tocsin.rules.memory import Memory
from tocsin.rules.queries import Failures, matches
from tocsin.rules.spec import baseline as baselines
from tocsin.rules.spec.rule import of_spec, public_name
from tocsin.rules.timers import Released

Generated = Mapping[str, GeneratedRules]


class DeadlineKind(Kind[DeadlineSpec, Generated]):
    """Absence rules about single runs. Their deadlines follow from the log: they are in memory only."""

    name, word, called = "deadline", "absence", "an absence rule"
    how = "`in_status_for`, `silent_for`, `unchanged` or `duration: {above: …}`"
    order = 4
    when = DeadlineWhen
    fills_lengths = True

    def claims(self, model: RuleModel) -> tuple[KeyPath, str] | None:
        when = of_when(model.when, DeadlineWhen)
        form = specs.form_of(when) if when is not None else None
        return None if form is None else (("when", form.value), f"`{form.value}`")

    def compile(self, written: Written, head: Head) -> Body:
        return compile_deadline(written, head)

    def text(self, model: RuleModel) -> str:
        when = of_when(model.when, DeadlineWhen)
        return text_of(when)[0] if when is not None else ""

    def constants(self, rule: DeadlineRule) -> tuple[str, Sequence[object]] | None:
        return rule.query, rule.spec.plan.constants

    def filled(self, rule: DeadlineRule, filling: Filling) -> DeadlineRule | None:
        when = of_when(filling.when, DeadlineWhen)
        assert when is not None
        try:
            when = of_when(lengths.filled(when, filling.row), DeadlineWhen) or when
        except ValueError:
            return None
        if any(specs.faults(when)) or (when.duration is not None and any(baselines.faults(when))):
            return None
        plan = rowplan.with_values(rule.spec.plan, filling.values)
        spec = specs.spec_of(when, plan, rule.spec.terms, filling.row)
        return None if spec is None else replace(rule, spec=spec)

    def under(self, rule: DeadlineRule, maintenance: Sequence[Maintenance]) -> DeadlineRule:
        if rule.each is not None:
            rows = tuple(self.under(of_spec(each, DeadlineSpec), maintenance) for each in rule.each.rules)
            rule = replace(rule, each=replace(rule.each, rules=rows))
        return replace(rule, spec=replace(rule.spec, pauses=pausing.pauses_among(rule, maintenance)))

    def gather(self, rules: tuple[DeadlineRule, ...]) -> Generated:
        """As ``Kind.gather``: rules by what is written."""
        return {generated.name: generated for generated in generated_rules_of(rules)}

    def on_commits(self, rules: Generated, commits_: Sequence[CommitInfo], after: int, given: Given) -> None:
        following, ahead = _following(rules, given.memory), given.ahead
        if following and isinstance(ahead, Ahead):
            for each in commits_:
                runs = ahead.moved(each.seq, given.memory)
                _compute(following, dict.fromkeys(runs, When(each.seq, each.ingested_at)), given, ahead)
        elif following:
            failures = commits.on_commits(following, commits_, after, given.reader, given.memory, given.source_progress)
            note(failures, commits_[-1].ingested_at, commits_[-1].seq, given.memory)

    def on_timers(self, rules: Generated, kind: TimerKind, released: Sequence[Released], given: Given) -> None:
        reader, memory, progress = given.reader, given.memory, given.source_progress
        ahead = given.ahead if isinstance(given.ahead, Ahead) else None
        if kind is TimerKind.DEADLINE:
            by_known = [(None, released)] if ahead is None else ahead.as_known((r.timer.key, r) for r in released)
            for known, some in by_known:
                failures = evaluate.on_deadlines(some, rules, reader, memory, progress, known)
                note(failures, some[-1].at, some[-1].commit_seq, memory)
        elif kind is TimerKind.CLOSE:
            by_name = {rule.name: rule for generated in rules.values() for rule in generated.rules}
            stand = evaluate.standing if ahead is None else ahead.stand
            evaluate.on_wakes(released, by_name, reader, memory, progress, stand)
        else:
            super().on_timers(rules, kind, released, given)
        if ahead is not None:
            ahead.note(memory)

    def standing(self, rules: Generated) -> Mapping[str, str]:
        return {
            name: " ".join(f"{rule.name} {rule.meaning} {pausing.fingerprint_of(rule)}" for rule in generated.rules)
            for name, generated in rules.items()
        }

    def schedule(
        self, rules: Generated, names: Collection[str], timers: Collection[Timer], at: datetime, commit_seq: int,
        given: Given,
    ) -> None:  # fmt: skip
        wanted = {public_name(name) for name in names}
        chosen = [generated for generated in _following(rules, given.memory) if generated.name in wanted]
        if isinstance(given.ahead, Ahead):
            _compute(chosen, given.ahead.begins, given, given.ahead)
            return
        failures = commits.schedule_deadlines(chosen, given.reader, given.memory, given.source_progress, at, commit_seq)
        note(failures, at, commit_seq, given.memory)

    def candidates(self, rule: DeadlineRule, log: LogReader, span: Span, remembered: Remembered) -> Iterator[Part]:
        return candidates(rule, log, span)

    def terms(self, rule: DeadlineRule) -> Terms:
        return rule.spec.terms

    def explain(self, rule: DeadlineRule) -> Explained:
        spec = rule.spec
        length = "than usual" if spec.baseline is not None else format_duration(spec.length)
        return waiting.explained(rule, {"waits_for": f"{spec.form} {length}", "in": ", ".join(spec.named)})

    def preview(self, rule: DeadlineRule, reader: LogReader, at: datetime) -> Preview:
        return of_events(rule, reader, matches)


def _following(rules: Generated, memory: Memory) -> list[GeneratedRules]:
    """Rules that are known; of those of a table's rows each is evaluated when it comes to it."""
    return [each for each in rules.values() if not each.alone or memory.follows(each.rules[0].name)]


def _compute(rules: list[GeneratedRules], whens: Mapping[str, When], given: Given, ahead: Ahead) -> None:
    """Compute runs of which a backtest knows the history, each at its own instant."""
    failures = Failures()
    for known, runs in ahead.as_known((run, run) for run in whens):
        moved = commits.Moved(whens={run: whens[run] for run in runs}, known=known)
        commits.compute(rules, moved, given.reader, given.memory, given.source_progress, failures)
    if whens:
        last = max(whens.values(), key=lambda when: when.at)
        note(failures, last.at, last.seq, given.memory)
    ahead.note(given.memory)


KIND = DeadlineKind()

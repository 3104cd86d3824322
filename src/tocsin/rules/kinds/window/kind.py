"""The kind of window rules: a query over a window of time, and sequences, which are made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.alerts.conditions import Terms
from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan import windowplan
from tocsin.logstore.interface import CommitInfo, Limits, LogReader
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.statuses import Severity
from tocsin.rules.failures import attempts_of
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
    ends_in_words,
    of_model,
    of_when,
    repeats_in_words,
)
from tocsin.rules.kinds.base import Span as History
from tocsin.rules.kinds.previews import SHOWN
from tocsin.rules.kinds.window import instants, replay
from tocsin.rules.kinds.window.compile import compile_window
from tocsin.rules.kinds.window.keys import SequenceWhen, WindowModel
from tocsin.rules.kinds.window.rules import WindowRules
from tocsin.rules.kinds.window.scope import Span, scope
from tocsin.rules.kinds.window.sequences import by_of, compile_sequence, sequence_query
from tocsin.rules.kinds.window.spec import Life, WindowRule, WindowSpec
from tocsin.rules.kinds.window.ticks import first_ticks, tick_key
from tocsin.rules.language.lint_query import Findings
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.language.written import Head, Written
from tocsin.rules.timers import Released

_LIMITS = Limits(seconds=10.0, rows=1000)


class WindowKind(Kind[WindowSpec, WindowRules]):
    """Window rules: at ticks, and eagerly at commits."""

    name, word, called = "window", "window", "a window rule"
    how, when_how = "`query:` and `over:`", "`after` or `times`"
    order = 2
    model, when = WindowModel, SequenceWhen
    own = frozenset({"no_data", "max_instances"})
    thresholds = True

    def claims(self, model: RuleModel) -> tuple[KeyPath, str] | None:
        if (sequence := _sequence(model)) is not None:
            return ("when", "after" if sequence.after is not None else "times"), "a sequence"
        window = of_model(model, WindowModel)
        if model.when is not None or not (window.sql or "over" in model.model_fields_set):
            return None
        return ("over",), "`over:`"

    def compile(self, written: Written, head: Head) -> Body:
        sequence = _sequence(written.model)
        return compile_window(written, head) if sequence is None else compile_sequence(written, sequence, head)

    def text(self, model: RuleModel) -> str:
        sequence = _sequence(model)
        if sequence is not None:
            return sequence_query(sequence, by_of(model, sequence))
        return model.query or of_model(model, WindowModel).sql

    def constants(self, rule: WindowRule) -> tuple[str, Sequence[object]] | None:
        """As ``Kind.constants``. A row stands beside SQL, which has no constants of it."""
        query = rule.spec.query
        return ("", ()) if query.raw_sql else (query.text, query.constants)

    def filled(self, rule: WindowRule, filling: Filling) -> WindowRule | None:
        query = rule.spec.query
        filled = windowplan.with_values(query, filling.values, filling.text(query.text))
        return replace(rule, spec=replace(rule.spec, query=filled))

    def gather(self, rules: tuple[WindowRule, ...]) -> WindowRules:
        return WindowRules(rules)

    def on_commits(self, rules: WindowRules, commits: Sequence[CommitInfo], after: int, given: Given) -> None:
        instants.on_commits(rules, commits, after, given)

    def on_timers(self, rules: WindowRules, kind: TimerKind, released: Sequence[Released], given: Given) -> None:
        if kind in (TimerKind.TICK, TimerKind.FOR):
            instants.on_timers(rules, released, given)
        else:
            super().on_timers(rules, kind, released, given)

    def retry(self, rules: WindowRules, rule: WindowRule, released: Released, given: Given) -> None:
        instants.again(rules, rule, released, given, attempts_of(released))

    def first_timers(self, rules: WindowRules, timers: Iterable[Timer], now: datetime) -> Iterable[Timer]:
        return first_ticks(rules.rules, timers, now)

    def candidates(self, rule: WindowRule, log: LogReader, span: History, remembered: Remembered) -> Iterator[Part]:
        return replay.candidates(rule, log, span, remembered)

    def shortest_wait(self, rules: WindowRules) -> timedelta | None:
        """As ``Kind.shortest_wait``: the shortest ``for`` that a commit can begin."""
        return rules.shortest_for

    def severities(self, rule: WindowRule) -> frozenset[Severity]:
        return frozenset({rule.severity, *(severity for severity, _ in rule.spec.severities)})

    def exports(self, rule: WindowRule) -> str:
        return rule.spec.export

    def shared_timer(self, rule: WindowRule) -> str:
        return tick_key(rule.spec.every)

    def terms(self, rule: WindowRule) -> Terms:
        return rule.spec.terms

    def explain(self, rule: WindowRule) -> Explained:
        spec, terms = rule.spec, rule.spec.terms
        hold = f"{terms.n_of_m[0]} of {terms.n_of_m[1]}" if terms.n_of_m else format_duration(terms.hold)
        looks_back = f"{format_duration(spec.reach)} more, for what came just before"
        return Explained(
            ends=ends_in_words(terms),
            repeats=repeats_in_words(terms.repeat),
            shape=spec.query.shape,
            sql=windowplan.window_plan([spec.query]).built.sql,
            window={
                "over": spec.over.value if isinstance(spec.over, Life) else format_duration(spec.over),
                "every": format_duration(spec.every),
                "lateness": format_duration(spec.lateness),
                "for": hold,
                "keep_firing_for": format_duration(terms.keep_firing),
                "no_data": terms.no_data.value,
                "repeat_every": repeats_in_words(terms.repeat),
                "early": "yes" if spec.evaluates_early else "no",
                **({"looks_back": looks_back} if spec.reach else {}),
            },
        )

    def whole_query(self, rule: WindowRule) -> str:
        """As ``Kind.whole_query``: the query with the condition after it."""
        if not rule.spec.condition:
            return rule.query
        return f"{rule.query.rstrip().removesuffix(';')}\n| where (\n{rule.spec.condition}\n)"

    def lint(self, rule: WindowRule, findings: Findings | None) -> Iterator[Finding]:
        if findings is not None and findings.always:
            message = "fires whenever there is any event: nothing is compared"
            yield Finding("", message, "add for example condition: failed > 3")

    def preview(self, rule: WindowRule, reader: LogReader, at: datetime) -> Preview:
        """As ``Kind.preview``: what its query gives now."""
        spec = rule.spec
        plan, head = windowplan.window_plan([spec.query]), reader.head()
        cut = scope(plan.built.tables, Span(spec.over, spec.lateness, spec.reach), at, head.seq, reader, [rule.name])
        sql, parameters = plan.bind([0], cut.tables, ())
        if plan.built.uses_now:
            parameters["kqlnow"] = cut.hi.replace(tzinfo=None)
        table = reader.select(f"SELECT * FROM ({sql}) LIMIT {SHOWN}", {**parameters, **cut.parameters}, _LIMITS)
        names = [name for name in plan.built.columns if name not in spec.beside]
        rows = table.select(names).to_pylist()  # dynamic values stay JSON text
        return Preview(rows=rows, of="the window as it would be seen now")


def _sequence(model: RuleModel) -> SequenceWhen | None:
    when = of_when(model.when, SequenceWhen)
    return when if when is not None and (when.after is not None or when.times is not None) else None


KIND = WindowKind()

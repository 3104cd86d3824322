"""Window rules over instants: rules of a shape share one query, and each instance lives by ``alerts.conditions``.

tick (T)        all rules of an ``every``: may begin, fire and end; what would end waits for the watermarks
early (commit)  rules without lateness that its rows can be about: may begin and fire
deadline        the end of a ``for``: its instance alone
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from tocsin.alerts.changes import Change
from tocsin.alerts.conditions import LIVE, Evaluation, EvaluationKind, NoData, Step, evaluate, matters
from tocsin.errors import QueryError
from tocsin.kql.plan.windowplan import EVENTS, WindowPlan, window_plan
from tocsin.logstore.interface import Limits, LogReader
from tocsin.model.alert import Phase, instance_key
from tocsin.model.details import NONE, Details
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import ConditionState, Remembered, Row
from tocsin.model.statuses import Severity
from tocsin.rules.emit import emit
from tocsin.rules.index import matching_sql
from tocsin.rules.kinds.base import Given
from tocsin.rules.kinds.window.instance_rows import MORE, SHOWN, InstanceRows, Rows, row_key
from tocsin.rules.kinds.window.replay import Frame
from tocsin.rules.kinds.window.scope import Span, scope
from tocsin.rules.kinds.window.spec import WindowRule
from tocsin.rules.labels import labels_of
from tocsin.rules.language.templates import checked
from tocsin.rules.memory import Measured, Memory
from tocsin.rules.queries import Failures

LIMITS = Limits(seconds=60.0, rows=1_000_000)
FEW, AT_ONCE = 8, 2
"""From so many queries on, so many are made at once."""
HELD = "held"
"""Key of the timer of an absence rule for watermarks to end something."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Rules that share one query; a rule's place is its number."""

    rules: tuple[WindowRule, ...]
    plan: WindowPlan


def grouped(rules: Iterable[WindowRule]) -> list[Group]:
    """Groups of ``rules`` by shape and span. Rules that cannot share a plan are queried alone."""
    alike: dict[tuple[object, ...], list[WindowRule]] = defaultdict(list)
    for rule in rules:
        window = rule.spec
        alike[(window.query.shape, window.over, window.reach, window.lateness, window.every)].append(rule)
    groups: list[Group] = []
    for each in alike.values():
        try:
            groups.append(Group(rules=tuple(each), plan=window_plan([r.spec.query for r in each])))
        except QueryError:
            groups += [Group(rules=(r,), plan=window_plan([r.spec.query])) for r in each]
    return groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """When windows are evaluated."""

    at: datetime  # T; UTC
    commit_seq: int
    kind: EvaluationKind
    waits_for: frozenset[str] = frozenset()  # consumers that are not reached up to T yet: until then nothing ends
    watermark: datetime | None = None  # of what waited: all has reported up to then; it ends if it was over then, too


def evaluate_windows(
    groups: Iterable[Group],
    when: Instant,
    given: Given,
    *,
    only: frozenset[str] | None = None,
    instances: Mapping[str, frozenset[str]] | None = None,
) -> Failures:
    """Look at the rules of ``groups`` (``only`` those, where given; of each ``instances`` alone, by rule, where given).

    What ``given.ahead`` knows of this instant is not read again. Decides into ``memory``; returns what failed:
    nothing was decided of a rule that did.
    """
    failures = Failures()
    reader, memory = given.reader, given.memory
    frame: Frame | None = given.ahead
    asked: list[_Asked] = []
    for group in groups:
        numbers = [
            n for n, rule in enumerate(group.rules) if (only is None or rule.name in only) and memory.follows(rule.name)
        ]
        if numbers:
            states = {n: memory.conditions(group.rules[n].name) for n in numbers}
            asked.append(_Asked(group=group, numbers=numbers, states=states))
    for one, seen in zip(asked, _select_all(asked, when, reader, frame), strict=True):
        _evaluate(one, seen, when, reader, memory, instances, failures)
    return failures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A query to be made: rules of a group by number, and what is remembered of each."""

    group: Group
    numbers: Sequence[int]
    states: Mapping[int, Mapping[str, ConditionState]]


Answer = dict[int, dict[str, InstanceRows]] | QueryError
"""number → row key → what was seen of it; or why nothing was."""


def _select_all(asked: Sequence[_Asked], when: Instant, reader: LogReader, frame: Frame | None) -> list[Answer]:
    """The answers, in order. Many short queries are mostly planned: two at once use two cores."""
    if len(asked) < FEW:
        return [_answer(one, when, reader, frame) for one in asked]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="windows") as pool:
        return list(pool.map(lambda one: _answer(one, when, reader), asked))


def _answer(one: _Asked, when: Instant, reader: LogReader, frame: Frame | None = None) -> Answer:
    if frame is not None:
        seen = frame.seen(when.at, when.commit_seq, one.states[0].values())
        if seen is not None:
            return {0: seen}
    try:
        return _select(one.group, one.numbers, one.states, when, reader)
    except QueryError as e:
        return e


def _evaluate(
    one: _Asked,
    seen: Answer,
    when: Instant,
    reader: LogReader,
    memory: Memory,
    instances: Mapping[str, frozenset[str]] | None,
    failures: Failures,
) -> None:
    group, numbers = one.group, one.numbers
    then: Answer = {}
    if when.watermark is not None and not isinstance(seen, QueryError):
        then = _answer(one, replace(when, at=when.watermark), reader)
        seen = then if isinstance(then, QueryError) else seen
    if isinstance(seen, QueryError):  # the rule on which it fails is found by halving
        if len(numbers) == 1:
            failures.rules[group.rules[numbers[0]].name] = seen
            return
        half = len(numbers) // 2
        for part in (numbers[:half], numbers[half:]):
            less = replace(one, numbers=part)
            _evaluate(less, _answer(less, when, reader), when, reader, memory, instances, failures)
        return
    earlier = {} if isinstance(then, QueryError) else then
    for n in numbers:
        rule, states = group.rules[n], one.states[n]
        now = Answered(rule, seen.get(n, {}), states, when.at, when.commit_seq, reader)
        before = None
        if when.watermark is not None:
            before = Answered(rule, earlier.get(n, {}), states, when.watermark, when.commit_seq, reader)
        if now.found or states or rule.spec.export:
            _evaluate_rule(now, before, states, when, memory, None if instances is None else instances.get(rule.name))


def _select(
    group: Group,
    numbers: Sequence[int],
    states: Mapping[int, Mapping[str, ConditionState]],
    when: Instant,
    reader: LogReader,
) -> dict[int, dict[str, InstanceRows]]:
    """number → row key → what was seen of it."""
    window, plan = group.rules[0].spec, group.plan
    names = [group.rules[n].name for n in numbers]
    span = Span(window.over, window.lateness, window.reach)
    cut = scope(plan.built.tables, span, when.at, when.commit_seq, reader, names)
    known = [(n, row_key(s)) for n in numbers for s in states[n].values()]
    specs = [group.rules[n].spec for n in numbers]
    every = any(spec.terms.no_data is NoData.ALERT or spec.export for spec in specs)
    sql, parameters = plan.bind(numbers, cut.tables, known, every=every)
    if plan.built.uses_now:
        parameters["kqlnow"] = cut.hi.replace(tzinfo=None)
    table = reader.select(sql, {**parameters, **cut.parameters}, LIMITS)
    found: dict[int, dict[str, InstanceRows]] = defaultdict(dict)
    if table.num_rows == 0:
        return found
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    rows = Rows(columns, plan.built.columns)
    for i, (number, key) in enumerate(zip(columns["rule_no"], columns["key"], strict=True)):
        rows.add(group.rules[number], i, found[number].setdefault(key, InstanceRows(clear=True)))
    return found


class Answered:
    """What a query answered of a rule at one T."""

    def __init__(
        self, rule: WindowRule, found: Mapping[str, InstanceRows], states: Mapping[str, ConditionState], at: datetime,
        commit_seq: int, reader: LogReader,
    ) -> None:  # fmt: skip
        self.rule, self.found, self._at, self._seq, self._reader = rule, found, at, commit_seq, reader
        self.by_key = _at_most(rule, _by_key(rule, found), states)

    @cached_property
    def any_row(self) -> bool:
        """Whether a row of the whole window passes the rule's prefilter."""
        return bool(self.found) or any_row(self.rule, self._at, self._seq, self._reader)

    def seen(self, name: str) -> InstanceRows | None:
        """What was seen of an instance."""
        return self.by_key[name][2] if name in self.by_key else None

    def has_data(self, name: str, instance: Mapping[str, object]) -> bool:
        """Whether there is data about an instance. One that is not among the rows, while others are, holds no longer:
        there is no data only where the whole window has none. ``no_data: alert`` alone asks of each instance.
        """
        rule = self.rule
        if name in self.by_key or not (rule.spec.query.events and rule.by):
            return True
        if instance and all(value == MORE for value in instance.values()):
            return True  # nothing is beyond the limit any more
        return rule.spec.terms.no_data is not NoData.ALERT and self.any_row


def any_row(rule: WindowRule, at: datetime, commit_seq: int, reader: LogReader) -> bool:
    """Whether a row of the window at ``at``, as of commit ``commit_seq``, passes the rule's prefilter."""
    cut = scope(frozenset({EVENTS}), Span(rule.spec.over, rule.spec.lateness), at, commit_seq, reader)
    where, values = matching_sql(rule.prefilter)
    sql = f"SELECT 1 FROM ({cut.tables[EVENTS]}) WHERE {where} LIMIT 1"
    return bool(reader.select(sql, {**cut.parameters, **values}).num_rows)


def _evaluate_rule(
    now: Answered,
    before: Answered | None,
    states: Mapping[str, ConditionState],
    when: Instant,
    memory: Memory,
    instances: frozenset[str] | None,
) -> None:
    """Every instance of a rule that was seen or is remembered; of ``instances`` alone, where given. ``before`` is what
    was seen as of ``when.watermark``.
    """
    for name in sorted(now.by_key.keys() | states.keys()):
        if instances is None or name in instances:
            _decide(now, before, name, states.get(name), when, memory)
    if now.rule.spec.export:
        whole = instances is None and when.kind is EvaluationKind.TICK
        memory.measured.append(_measured(now, memory.conditions(now.rule.name), whole=whole))


def _measured(now: Answered, states: Mapping[str, ConditionState], *, whole: bool) -> Measured:
    """What a rule exports: the value of each instance seen, whether or not it fires; of one that is not seen any more,
    the last value while it lives.
    """
    values: list[tuple[Mapping[str, object], float | None]] = [
        (instance, seen.value) for instance, _, seen in now.by_key.values()
    ]
    for name, state in states.items():
        if name not in now.by_key:
            values.append((state.instance, state.value if state.phase in LIVE else None))
    return Measured(metric=now.rule.spec.export, values=tuple(values), whole=whole)


def _by_key(
    rule: WindowRule, found: Mapping[str, InstanceRows]
) -> dict[str, tuple[dict[str, object], str, InstanceRows]]:
    by_key: dict[str, tuple[dict[str, object], str, InstanceRows]] = {}
    for key, one in found.items():
        instance = {name: one.first.get(name) for name in rule.by}
        by_key[instance_key(instance)] = (instance, key, one)
    return by_key


def _at_most(
    rule: WindowRule,
    by_key: dict[str, tuple[dict[str, object], str, InstanceRows]],
    states: Mapping[str, ConditionState],
) -> dict[str, tuple[dict[str, object], str, InstanceRows]]:
    """No more instances than ``max_instances``: those that live already, then by key; one stands for all others."""
    most = rule.spec.max_instances
    holding = [key for key, (_, _, one) in by_key.items() if one.holds]
    if len(holding) <= most:
        return by_key
    living = {key for key, state in states.items() if state.phase in LIVE}
    stay = set(sorted(holding, key=lambda k: (k not in living, k))[:most])
    beyond = [key for key in holding if key not in stay]
    left = {key: each for key, each in by_key.items() if key in stay or key not in holding}
    instance: dict[str, object] = dict.fromkeys(rule.by, MORE)
    worst = min(by_key[key][2].severity for key in beyond)
    rows = [by_key[key][2].first for key in sorted(beyond)[:SHOWN]]
    more = InstanceRows(
        rows=rows,
        holds=True,
        severity=worst,
        value=float(len(beyond)),
        first={**rows[0], **instance, "instances": len(beyond)},
        count=len(beyond),
    )
    left[instance_key(instance)] = (instance, "", more)
    return left


def _decide(
    now: Answered, then: Answered | None, key: str, state: ConditionState | None, when: Instant, memory: Memory
) -> None:
    rule, window = now.rule, now.rule.spec
    instance, row_key, seen = now.by_key.get(key, (dict(state.instance) if state else {}, "", None))
    evaluated = _evaluated(now, key, instance, state, when)
    kept = (state.data.row if state is not None else None) or Row()
    earlier = None if then is None else _evaluated(then, key, instance, state, when)
    if _must_wait(evaluated, state, when, earlier):
        _hold(rule, state, kept, when, memory)
        return
    step = evaluate(state, evaluated, window.terms, rule=rule.name, instance=instance)
    if when.kind is not EvaluationKind.EARLY:
        kept = replace(kept, held=None)
    fields = seen.first if seen is not None else {}
    if seen is not None and (step.notify is not None or kept == Row()):
        kept = replace(
            kept,
            labels=labels_of(rule, fields),
            fields={name: fields.get(name) for name in rule.fields},
            summary={name: fields.get(name) for name in checked(rule.info.summary)[1] if name in fields},
            key=row_key,
        )
    change = _change_of(step.change(evaluated, instance, when.commit_seq), kept, seen)
    limit = state.data.limit if state is not None else False
    beyond = emit(memory, rule, change, beyond=limit)
    if change.kind is IntentKind.FIRED:
        limit = beyond
    _remember(rule, key, state, step, replace(step.state.data, row=kept, limit=limit) if step.state else None, memory)
    _set_for(rule, key, step, memory)


def _change_of(change: Change, kept: Row, seen: InstanceRows | None) -> Change:
    """``change`` with what is ``kept`` of its instance, and the rows that were ``seen``."""
    fields = seen.first if seen is not None else {**kept.summary, **kept.fields, **change.instance}
    run = fields.get("RunId")
    return replace(
        change,
        labels=kept.labels,
        fields=kept.fields,
        run_id=run if isinstance(run, str) else "",
        event=fields,
        rows=seen.rows if seen is not None and change.kind is not IntentKind.RESOLVED else (),
        details=Details(rows=seen.count) if seen is not None and seen.count > 1 else NONE,
    )


def _evaluated(
    answered: Answered, key: str, instance: Mapping[str, object], state: ConditionState | None, when: Instant
) -> Evaluation:
    seen, rule = answered.seen(key), answered.rule
    return Evaluation(
        at=when.at,
        kind=when.kind,
        holds=seen is not None and seen.holds,
        clear=seen is None or seen.clear,
        data=when.kind is EvaluationKind.EARLY or answered.has_data(key, instance),
        severity=rule.severity if seen is None or seen.severity > 4 else Severity(seen.severity),
        value=seen.value if seen is not None else (state.value if state else None),
    )


def _must_wait(evaluated: Evaluation, state: ConditionState | None, when: Instant, then: Evaluation | None) -> bool:
    """A tick that would end something, or evaluate that there is no data, waits for the watermarks; so does the end
    of a ``for``.

    One that waited is evaluated at its release, but a watermark is never quite at T, and after an outage well behind
    it: what is missing since could make an end that is none. So it must have looked the same ``then``, when all
    reported.
    """
    if not when.waits_for or when.kind is EvaluationKind.EARLY or state is None:
        return False
    ends = (state.phase in (Phase.FIRING, Phase.RECOVERING) and not evaluated.holds) or not evaluated.data
    return ends and (then is None or _word(then) != _word(evaluated))


def _word(evaluated: Evaluation) -> tuple[bool, bool, bool]:
    return (evaluated.holds, evaluated.clear, evaluated.data)


def waiting_of(states: Mapping[str, ConditionState]) -> frozenset[str]:
    """Which instances wait for watermarks, by key."""
    return frozenset(key for key, state in states.items() if state.data.row is not None and state.data.row.held)


def _hold(rule: WindowRule, state: ConditionState | None, kept: Row, when: Instant, memory: Memory) -> None:
    if state is None or (kept.held is not None and when.watermark is None):
        return
    memory.put_condition(replace(state, data=replace(state.data, row=replace(kept, held=when.at))))
    memory.put_timer(Timer(rule=rule.name, kind=TimerKind.TICK, key=HELD, due=when.at, consumers=when.waits_for))


def _remember(
    rule: WindowRule, key: str, state: ConditionState | None, step: Step, data: Remembered | None, memory: Memory
) -> None:
    if step.state is None or data is None:
        if state is not None:
            memory.drop_condition(rule.name, key)
        return
    after = replace(step.state, data=data)
    if matters(state, after):
        memory.put_condition(after)


def _set_for(rule: WindowRule, key: str, step: Step, memory: Memory) -> None:
    if not rule.spec.terms.hold:
        return
    if step.after is Phase.PENDING and step.before is not Phase.PENDING and step.wake is not None:
        memory.put_timer(Timer(rule=rule.name, kind=TimerKind.FOR, key=key, due=step.wake))
    elif step.before is Phase.PENDING and step.after is not Phase.PENDING:
        memory.drop_timer(rule.name, TimerKind.FOR, key)

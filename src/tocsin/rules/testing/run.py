"""Inline tests: each notifies its events to the production engine and compares what it notified with what was
expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tocsin.alerts.conditions import is_silent
from tocsin.clock import SystemClock
from tocsin.config.yaml.document import resolved
from tocsin.config.yaml.durations import format_duration
from tocsin.model.alert import Phase
from tocsin.model.event import Commit
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.remembered import Attempt, ConditionState, Parent
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.language import test_events as testevents
from tocsin.rules.language.schema import Expect, InlineTest
from tocsin.rules.spec.rule import Rule
from tocsin.rules.testing.simulator import HEARTBEAT, METRICS, Simulator, Step
from tocsin.state.sqlite import SqliteState

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""A Monday noon: when a test starts that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """How an inline test went."""

    __test__ = False

    rule: str
    name: str
    passed: bool
    faults: tuple[str, ...]  # what was expected and did not come true, in words
    timeline: str  # what happened, one line each
    seconds: float
    file: str
    line: int  # of the rule

    def __str__(self) -> str:
        if self.passed:
            return f"{self.rule}: {self.name}: passed"
        return "\n".join([f"{self.file}:{self.line}: {self.rule}: {self.name}: FAILED", *self.faults, self.timeline])


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """How people would get an intent."""

    subject: str
    receivers: tuple[str, ...]


Presents = Callable[[Intent, RuleInfo], Presented]


def run_tests(rules: RuleSet, only: Sequence[str] = (), presents: Presents | None = None) -> list[TestResult]:
    """Run the inline tests of ``rules``, disabled ones too; ``only`` names rules, all where empty.

    Raises KeyError for a rule in ``only`` that there is not.
    """
    chosen = [rules.rules[name] for name in only] if only else rules.rules.values()
    return list(each_test(chosen, presents=presents))


def each_test(
    rules: Iterable[Rule],
    wants: Callable[[Rule, InlineTest], bool] = lambda _, __: True,
    presents: Presents | None = None,
) -> Iterator[TestResult]:
    """Run the inline tests of ``rules`` that ``wants`` takes, one after the other, with one state emptied for each.

    A state of its own for each would cost as much as the test: its statements would be compiled again.
    """
    with closing(SqliteState.open(None, clock=SystemClock())) as state:
        for rule in rules:
            for test in rule.tests:
                if wants(rule, test):
                    yield run_test(rule, test, state, presents)


def run_test(
    rule: Rule, test: InlineTest, state: SqliteState | None = None, presents: Presents | None = None
) -> TestResult:
    """Run one test of one rule, alone in stores of its own, or in ``state``, of which everything is forgotten first.

    ``presents`` says how people would get an intent; without it, a test that expects something of that fails.
    """
    clock = SystemClock()
    began = clock.monotonic()
    start = test.start or START
    timeline: list[str] = []
    faults: list[str] = []
    notified: list[Intent] = []
    with Simulator(
        RuleSet({rule.name: kind_of(rule).under(replace(rule, enabled=True), ())}), start, test.tables, state
    ) as simulator:
        for at, events, expected in stops(test):
            for step in simulator.advance(start + at):
                _note(step, start, timeline, notified)
            if events:
                for step in simulator.arrive(event_rows(test, events, start)):
                    _note(step, start, timeline, notified)
            for expect in expected:
                faults += _compare(expect, notified)
                faults += _compare_presented(expect, rule.info, notified, presents)
                names = simulator.rules.enabled
                states = [state for name in names for state in simulator.state.conditions(name).values()]
                faults += _compare_instances(expect, states)
    return TestResult(
        rule=rule.name,
        name=test.name,
        passed=not faults,
        faults=tuple(faults),
        timeline="\n".join(timeline) or "  nothing happened",
        seconds=clock.monotonic() - began,
        file=rule.place.file,
        line=rule.place.line,
    )


def stops(test: InlineTest) -> Iterator[tuple[timedelta, list[int], list[Expect]]]:
    """The times at which something arrives or is expected, with the numbers of the events."""
    for at in sorted({e.at for e in test.events} | {e.at for e in test.expect}):
        yield at, [i for i, e in enumerate(test.events) if e.at == at], [e for e in test.expect if e.at == at]


def event_rows(test: InlineTest, numbers: Sequence[int], start: datetime) -> list[dict[str, object]]:
    """These events of a test as columns by name."""
    rows = []
    for number in numbers:
        event = test.events[number]
        row: dict[str, object] = {"EventId": f"event-{number + 1}", "TimeGenerated": start + event.at}
        if event.heartbeat:
            row[HEARTBEAT] = True
        if event.metrics:
            row[METRICS] = resolved(event.metrics)
        rows.append(row | testevents.columns(event, start))
    return rows


def _note(step: Step, start: datetime, timeline: list[str], notified: list[Intent]) -> None:
    after = format_duration(step.at - start)
    when = f"  +{after:<8}" + (" " if len(after) >= 8 else "")
    if step.commit is not None:
        timeline += [when + line for line in _arrived(step.commit)]
    for timer in filter(_shown, step.timers):
        timeline.append(
            f"{when}{timer.kind.replace('_', ' ')} came for {timer.data.run if isinstance(timer.data, Attempt) else timer.key}"
        )
    for transition in step.evaluation.outcome.transitions:
        instance = ", ".join(f"{k}={v}" for k, v in transition.instance.items())
        detail = f", {transition.detail}" if transition.detail else ""
        timeline.append(f"{when}{transition.after} {instance}: {transition.reason}{detail}")
    for intent in step.evaluation.outcome.intents:
        notified.append(intent)
        if intent.limited:
            timeline.append(f"{when}beyond the limit: waits to be a line of a digest")
        if intent.kind is IntentKind.REPEATED:
            timeline.append(f"{when}notified again: {intent.why}")
        expired = intent.details.expired
        if intent.kind is IntentKind.SUMMARY:
            timeline.append(f"{when}summary: {expired.count if expired else 0} were expired")
    for timer in filter(_shown, step.evaluation.outcome.timers):
        timeline.append(f"{when}waits for {timer.kind.replace('_', ' ')} at +{format_duration(timer.due - start)}")
    for failure in step.evaluation.failures:
        timeline.append(f"{when}the rule failed: {failure.error}")


def _shown(timer: Timer) -> bool:
    return timer.kind is not TimerKind.TICK and not isinstance(timer.data, Parent)


def _arrived(commit: Commit) -> Iterator[str]:
    for receipt in commit.receipts:
        for letter in receipt.dead:
            yield f"a dead letter: {letter.reason}: {letter.detail}"
    stored = ", ".join(f"{status} × {n}" for status, n in sorted(commit.statuses.items()))
    duplicates = sum(r.duplicate for r in commit.receipts)
    again = f"{duplicates} known already" if duplicates else ""
    yield f"arrived: {'; '.join(filter(None, (stored, again))) or 'nothing'}"


def _compare(expect: Expect, notified: Sequence[Intent]) -> Iterator[str]:
    at = format_duration(expect.at)
    for word, wanted, kinds in (
        ("notifications", expect.notifications, {IntentKind.FIRED, IntentKind.REPEATED}),
        ("resolved", expect.resolved, {IntentKind.RESOLVED}),
    ):
        got = sum(i.kind in kinds and not i.limited for i in notified)
        if wanted is not None and got != wanted:
            yield f"  at {at}: {word} should be {wanted}, is {got}"


def _compare_presented(
    expect: Expect, info: RuleInfo, notified: Sequence[Intent], presents: Presents | None
) -> Iterator[str]:
    if expect.subject is None and expect.receivers is None:
        return
    at, last = format_duration(expect.at), next((i for i in reversed(notified) if not i.limited), None)
    if last is None or presents is None:
        yield f"  at {at}: " + (
            "nothing was notified yet" if last is None else "subject and receivers are not known here"
        )
        return
    shown = presents(last, info)
    if expect.subject is not None and expect.subject != shown.subject:
        yield f"  at {at}: subject should be '{expect.subject}', is '{shown.subject}'"
    if expect.receivers is not None and sorted(expect.receivers) != sorted(shown.receivers):
        wanted, got = (", ".join(sorted(names)) or "nobody" for names in (expect.receivers, shown.receivers))
        yield f"  at {at}: receivers should be {wanted}, are {got}"


_PHASES = {"firing": frozenset({Phase.FIRING, Phase.RECOVERING}), "pending": frozenset({Phase.PENDING})}


def _compare_instances(expect: Expect, states: Sequence[ConditionState]) -> Iterator[str]:
    for word, wanted in (("firing", expect.firing), ("pending", expect.pending)):
        if wanted is None:
            continue
        left = [_fields(state) for state in states if state.phase in _PHASES[word]]
        there = _in_words(left)
        missing = []
        for one in sorted(wanted, key=len, reverse=True):
            match = next((fields for fields in left if _fits(one, fields)), None)
            if match is None:
                missing.append(one)
            else:
                left.remove(match)
        if missing or left:
            held = any(is_silent(state) for state in states if state.phase in _PHASES[word]) and left
            why = (
                "; there is no data for it any more, and `no_data: keep` holds it for 24 h (`ok` lets it end)"
                if held
                else ""
            )
            yield f"  at {format_duration(expect.at)}: {word} should be {_in_words(wanted)}, is {there}{why}"


def _fields(state: ConditionState) -> Mapping[str, object]:
    """What an expectation may name: the instance, labels and kept fields, `severity`."""
    carried: dict[str, object] = {}
    for part in (state.data.row, state.data.active):
        if part is not None:
            carried |= {**part.fields, **part.labels}
    return {"severity": state.severity.word, **carried, **state.instance}


def _fits(wanted: Mapping[str, object], fields: Mapping[str, object]) -> bool:
    return all(name in fields and str(resolved(value)) == str(fields[name]) for name, value in wanted.items())


def _in_words(instances: Iterable[Mapping[str, object]]) -> str:
    return "; ".join(", ".join(f"{name}={value}" for name, value in one.items()) for one in instances) or "none"

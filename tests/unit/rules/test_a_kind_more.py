"""A kind of rules is a package with one interface: one more, written here, works in every place that rules do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import pytest
from pydantic import Field

from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.alerts.changes import Change
from tocsin.clock import SystemClock
from tocsin.config.yaml.document import KeyPath
from tocsin.errors import ConfigurationError
from tocsin.kql.plan.prefilter import Predicate
from tocsin.logstore.interface import CommitInfo, LogReader
from tocsin.model.alert import Phase, Why, instance_key
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import ConditionState
from tocsin.rules.backtest.run import backtest
from tocsin.rules.emit import emit
from tocsin.rules.inspect.explain import explain
from tocsin.rules.inspect.lint import lint
from tocsin.rules.inspect.preview import last_rows
from tocsin.rules.kinds.base import Body, Explained, Finding, Given, Kind, Preview, Span, of_when
from tocsin.rules.kinds.registry import registered, rules_json_schema
from tocsin.rules.language.lint_query import Findings
from tocsin.rules.language.schema import RuleModel, When
from tocsin.rules.language.written import Head, Written
from tocsin.rules.spec.rule import RuleOf, Spec
from tocsin.rules.testing.run import run_tests

MakeEngine = Callable[..., Engine]

RULES = """
rules:
  - name: half-way
    kind: progress
    when: {passes: 0.5}
    tests:
      - name: once, when it passes
        events:
          - {at: 0m, RunId: r, Status: Running, Progress: 0.4}
          - {at: 1m, RunId: r, Status: Running, Progress: 0.6}
          - {at: 2m, RunId: r, Status: Running, Progress: 0.7}
        expect:
          - {at: 0m, notifications: 0}
          - {at: 2m, notifications: 1}
"""


class ProgressWhen(When):
    """Runs whose progress passes a value."""

    passes: float | None = Field(None, description="fires when Progress passes it", examples=[0.5])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgressSpec(Spec):
    kind: ClassVar[str] = "progress"
    word: ClassVar[str] = "progress"
    passes: float

    @property
    def prefilter(self) -> tuple[Predicate, ...]:
        return ()

    @property
    def tables(self) -> frozenset[str]:
        return frozenset({"RunStatusChanged"})

    @property
    def words(self) -> tuple[str, ...]:
        return (str(self.passes),)


Rule = RuleOf[ProgressSpec]
PASSED = "SELECT RunId, max(Progress) AS p FROM ({}) GROUP BY RunId HAVING max(Progress) > $passes ORDER BY RunId"


class ProgressKind(Kind[ProgressSpec, tuple[Rule, ...]]):
    name, word, called, how = "progress", "progress", "a progress rule", "`passes`"
    when = ProgressWhen

    def claims(self, model: RuleModel) -> tuple[KeyPath, str] | None:
        when = of_when(model.when, ProgressWhen)
        return None if when is None or when.passes is None else (("when", "passes"), "`passes`")

    def compile(self, written: Written, head: Head) -> Body:
        when = of_when(written.model.when, ProgressWhen)
        assert when is not None and when.passes is not None
        columns = written.schema["RunStatusChanged"]
        return Body(spec=ProgressSpec(passes=when.passes), columns=columns, by=("RunId",))

    def gather(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return rules

    def on_commits(self, rules: tuple[Rule, ...], commits: Sequence[CommitInfo], after: int, given: Given) -> None:
        for commit in commits:
            rows_sql, params = given.reader.rows_of(after, commit.seq)
            for rule in rules:
                for row in given.reader.select(
                    PASSED.format(rows_sql), {**params, "passes": rule.spec.passes}
                ).to_pylist():
                    self._fire(rule, row, commit, given)
            after = commit.seq

    def _fire(self, rule: Rule, row: Mapping[str, object], commit: CommitInfo, given: Given) -> None:
        instance: dict[str, object] = {"RunId": row["RunId"]}
        at, memory = commit.ingested_at, given.memory
        if memory.condition(rule.name, instance_key(instance)) is not None:
            return
        state = ConditionState(rule=rule.name, instance=instance, phase=Phase.FIRED, since=at, severity=rule.severity)
        memory.put_condition(state)
        change = Change(
            instance=instance, occurrence=at.isoformat(), before=Phase.NONE, after=Phase.FIRED, why=Why.THRESHOLD,
            kind=IntentKind.FIRED, severity=rule.severity, run_id=str(row["RunId"]), commit_seq=commit.seq, at=at,
        )  # fmt: skip
        emit(memory, rule, change)

    def explain(self, rule: Rule) -> Explained:
        return Explained(waits={"passes": str(rule.spec.passes)})

    def lint(self, rule: Rule, findings: Findings | None) -> Iterator[Finding]:
        if rule.spec.passes >= 1:
            yield Finding("when.passes", "never fires: a run's progress ends at 1")

    def preview(self, rule: Rule, reader: LogReader, at: datetime) -> Preview:
        return Preview(of="nothing")


@pytest.fixture(autouse=True)
def progress() -> Iterator[None]:
    with registered(ProgressKind()):
        yield


def test_it_fires_live(engine: MakeEngine) -> None:
    """Once for a run, at the commit that brings it over the value."""
    e = engine(RULES)
    e.come({"RunId": "r", "Status": "Running", "Progress": 0.4}, {"RunId": "s", "Status": "Running", "Progress": 0.9})
    e.come({"RunId": "r", "Status": "Running", "Progress": 0.6})
    e.come({"RunId": "r", "Status": "Running", "Progress": 0.7})
    assert ["s", "r"] == [intent.run_id for intent in e.notified()]


def test_its_inline_tests_run(load: Load) -> None:
    (result,) = run_tests(load(RULES))
    assert result.passed, str(result)


def test_it_is_backtested(engine: MakeEngine) -> None:
    e = engine(RULES)
    for minute, progress in enumerate((0.4, 0.6, 0.7)):
        e.at(f"{minute}m").store({"RunId": "r", "Status": "Running", "Progress": progress})
    rule = e.rules.rules["half-way"]
    found = backtest(rule, e.log, Span(since=NOON, until=e.at("1h").clock.now()), clock=SystemClock())
    assert (1, ()) == (found.notified_count, found.errors)


def test_people_see_what_it_does(load: Load, engine: MakeEngine) -> None:
    rules = load(RULES.replace("passes: 0.5", "passes: 1.5"))
    rule = rules.rules["half-way"]
    assert ("progress", {"passes": "1.5"}) == (explain(rule).kind, explain(rule).waits)
    assert ["half-way: when.passes"] == [problem.key for problem in lint(rules)]
    assert "nothing" == last_rows(rule, engine(RULES).log, NOON).of
    assert "passes" in rules_json_schema()["$defs"]["When"]["properties"]


def test_its_keys_are_its_own(load: Load) -> None:
    """A rule of another kind that has one is refused by name, as one of it that has another's."""
    for when, fault in (
        ("{passes: 0.5, silent_for: 10m}", "stands beside"),
        ("{status: Failed, passes: 0.5, final: true}", "when.final: belongs to an event rule"),
        ("{status: Failed, pases: 0.5}", "did you mean 'passes'?"),
    ):
        with pytest.raises(ConfigurationError) as raised:
            load(f"rules:\n  - name: a\n    when: {when}\n")
        assert fault in str(raised.value)

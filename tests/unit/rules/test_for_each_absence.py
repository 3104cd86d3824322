"""`for_each` of absence rules for runs, and of sequences: lengths out of a table, one deadline for a run."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import LIMITS_ROWS, NOON, Engine, Load, Loaded
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import ConfigurationError
from tocsin.model.alert import Phase, Why
from tocsin.model.calendars.calendar import Maintenance
from tocsin.rules.backtest.run import backtest
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.deadline.generated import FEW
from tocsin.rules.kinds.deadline.kind import KIND as DEADLINE
from tocsin.rules.kinds.pausing import under
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.kind import KIND as WINDOW
from tocsin.rules.testing.run import run_tests
from tocsin.rules.testing.simulator import Simulator, Step

STUCK = """
rules:
  - name: stuck
    for_each: {table: limits}
    when: {status: [Queued, Preparing], in_status_for: "{{ longest * 10 }}m", where: "ExperimentName == experiment"}
    labels: {team: "{{ team }}"}
    fields: [longest]
"""
FORMS = {
    "stuck": "status: Running, in_status_for: '{{ longest }}h'",
    "silent": "status: Running, silent_for: '{{ longest }}h'",
    "still": "status: Running, unchanged: Progress, for: '{{ longest }}h'",
}
AGAIN = """
rules:
  - name: again
    for_each: {table: limits}
    when: {status: Queued, after: Running, times: "{{ longest }}", within: "{{ longest }}h", where: "ExperimentName == experiment"}
    fields: [team]
"""


def run(name: str, experiment: str, status: str = "Queued", **more: object) -> dict[str, object]:
    return {"RunId": name, "Status": status, "ExperimentName": experiment, **more}


def test_each_row_waits_for_its_own_time(using: Callable[..., Engine]) -> None:
    """Its columns fill the length, name the instance and are fields of the alert."""
    e = using(STUCK)
    e.come(run("c", "churn"), run("f", "fraud"), run("o", "other"))
    e.at("19m").tick()
    assert [] == e.notified()
    e.at("20m").tick()
    (notified,) = e.notified()
    assert ("stuck", {"RunId": "f", "experiment": "fraud"}) == (notified.rule, notified.instance)
    assert ({"team": "risk"}, {"longest": 2}) == (notified.labels, notified.fields)
    e.at("60m").tick()
    assert ["f", "c"] == [i.run_id for i in e.notified()]
    e.come(run("f", "fraud", "Running"))
    (over,) = e.resolved()
    assert (notified.rule, notified.instance, notified.occurrence, notified.fields) == (
        over.rule, over.instance, over.occurrence, over.fields
    )  # fmt: skip
    assert {"stuck"} == {t.rule for each in e.evaluations for t in each.outcome.transitions}


@pytest.mark.parametrize("form", FORMS)
def test_it_goes_with_every_form(form: str, using: Callable[..., Engine]) -> None:
    e = using(
        f"rules: [{{name: a, for_each: {{table: limits}}, when: {{{FORMS[form]}, where: 'ExperimentName == experiment'}}}}]"
    )
    e.come(run("c", "churn", "Running", Progress=0.1), run("f", "fraud", "Running", Progress=0.1))
    e.at("119m").tick()
    assert [] == e.notified()
    e.at("2h").tick()
    assert ["f"] == [i.run_id for i in e.notified()]
    e.at("6h").tick()
    assert ["f", "c"] == [i.run_id for i in e.notified()]


def test_a_run_out_of_line_with_its_past_by_its_rows_factor(using: Callable[..., Engine]) -> None:
    e = using("""
        rules:
          - name: slow
            for_each: {table: limits}
            when:
              status: Running
              where: "ExperimentName == experiment"
              duration: {above: "{{ longest }} * p50", last: 30d, min_runs: 2}
        """)
    for n in range(2):
        for experiment in ("churn", "fraud"):
            name = f"{experiment}{n}"
            e.store(run(name, experiment, "Running", TimeGenerated="-2h"))
            e.store(run(name, experiment, "Completed", TimeGenerated="-1h"))
    e.come(run("c", "churn", "Running"), run("f", "fraud", "Running"))
    e.at("119m").tick()
    assert [] == e.notified()
    e.at("2h").tick()
    assert ["f"] == [i.run_id for i in e.notified()]
    e.at("6h").tick()
    assert ["f", "c"] == [i.run_id for i in e.notified()]


def test_a_run_has_one_deadline_however_many_rows_are_about_it(using: Callable[..., Engine]) -> None:
    """The first of them; once that row has notified, the next one's. Each ends for itself."""
    rows = [{"experiment": name, "longest": n, "team": name} for n, name in ((3, "a"), (1, "b"), (2, "c"))]
    e = using(STUCK.replace("ExperimentName == experiment", "DisplayName contains experiment"), rows)
    e.come(run("r1", "x", DisplayName="abc"), run("r2", "x", DisplayName="c"))
    assert [("stuck", "r1"), ("stuck", "r2")] == sorted((rule, name) for rule, name, _ in e.deadlines)
    for minute, expected in (("10m", ["r1 b"]), ("20m", ["r1 c", "r2 c"]), ("30m", ["r1 a"])):
        e.at(minute).tick()
        now = [f"{i.run_id} {i.labels['team']}" for i in e.notified() if i.at == e.clock.now()]
        assert expected == sorted(now)
    assert 0 == len(e.deadlines)
    e.restart()
    e.at("40m").tick()
    assert 4 == len(e.notified())
    e.come(run("r1", "x", "Running", DisplayName="abc"))
    assert ["a", "b", "c"] == sorted(str(i.labels["team"]) for i in e.resolved())


def test_what_is_too_old_for_several_rows_is_passed_over_once_for_each(using: Callable[..., Engine]) -> None:
    rows = [{"experiment": name, "longest": n, "team": name} for n, name in ((3, "a"), (1, "b"))]
    e = using(STUCK.replace("ExperimentName == experiment", "DisplayName contains experiment"), rows)
    e.at("3d").come(run("r1", "x", DisplayName="ab", TimeGenerated="0s"))
    e.tick()
    e.at("4d").tick()
    expired = [
        t.instance["experiment"] for x in e.evaluations for t in x.outcome.transitions if t.after is Phase.EXPIRED
    ]
    assert (["a", "b"], 0) == (sorted(map(str, expired)), len(e.notified()))


def test_of_many_rows_only_those_are_asked_that_a_run_can_be_about(table: Loaded, using: Callable[..., Engine]) -> None:
    rows = [{"experiment": f"e{n}", "longest": n + 1, "team": "x"} for n in range(FEW + 10)]
    e = using(STUCK, rows)
    e.come(run("r1", "e0"), run("r2", "e7"), run("r3", "none"))
    e.at("10m").tick()
    e.at("80m").tick()
    assert [("r1", "e0"), ("r2", "e7")] == [(i.run_id, i.instance["experiment"]) for i in e.notified()]
    (generated,) = table(STUCK, rows).of(DEADLINE).values()
    assert 1 == len({rule.spec.plan.shape for rule in generated.rules})
    assert len(rows) == len(generated.rules)


def test_a_row_that_goes_ends_without_a_notification_one_that_comes_waits_for_what_is_there(
    using: Callable[..., Engine], table: Loaded
) -> None:
    e = using(STUCK)
    e.come(run("f", "fraud"), run("n", "new"))
    e.at("20m").tick()
    e.use(table(STUCK, [LIMITS_ROWS[0], {"experiment": "new", "longest": 3, "team": "x"}]))
    assert {} == e.state.conditions("stuck[fraud]")
    gone = [row.row for row in e.state.mirror_after(0) if row.row["Reason"] == Why.RULE_GONE.value]
    assert (["stuck"], []) == ([row["Rule"] for row in gone], e.resolved())
    e.at("30m").tick()
    assert ["f", "n"] == [i.run_id for i in e.notified()]


def test_another_number_moves_the_deadline(using: Callable[..., Engine], table: Loaded) -> None:
    """What fires and would not yet ends; what waits waits for the new one."""
    e = using(STUCK)
    e.come(run("c", "churn"), run("f", "fraud"))
    e.at("20m").tick()
    e.use(table(STUCK, [{**LIMITS_ROWS[0], "longest": 4}, {**LIMITS_ROWS[1], "longest": 3}]))
    e.at("21m").tick()
    assert ["f"] == [i.run_id for i in e.notified()]
    assert {} == e.state.conditions("stuck[fraud]")
    e.at("30m").tick()
    e.at("40m").tick()
    assert ["f", "f", "c"] == [i.run_id for i in e.notified()]


def test_another_template_is_another_meaning(table: Loaded) -> None:
    first, second = (table(STUCK.replace("* 10", by)).rules["stuck"].each for by in ("* 10", "* 20"))
    assert first is not None
    assert second is not None
    assert all(a.meaning != b.meaning for a, b in zip(first.rules, second.rules, strict=True))


def test_maintenance_stops_the_clock_of_the_row_that_it_matches(table: Loaded, using: Callable[..., Engine]) -> None:
    e = using(STUCK)
    hour = Maintenance(begin=NOON, end=NOON + parse_duration("1h"), match={"team": frozenset({"risk"})})
    e.use(under(table(STUCK), [hour]))
    e.come(run("c", "churn"), run("f", "fraud"))
    e.at("60m").tick()
    assert ["c"] == [i.run_id for i in e.notified()]
    e.at("80m").tick()
    assert ["c", "f"] == [i.run_id for i in e.notified()]


_EVENT: dict[str, Any] = {"run": "r1", "status": "Queued", "late": 0, "attempt": 0}
_events: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        pause=st.sampled_from((0, 1, 5, 9, 10, 15, 40)),  # min
        run=st.sampled_from(("r1", "r2")),
        status=st.sampled_from(("Queued", "Preparing", "Running", "Completed")),
        experiment=st.sampled_from(("churn", "fraud", "other")),
        late=st.sampled_from((0, 0, 7)),  # min
        attempt=st.sampled_from((0, 0, 1)),
    ),
    min_size=1,
    max_size=12,
)


class Both(RuleSet):
    """Rules over a table's rows, and rules written out."""

    def __repr__(self) -> str:
        return "rules"


@pytest.fixture
def both(table: Loaded, load: Load) -> Both:
    """``STUCK`` over ``_ROWS``, and the same written out by hand, one rule for each row called by its experiment."""
    written = "".join(
        f"  - {{name: {row['experiment']}, when: {{status: [Queued, Preparing], in_status_for: {row['longest'] * 10}m,"
        f" where: \"ExperimentName == '{row['experiment']}'\"}}}}\n"
        for row in _ROWS
    )
    return Both({**table(STUCK, _ROWS).rules, **load(f"rules:\n{written}").rules})


def test_a_run_that_comes_to_another_row_is_over_for_the_one_before(both: Both) -> None:
    """What it waited for counts for the new row; nobody is evaluated before the commit that is seen then."""
    names = (("fraud", 0), ("churn", 15), ("fraud", 5))
    notified = _notified_alike([{**_EVENT, "experiment": name, "pause": pause} for name, pause in names], both)
    assert [
        (timedelta(minutes=10), "fired", "fraud"),
        (timedelta(minutes=15), "resolved", "fraud"),
        (timedelta(minutes=20), "fired", "churn"),
        (timedelta(minutes=20, microseconds=1), "fired", "fraud"),
        (timedelta(minutes=20, microseconds=1), "resolved", "churn"),
    ] == [(at - NOON, kind, row) for at, _, kind, row in notified]


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_events)
@example(events=[
    {**_EVENT, "experiment": "churn", "pause": 0},
    {**_EVENT, "experiment": "churn", "pause": 5},
    {**_EVENT, "experiment": "churn", "pause": 15, "status": "Completed"},  # just when the deadline passes
])  # fmt: skip
def test_the_rows_say_what_rules_written_out_notify(events: list[dict[str, Any]], both: Both) -> None:
    """And a backtest of each row says what live operation notifies of it."""
    _notified_alike(events, both)


_Said = tuple[datetime, str, str, str]
"""T, run, what, experiment of the row."""
_ROWS = [{**row, "longest": longest} for row, longest in zip(LIMITS_ROWS, (2, 1), strict=True)]


def _notified_alike(events: list[dict[str, Any]], rules: RuleSet) -> list[_Said]:
    """What is notified by the rows, which is what the rules written out notify, and backtests of the rows."""
    steps, at = list[Step](), NOON
    with Simulator(rules, NOON, {"limits": _ROWS}) as simulator:
        for number, event in enumerate(events):
            at += parse_duration(f"{event['pause']}m")
            steps += simulator.advance(at)
            steps += simulator.arrive([{
                "EventId": f"e{number}", "TimeGenerated": at - parse_duration(f"{event['late']}m"), "RunId": event["run"],
                "Status": event["status"], "ExperimentName": event["experiment"], "Attempt": event["attempt"],
            }])  # fmt: skip
        steps += simulator.advance(at + parse_duration("1h"))
        until = simulator.clock.now() + parse_duration("1s")
        again = [
            (t.at, t.run_id, t.kind, str(t.instance["experiment"]))
            for name, rule in rules.enabled.items()
            if name.startswith("stuck[")
            for t in backtest(rule, simulator.log, Span(since=NOON, until=until), clock=simulator.clock).notified
        ]
    intents = [i for step in steps for i in step.evaluation.outcome.intents]
    notified = sorted(
        (i.at, i.run_id, str(i.kind), str(i.instance["experiment"])) for i in intents if i.rule == "stuck"
    )
    written = sorted((i.at, i.run_id, str(i.kind), i.rule) for i in intents if i.rule != "stuck")
    assert written == notified
    assert notified == sorted(again)
    return notified


def test_sequences_by_their_rows_number_and_span(using: Callable[..., Engine]) -> None:
    e = using(AGAIN)
    for minute in range(8):
        status = "Running" if minute % 2 == 0 else "Queued"
        e.at(f"{minute}m").come(run("f", "fraud", status), run("c", "churn", status))
        e.tick()
    (notified,) = e.notified()
    assert ("again", {"experiment": "fraud", "RunId": "f"}) == (notified.rule, notified.instance)
    assert ({"team": "risk"}, 2.0) == (notified.fields, notified.value)
    assert 2 == len({rule.name for rule in e.rules.of(WINDOW).rules})


def test_of_a_sequence_all_rows_share_the_query_that_finds_what_came_before(table: Loaded) -> None:
    """A thousand rows cost a tick what one does: runs are put in order once for all."""
    rows = [{"experiment": f"e{n}", "longest": n + 1, "team": "x"} for n in range(60)]
    one = table(AGAIN.replace('within: "{{ longest }}h"', "within: 6h"), rows).of(WINDOW)
    assert (60, 1) == (len(one.rules), len({rule.spec.query.shape for rule in one.rules}))
    ((group,),) = one.groups.values()
    assert 60 == len(group.rules)


def test_the_subject_says_how_long_it_was(table: Loaded) -> None:
    """Each row has its own length, so the subject's is that of the alert."""
    assert "{{ ExperimentName or DisplayName or RunId }}: Queued or Preparing for {{ Waited }}" == (
        table(STUCK).rules["stuck"].info.summary
    )
    assert "{{ ExperimentName or RunId }}: Queued {{ times }} times" == table(AGAIN).rules["again"].info.summary


def test_inline_tests_and_explain(table: Loaded) -> None:
    text = (
        STUCK
        + """
    tests:
      - name: each by its own
        tables: {limits: [{experiment: a, longest: 9}, {experiment: b, longest: 1}]}
        events:
          - {at: 0m, RunId: r1, Status: Queued, ExperimentName: a}
          - {at: 0m, RunId: r2, Status: Queued, ExperimentName: b}
        expect:
          - {at: 9m, notifications: 0}
          - {at: 10m, notifications: 1, firing: [{RunId: r2, experiment: b}]}
"""
    )
    assert [] == [str(r) for r in run_tests(table(text)) if not r.passed]
    said = explain(table(text).rules["stuck"])
    assert "limits: 2 rows, each a rule of its own; below is stuck[churn]" == said.for_each
    assert "in_status_for 1h" == said.waits["waits_for"]


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ("{status: Queued, in_status_for: '{{ longst }}m', where: 'RunId == experiment'}",
         "when.in_status_for: uses 'longst', which is no column of the table; did you mean 'longest'?"),
        ("{status: Queued, in_status_for: '{{ longest }m', where: 'RunId == experiment'}", "is no template"),
        ("{status: Queued, in_status_for: '{{ longest }}m'}", "no column of 'limits' is named in `where:`"),
        ("{status: Queued, in_status_for: '{{ team }}', where: 'RunId == experiment'}",
         "row 1 of the table: in_status_for: 'ranking' is not a duration"),
        ("{status: Queued, in_status_for: '{{ longest - 2 }}m', where: 'RunId == experiment'}",
         "row 2 of the table: must be longer than nothing"),
        ("{status: Running, duration: {above: '{{ team }} * p95', last: 30d}, where: 'RunId == experiment'}",
         "row 1 of the table: 'ranking * p95' is no multiple of a percentile"),
        ("{status: Queued, times: '{{ team }}', where: 'RunId == experiment'}",
         "row 1 of the table: times: 'ranking' is no number of times"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_place(table: Loaded, when: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        table(f"rules:\n  - {{name: a, for_each: {{table: limits}}, when: {when}}}\n")
    assert fault in str(error.value)


@pytest.mark.parametrize(
    "when",
    ["status: Queued, in_status_for: '{{ minutes }}m'", "status: Queued, times: '{{ n }}'",
     "status: Queued, after: Running, within: '{{ n }}h'", "status: Running, silent_for: '{{ n }}h'"],
)  # fmt: skip
def test_a_template_needs_a_table(load: Load, when: str) -> None:
    with pytest.raises(ConfigurationError, match="is a template: it needs a table"):
        load(f"rules:\n  - {{name: a, when: {{{when}}}}}\n")


def test_a_value_of_a_row_is_only_a_value(using: Callable[..., Engine]) -> None:
    """Whatever a table holds, it is no template and changes no query."""
    evil = "{{ 7 * 7 }}\" or true // '"
    row: Mapping[str, Any] = {"experiment": evil, "longest": 1, "team": "{{ 7 * 7 }}"}
    e = using(STUCK, [row])
    e.come(run("c", "churn"), run("x", evil))
    e.at("10m").tick()
    assert [("x", {"team": "{{ 7 * 7 }}"})] == [(i.run_id, i.labels) for i in e.notified()]

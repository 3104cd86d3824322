"""`for_each` of row and window rules: one rule for each row of a table, all in one query."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import LIMITS as COLUMNS
from tests.unit.rules.conftest import LIMITS_ROWS as ROWS
from tests.unit.rules.conftest import Engine, Loaded
from tests.unit.rules.said import expired
from tocsin.errors import ConfigurationError
from tocsin.model.alert import Why
from tocsin.rules.compile.pattern import Pattern
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.event.kind import KIND as EVENT
from tocsin.rules.kinds.event.spec import EventSpec
from tocsin.rules.kinds.window.kind import KIND as WINDOW
from tocsin.rules.kinds.window.spec import WindowSpec
from tocsin.rules.spec.rule import of_spec
from tocsin.rules.testing.run import run_tests

SLOW = """
rules:
  - name: slow
    for_each: {table: limits}
    when: {status: Completed, where: "ExperimentName == experiment and DurationMs > longest * 1000"}
    labels: {team: "{{ team }}"}
    fields: [longest]
"""
OFTEN = """
rules:
  - name: often
    for_each: {table: limits}
    over: 1h
    every: 1m
    query: |
      RunStatusChanged
      | where Status == 'Failed' and ExperimentName == experiment
      | summarize failed = count() by ExperimentName
      | where failed >= longest
    by: [ExperimentName]
    value: failed
    fields: [team]
"""
OFTEN_SQL = """
rules:
  - name: often
    for_each: {table: limits}
    over: 1h
    every: 1m
    sql: |
      SELECT ExperimentName, count(*) AS failed
      FROM RunStatusChanged
      WHERE Status = 'Failed' AND ExperimentName = experiment
      GROUP BY ExperimentName
      HAVING count(*) >= longest -- the table's
    by: [ExperimentName]
    value: failed
    fields: [team]
"""


def done(run: str, experiment: str, seconds: int) -> dict[str, object]:
    return {"RunId": run, "Status": "Completed", "ExperimentName": experiment, "DurationMs": seconds * 1000}


def test_each_row_is_a_rule_of_its_own(using: Callable[..., Engine]) -> None:
    """Its columns are names in `where:`, and fields of the alert."""
    e = using(SLOW)
    e.come(done("r1", "churn", 5), done("r2", "churn", 7), done("r3", "fraud", 3), done("r4", "other", 99))
    notified = sorted(e.notified(), key=lambda i: i.run_id)
    assert [("r2", {"team": "ranking"}, {"longest": 6}), ("r3", {"team": "risk"}, {"longest": 2})] == [
        (i.run_id, i.labels, i.fields) for i in notified
    ]


def test_to_people_it_is_the_one_rule(using: Callable[..., Engine]) -> None:
    """Mails and history have its name; the text columns that the rule names say which row."""
    e = using(SLOW)
    e.come(done("r2", "churn", 7))
    (notified,) = e.notified()
    assert ("slow", {"RunId": "r2", "experiment": "churn"}) == (notified.rule, notified.instance)
    assert {"slow"} == {t.rule for each in e.evaluations for t in each.outcome.transitions}
    assert ["slow[churn]", "slow[fraud]"] == sorted(e.state.rules())


def test_what_is_too_old_is_summed_up_once_for_all_rows(using: Callable[..., Engine]) -> None:
    e = using(SLOW)
    e.at("2d").come(
        {**done("r1", "churn", 7), "TimeGenerated": "0s"}, {**done("r2", "fraud", 7), "TimeGenerated": "0s"}
    )
    e.at("3d").tick()
    (summary,) = e.summaries()
    assert ("slow", 2) == (summary.rule, expired(summary).count)


def test_all_rows_share_one_query(table: Loaded) -> None:
    """Also ten thousand, and an event asks only for those that it can be about."""
    rows = [{"experiment": f"e{n}", "longest": n, "team": "x"} for n in range(300)]
    slow, often = table(SLOW, rows), table(OFTEN, rows)
    rules = slow.of(EVENT)
    assert 300 == len(rules.rules) == len(often.of(WINDOW).rules)
    assert 1 == len({rule.spec.plan.shape for rule in rules.rules})
    ((group,),) = often.of(WINDOW).groups.values()
    assert 300 == len(group.rules)
    keys = pa.table({"RunId": ["r"], "Status": ["Completed"], "k0": ["Completed"], "k1": ["e7"]})
    assert ["slow[e7]"] == [rules.rules[n].name for n in rules.index.touched(keys)]


def test_a_window_rule_for_each_row(using: Callable[..., Engine]) -> None:
    e = using(OFTEN)
    for n in range(3):
        e.come({"RunId": f"c{n}", "ExperimentName": "churn"}, {"RunId": f"f{n}", "ExperimentName": "fraud"})
    (notified,) = e.notified()
    assert ("often", {"experiment": "fraud", "ExperimentName": "fraud"}) == (notified.rule, notified.instance)
    assert ({"team": "risk"}, 2.0) == (notified.fields, notified.value)


def test_sql_for_each_row(using: Callable[..., Engine]) -> None:
    """The row's columns are names in SQL, too, and its values fields of what fires."""
    e = using(OFTEN_SQL)
    for n in range(3):
        e.come({"RunId": f"c{n}", "ExperimentName": "churn"}, {"RunId": f"f{n}", "ExperimentName": "fraud"})
    e.at("1m").tick()
    (notified,) = e.notified()
    assert ("often", {"experiment": "fraud", "ExperimentName": "fraud"}) == (notified.rule, notified.instance)
    assert ({"team": "risk"}, 3.0) == (notified.fields, notified.value)
    e.come(*({"RunId": f"d{n}", "ExperimentName": "churn"} for n in range(4)))
    e.at("2m").tick()
    assert ["churn", "fraud"] == sorted(str(i.instance["experiment"]) for i in e.notified())


def test_sql_of_many_rows_is_one_query(table: Loaded) -> None:
    rows = [{"experiment": f"e{n}", "longest": n - 2, "team": "x"} for n in range(300)]
    ((group,),) = table(OFTEN_SQL, rows).of(WINDOW).groups.values()
    assert 300 == len(group.rules) == len(set(group.plan.constants))


def test_values_in_sql_are_only_values(engine: Callable[..., Engine], table: Loaded) -> None:
    """Whatever a table holds, of whatever kind, it changes no query; and conditions may name the row's columns."""
    evil = "' OR true -- \\ \""
    rows: list[dict[str, object]] = [
        {"experiment": evil, "longest": -1, "team": "$x", "since": datetime(2026, 1, 1, 12, 30), "off": False},
        {"experiment": "churn", "longest": 1, "team": "", "since": None, "off": True},
        {"experiment": "fraud", "longest": None, "team": "", "since": None, "off": False},
    ]
    text = OFTEN_SQL.replace("= experiment\n", "= experiment AND NOT off AND coalesce(TimeGenerated > since, true)\n")
    columns = {**COLUMNS, "since": "datetime", "off": "bool"}
    e = engine("rules: []")
    e.use(
        table(
            text + "    condition: failed >= 0\n    resolve: {when: \"failed < longest and team == '$x'\"}\n",
            rows,
            columns,
        )
    )
    e.come(*({"RunId": f"{name}1", "ExperimentName": name} for name in (evil, "churn", "fraud")))
    e.at("1m").tick()
    assert [(evil, "$x")] == [(i.instance["experiment"], i.fields["team"]) for i in e.notified()]


def test_a_row_that_goes_ends_without_a_notification_and_one_that_comes_starts_then(
    using: Callable[..., Engine], table: Loaded
) -> None:
    """The others go on."""
    e = using(OFTEN)
    e.come(*({"RunId": f"f{n}", "ExperimentName": "fraud"} for n in range(3)))
    assert 1 == len(e.notified())
    rows = [ROWS[0], {"experiment": "new", "longest": 1, "team": "x"}]
    outcomes = len(e.evaluations)
    e.use(table(OFTEN, rows))
    assert (["often[churn]", "often[new]"], outcomes) == (sorted(e.state.rules()), len(e.evaluations))
    assert {} == e.state.conditions("often[fraud]")
    gone = [row.row for row in e.state.mirror_after(0) if row.row["Reason"] == Why.RULE_GONE.value]
    assert ["often"] == [row["Rule"] for row in gone]
    e.at("1m").tick()
    assert [] == e.resolved()


def test_a_number_that_changes_keeps_what_the_row_remembers(using: Callable[..., Engine], table: Loaded) -> None:
    """Only text names a row."""
    e = using(OFTEN)
    e.come(*({"RunId": f"f{n}", "ExperimentName": "fraud"} for n in range(4)))
    e.use(table(OFTEN, [ROWS[0], {**ROWS[1], "longest": 3}]))
    e.at("1m").tick()
    assert 1 == len(e.notified())
    assert [] == e.resolved()


def test_inline_tests_give_the_rows(table: Loaded) -> None:
    text = (
        SLOW
        + """
    tests:
      - name: the second is too slow
        tables: {limits: [{experiment: a, longest: 9}, {experiment: b, longest: 1}]}
        events:
          - {at: 1m, RunId: r1, Status: Completed, ExperimentName: a, DurationMs: 5000}
          - {at: 1m, RunId: r2, Status: Completed, ExperimentName: b, DurationMs: 5000}
        expect:
          - {at: 1m, notifications: 1}
"""
    )
    assert [] == [str(r) for r in run_tests(table(text)) if not r.passed]


def test_what_stays_open_of_a_row_ends_under_the_one_name(using: Callable[..., Engine]) -> None:
    e = using(SLOW + "    resolve: {when: {status: Completed, same: ExperimentName}}\n".replace("Completed", "Running"))
    e.at("1m").come(done("r1", "fraud", 9))
    e.at("2m").come({"RunId": "r2", "Status": "Running", "ExperimentName": "fraud"})
    (fired,), (ended,) = e.notified(), e.resolved()
    assert (fired.rule, fired.instance, fired.occurrence) == (ended.rule, ended.instance, ended.occurrence)
    assert {"slow"} == {t.rule for each in e.evaluations for t in each.outcome.transitions}


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    experiment=st.text(max_size=8) | st.sampled_from(['"', "\\", "a'b", "é", "\n", "%", "x" * 40]),
    longest=st.integers(-5, 2**63 - 1) | st.none(),
    share=st.floats(allow_nan=False, allow_infinity=False) | st.just(0.5),
)
def test_what_is_filled_is_what_is_compiled(
    experiment: str, longest: int | None, share: float, table: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are filled into one compiled rule; each comes to what compiling it by itself gives."""
    columns = {**COLUMNS, "share": "real"}
    row = {"experiment": experiment, "longest": longest, "team": "x", "share": share}
    for text in (
        SLOW.replace("> longest * 1000", "> longest and Target =~ experiment and Progress < share"),
        OFTEN.replace(">= longest", ">= longest and failed > share"),
        OFTEN_SQL.replace(">= longest", ">= longest AND count(*) > share"),
    ):
        found = [_meant(table, text, row, columns)]
        with monkeypatch.context() as patch:
            patch.setattr(Pattern, "filled", lambda *_: None)
            found.append(_meant(table, text, row, columns))
        assert found[0] == found[1]


def _meant(table: Loaded, text: str, row: dict[str, Any], columns: dict[str, str]) -> object:
    try:
        (rule,) = table(text, [row], columns).enabled.values()
    except ConfigurationError as error:
        return str(error)
    seen = rule.spec.query if isinstance(rule.spec, WindowSpec) else of_spec(rule, EventSpec).spec.plan
    return rule.query, rule.name, rule.meaning, seen


def test_values_are_only_values(using: Callable[..., Engine]) -> None:
    """Whatever a table holds, it changes no query."""
    evil = "\" or true // \\ '"
    e = using(SLOW, [{"experiment": evil, "longest": 1, "team": "{{ 7 * 7 }}"}])
    e.come(done("r1", "churn", 9), done("r2", evil, 9))
    assert [("r2", {"team": "{{ 7 * 7 }}"})] == [(i.run_id, i.labels) for i in e.notified()]


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("{name: a, for_each: {table: nope}, when: {status: Failed, where: 'x == 1'}}", "there is no table 'nope'"),
        ("{name: a, for_each: {table: limits}, when: {status: Failed}}", "no column of 'limits' is named in `where:`"),
        ("{name: a, for_each: {table: limits}, over: 1h, sql: SELECT 1 AS x, by: [x]}",
         "no column of 'limits' is named in `sql:`"),
        ("{name: a, for_each: {table: limits}, over: 1h, sql: 'SELECT RunId, longest AS team FROM Runs', by: [RunId]}",
         "gives a value to 'team', which is a column of the table"),
        ("{name: a, for_each: {table: limits}, over: 1h, sql: SELECT l.team AS x FROM limits l WHERE longest > 3, by: [x]}",
         "'experiment' is also the column experiment of limits"),
        ("{name: a, for_each: {table: limits}, over: 1h, sql: SELECT RunId FROM Runs LIMIT longest, by: [RunId]}",
         "Correlated columns not supported in LIMIT/OFFSET; the table's columns cannot stand there: join the table"),
        ("{name: a, for_each: {table: limits}, query: \"RunStatusChanged | extend longest = 4 | where longest > 3\"}",
         "gives a value to 'longest'"),
        ("{name: a, for_each: {table: limits}, when: {where: 'Target == experimnt and RunId == team'}}", "experimnt"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_place(table: Loaded, rule: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        table(f"rules:\n  - {rule}\n")
    assert fault in str(error.value)


def test_rows_that_are_alike_are_named(table: Loaded) -> None:
    with pytest.raises(
        ConfigurationError, match="row 2 of the table: is a second one for churn; experiment must be different"
    ):
        table(SLOW, [ROWS[0], {**ROWS[0], "longest": 9}])


def test_a_table_without_rows_notifies_nothing(using: Callable[..., Engine]) -> None:
    e = using(SLOW, [])
    assert 0 == e.come(done("r1", "", 5))


def test_explain_shows_one_of_the_rows(table: Loaded) -> None:
    said = explain(table(SLOW).rules["slow"])
    assert ("slow", "limits: 2 rows, each a rule of its own; below is slow[churn]") == (said.name, said.for_each)
    assert "ExperimentName == 'churn'" in said.prefilter
    assert "limits: no rows" == explain(table(SLOW, []).rules["slow"]).for_each

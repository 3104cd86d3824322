"""The index names every rule that a row can match, and few others."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.conftest import Load
from tocsin.kql.schema import Schema
from tocsin.logstore.duck import DuckLogStore
from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.event.kind import KIND as EVENT
from tocsin.rules.kinds.event.spec import EventRule

Row = dict[str, object]


def keys(index: RuleIndex[EventRule], *rows: Row) -> pa.Table:
    """What `keys_sql` would read of these rows."""
    made = []
    for given_row in rows:
        row: Row = {"Status": "Failed", **given_row}
        entry = {"RunId": "r", "Status": row["Status"]}
        for i, one in enumerate(index.fields):
            value = row.get(one.column)
            if one.path:
                for step in one.path:
                    value = value.get(step) if isinstance(value, dict) else None
                value = None if value is None else json.dumps(value)
            entry[f"k{i}"] = value
        made.append(entry)
    return pa.Table.from_pylist(made)


def touched(index: RuleIndex[EventRule], *rows: Row) -> list[str]:
    return [index.rules[i].name for i in index.touched(keys(index, *rows))]


def wheres(load: Load, *wheres: str) -> RuleIndex[EventRule]:
    """Rules r0, r1, … about failures."""
    text = "rules:\n" + "".join(
        f"  - {{name: r{i}, when: {{status: Failed, where: {json.dumps(w)}}}}}\n" for i, w in enumerate(wheres)
    )
    return load(text).of(EVENT).index


def test_a_status_that_nobody_waits_for_touches_nothing(load: Load) -> None:
    index = (
        load("rules: [{name: a, when: {status: Failed}}, {name: b, when: {status: [Canceled, NotResponding]}}]")
        .of(EVENT)
        .index
    )
    assert frozenset({"Failed", "Canceled", "NotResponding"}) == index.statuses
    assert [] == touched(index, {"Status": "Running"})
    assert ["b"] == touched(index, {"Status": "Running"}, {"Status": "Canceled"})


def test_a_rule_without_status_takes_every_status(load: Load) -> None:
    index = (
        load("rules: [{name: a, when: {status: Failed}}, {name: b, when: {where: \"Target == 'gpu'\"}}]")
        .of(EVENT)
        .index
    )
    assert None is index.statuses
    assert ["b"] == touched(index, {"Status": "Running", "Target": "gpu"})


def test_a_rule_without_predicates_is_always_touched(load: Load) -> None:
    index = (
        load("rules: [{name: a, when: {where: 'DurationMs > 5'}}, {name: b, when: {status: Failed}}]").of(EVENT).index
    )
    assert ["a"] == touched(index, {"Status": "Running"})
    assert [] == RuleIndex(()).touched(keys(RuleIndex(()), {"Status": "Failed"}))


def test_filed_under_the_predicate_that_the_fewest_share(load: Load) -> None:
    """A thousand rules about failures, each of an experiment: one row touches one."""
    index = wheres(load, *(f"ExperimentName == 'e{n}'" for n in range(200)))
    assert 200 == len(index._filed)
    assert ["r7", "r9"] == touched(index, {"ExperimentName": "e7"}, {"ExperimentName": "e9"})
    assert [] == touched(index, {"ExperimentName": "e7", "Status": "Running"}, {"ExperimentName": "none"})


def test_predicates_are_evaluated_row_by_row(load: Load) -> None:
    """Not each column by itself: the experiment of one row and the target of another are no match."""
    index = wheres(load, "ExperimentName == 'a' and Target == 'gpu'")
    assert [] == touched(index, {"ExperimentName": "a", "Target": "cpu"}, {"ExperimentName": "b", "Target": "gpu"})
    assert ["r0"] == touched(index, {"ExperimentName": "a", "Target": "gpu"})


def test_what_cannot_be_evaluated_counts_as_holding(load: Load) -> None:
    """Letters beyond ASCII without regard to case, numbers inside a dynamic column."""
    index = wheres(load, "ExperimentName =~ 'churn'", "Tags.env == 'prod'")
    assert ["r0"] == touched(index, {"ExperimentName": "CHURN"})
    assert ["r0"] == touched(index, {"ExperimentName": "ÇHURN"})
    assert [] == touched(index, {"ExperimentName": "spam"})
    assert ["r1"] == touched(index, {"Tags": {"env": "prod"}})
    assert ["r1"] == touched(index, {"Tags": {"env": 5}})
    assert [] == touched(index, {"Tags": {"env": "dev"}}, {"Tags": {}})


def test_an_empty_text_and_a_missing_one_are_the_same(load: Load) -> None:
    index = wheres(load, "Tags.env == ''", "Target == ''")
    assert ["r0", "r1"] == touched(index, {"Tags": {}, "Target": None})


@pytest.mark.parametrize(
    ("path", "sql"),
    [("Tags.env", """json_extract("Tags", '$."env"')"""), ("Tags['a.b \\'c']", """json_extract("Tags", '$."a.b ''c"')""")],
    ids=["plain", "quoted"],
)  # fmt: skip
def test_paths_are_quoted(load: Load, path: str, sql: str) -> None:
    index = wheres(load, f"{path} == 'x'")
    assert [sql] == [f.sql for f in index.fields if f.path]


PIECES = [
    "ExperimentName == 'churn'", "ExperimentName =~ 'Churn'", "Target in ('gpu', 'cpu')", "Tags.env == 'prod'",
    "Tags.env =~ 'PROD'", "WillRetry == true", "WillRetry == false", "WillRetry", "Reason != 'quota'", "Attempt == 2",
    "ExperimentName has 'churn'", "Target == 'gpu' or Target == 'tpu'", "isnull(WillRetry)", "Tags.n == 5",
]  # fmt: skip
VALUES: dict[str, list[object]] = {
    "Status": ["Failed", "Running"], "ExperimentName": ["churn", "CHURN", "spam", "", "çhurn"],
    "Target": ["gpu", "cpu", "tpu", ""], "Tags": [{}, {"env": "prod"}, {"env": "Prod"}, {"env": 5}, {"n": 5}, {"n": "5"}],
    "WillRetry": [True, False, None], "Reason": ["", "quota"], "Attempt": [0, 2],
}  # fmt: skip


@given(
    st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3, unique=True), min_size=1, max_size=4),
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}),
)
def test_it_never_names_one_rule_too_few(
    rows_schema: tuple[DuckLogStore, Schema], pieces: list[list[str]], row: dict[str, object]
) -> None:
    """Whatever DuckDB matches, the index names: predicates of every kind over rows of every kind."""
    from tocsin.config.yaml.document import Document
    from tocsin.errors import Problem
    from tocsin.rules.compile.load import load_documents

    store, schema = rows_schema
    data = [{"name": f"r{i}", "when": {"status": "Failed", "where": " and ".join(p)}} for i, p in enumerate(pieces)]
    problems: list[Problem] = []
    rules = load_documents([Document("f.yaml", {"rules": data})], schema, problems)
    assert [] == problems
    cells = ", ".join(f"{_sql(value)} AS {name}" for name, value in row.items())
    rows_sql = f"SELECT * REPLACE ({cells}) FROM (SELECT * FROM RunStatusChanged LIMIT 1)"
    index = rules.of(EVENT).index
    named = set(index.touched(store.select(index.keys_sql(rows_sql))))
    stored = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()}
    assert named == set(index.touched_by(stored)), "the same of a row in memory"
    for number, rule in enumerate(index.rules):
        sql, params = rule.spec.plan.bind(rows_sql, [(0, rule.spec.plan.constants)])
        if store.select(sql, params).num_rows:
            assert number in named, (rule.query, row)


def _sql(value: object) -> str:
    if value is None:
        return "NULL::BOOLEAN"
    if isinstance(value, dict):
        return f"'{json.dumps(value)}'::JSON"
    return f"'{value}'" if isinstance(value, str) else str(value)

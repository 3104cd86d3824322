"""Absence rules for runs, one for each row of a table, in the evaluator: restarts, reloads of the table, what is
shown of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.unit.app.test_deadlines import MIN, NOON, Home
from tocsin.app.views.rules import RuleView
from tocsin.kql.schema import schema_with
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.ruleset import RuleSet

RULES = """
rules:
  - name: stuck
    for_each: {table: waits}
    when: {status: Queued, in_status_for: "{{ minutes }}m", where: "RunId startswith prefix"}
    limit: {per: prefix, max: 1, window: 1d}
"""


class Table:
    """The rules over some rows."""

    def __init__(self, path: Path) -> None:
        self.path = path / "rules.yaml"
        self.path.write_text(RULES)

    def of(self, **rows: int) -> RuleSet:
        found = [{"prefix": prefix, "minutes": minutes} for prefix, minutes in rows.items()]
        schema = schema_with({"waits": {"prefix": "string", "minutes": "long"}})
        return load_rules([self.path], schema, tables={"waits": pa.Table.from_pylist(found)})


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


@pytest.fixture
def home(table: Table) -> Iterator[Home]:
    made = Home(table.of(a=30, b=10))
    yield made
    made.state.close()
    made.log.close()


def fired(home: Home) -> list[str]:
    return [i.run_id for i in home.state.intents() if i.kind.value == "fired"]


def test_each_row_is_evaluated_at_its_own_time_also_after_a_restart(home: Home) -> None:
    home.come("a1", "Queued")
    home.come("b1", "Queued")
    home.at(1)
    assert home.evaluator.next_deadlines == {"stuck": NOON + 10 * MIN}
    evaluations = RuleView(home.log, home.state, lambda: home.evaluator.next_deadlines).status(home.rules, {})
    assert [NOON + 10 * MIN] == [row["NextEvaluation"] for row in evaluations]
    home.at(10)
    home.start()
    home.at(29)
    assert ["b1"] == fired(home)
    home.at(30)
    home.start()
    home.at(31)
    assert ["b1", "a1"] == fired(home)
    gauge = home.metrics.registry.get_sample_value(
        "tocsin_alerts_active", {"rule": "stuck", "severity": "warning", "kind": "absence"}
    )
    assert 2 == gauge


def test_a_changed_table_moves_deadlines_and_keeps_those_of_the_other_rows(home: Home, table: Table) -> None:
    for run in ("a1", "b1", "c1"):
        home.come(run, "Queued")
    home.at(1)
    home.rules = table.of(a=30, b=20, c=5)
    home.evaluator._reload(home.rules)
    home.at(19)
    assert ["c1"] == fired(home)
    home.at(20)
    home.rules = table.of(a=30, c=5)
    home.evaluator._reload(home.rules)
    home.at(30)
    assert ["c1", "b1", "a1"] == fired(home)
    assert 0 == len(home.evaluator._driver.deadlines)


def test_rate_limited_alerts_are_counted_under_the_rules_name(home: Home) -> None:
    for run in ("b1", "b2", "b3"):
        home.come(run, "Queued")
    home.at(10)
    assert 2 == home.metrics.registry.get_sample_value("tocsin_alerts_rate_limited_total", {"rule": "stuck"})

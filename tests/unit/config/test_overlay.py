"""A project's entries add to the shipped ones and override them by name."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.config.test_home import put
from tocsin.app.project.content import consumers_of, gather
from tocsin.app.project.rules import own
from tocsin.config.project.home import Home
from tocsin.config.project.overlay import ONCALL, RULES
from tocsin.config.settings import ShippedSettings
from tocsin.config.yaml.document import load
from tocsin.errors import ConfigurationError, Problem

SHIPPED = """\
rules:
  - {name: a, when: {status: Failed}, severity: error}
  - {name: b, query: X, enabled: false}
"""


def laid(text: str, shipped: str = SHIPPED) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The rules in force where the project's file says ``text``."""
    problems: list[Problem] = []
    documents = RULES.apply([load(shipped, "shipped.yaml")], [load(text, "mine.yaml")], problems)
    return [entry for document in documents for entry in document.data["rules"]], problems


def test_a_rule_adds_to_those_that_ship() -> None:
    """Adding one never switches another off."""
    found, problems = laid("rules: [{name: c, when: {status: Failed}}]")
    assert (["a", "b", "c"], []) == ([rule["name"] for rule in found], problems)


def test_a_rule_of_the_same_name_replaces_the_shipped_one() -> None:
    """Wholly, once it says when it fires."""
    found, _ = laid("rules: [{name: a, when: {status: Canceled}}]")
    assert [{"name": "b", "query": "X", "enabled": "false"}, {"name": "a", "when": {"status": "Canceled"}}] == found


def test_an_entry_without_a_condition_changes_only_its_keys() -> None:
    """The rest stays the shipped one's, so that an upgrade still mends it."""
    found, _ = laid("rules: [{name: a, severity: critical}, {name: b, enabled: true}]")
    assert [
        {"name": "a", "when": {"status": "Failed"}, "severity": "critical"},
        {"name": "b", "query": "X", "enabled": "true"},
    ] == found


def test_lines_are_those_of_the_file_that_says_it() -> None:
    """Also after an entry before them was left out."""
    problems: list[Problem] = []
    text = "rules:\n  - {name: nothing, enabled: true}\n  - name: a\n    severity: critical\n"
    shipped, mine = RULES.apply([load(SHIPPED, "shipped.yaml")], [load(text, "mine.yaml")], problems)
    assert 3 == shipped.line(("rules", 0))
    assert (3, 4) == (mine.line(("rules", 0)), mine.line(("rules", 0, "severity")))
    (problem,) = problems
    assert "mine.yaml:2: rules[0].name: 'nothing' has neither when, query nor sql" in str(problem)


def test_a_route_is_replaced_whole_and_the_rest_adds() -> None:
    """Receivers and people by name, calendars by key; maintenance and tests of both count."""
    shipped = load("receivers: [{name: owner}, {name: x}]\nroute: {always: [owner]}\ncalendars: {hu: 1, de: 2}", "s")
    mine = load("receivers: [{name: x, email: [a@b.c]}]\nroute: {receiver: x}\ncalendars: {de: 3}", "m")
    first, second = ONCALL.apply([shipped], [mine], [])
    assert {"receivers": [{"name": "owner"}], "calendars": {"hu": "1"}} == first.data
    assert mine.data == second.data


def test_a_project_uses_what_ships(tmp_path: Path) -> None:
    """One rule of its own; run-failed is in force beside it, and the rest of what ships is off."""
    home = Home(tmp_path)
    put(
        home,
        "rules/alerts/mine.yaml",
        "rules: [{name: mine, when: {status: Canceled}}, {name: too-slow, enabled: true}]",
    )
    content = gather(home, [])
    assert content is not None
    assert {"run-failed", "mine", "too-slow"} == set(content.rules.enabled)
    assert {"mine", "too-slow"} == set(own(content.rules).rules)
    put(home, "tocsin.yaml", "shipped: {rules: false}")
    problems: list[Problem] = []
    gather(home, problems)
    assert ["says neither `when:` nor `query:`"] == [p.message for p in problems]


def test_a_consumer_file_without_a_connector_changes_the_shipped_one(tmp_path: Path) -> None:
    """`enabled: false` alone switches it off; one that no shipped one has the name of says what is missing."""
    home = Home(tmp_path)
    put(home, "consumers/event-grid.yaml", "enabled: false")
    found = consumers_of(home, ShippedSettings())
    assert (False, True) == (found["event-grid"].file.enabled, found["events"].file.enabled)
    assert found["event-grid"].file.mapping
    with pytest.raises(ConfigurationError, match="connector"):
        consumers_of(home, ShippedSettings(consumers=False))


def test_a_receiver_of_the_same_name_replaces_the_shipped_owner(tmp_path: Path) -> None:
    """And the shipped route stays until the project has one."""
    home = Home(tmp_path)
    put(
        home,
        "rules/oncall/a.yaml",
        "receivers: [{name: owner, email: [a@example.org]}, {name: x, email: [x@example.org]}]",
    )
    found = gather(home, [])
    assert found is not None
    assert (("a@example.org",), ("owner",)) == (tuple(found.oncall.receivers["owner"].emails), found.oncall.always)
    put(home, "rules/oncall/b.yaml", "route: {receiver: x}")
    found = gather(home, [])
    assert found is not None
    assert () == found.oncall.always

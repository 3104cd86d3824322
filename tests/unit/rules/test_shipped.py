"""What ships: each rule is off but one, has tests of what it notifies and of what it leaves alone, and
docs/shipped-rules.md says when
it helps and when it is noise. Page and files are held together both ways.
"""

import re
from pathlib import Path

import pytest

from tocsin.kql.schema import schema_with
from tocsin.rules.compile.load import load_rules
from tocsin.rules.spec.rule import Rule
from tocsin.rules.testing.run import run_tests

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "shipped-rules.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
FILES = sorted((ROOT / "rules" / "alerts").glob("*.yaml"))


def shipped() -> dict[str, Rule]:
    return dict(load_rules(FILES, schema_with({})).rules)


def test_the_page_has_each_rule_and_none_besides() -> None:
    names = [name for name, *_ in ROWS]
    assert sorted(shipped()) == sorted(names)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_says_when_it_helps_and_when_it_is_noise(row: tuple[str, str, str, str]) -> None:
    assert all(len(text.split()) >= 4 for text in row[1:])


def test_only_final_failures_are_notified_without_being_asked() -> None:
    assert ["run-failed"] == [rule.name for rule in shipped().values() if rule.enabled]


@pytest.mark.parametrize("name", [row[0] for row in ROWS])
def test_each_is_tested_for_what_it_notifies_and_for_what_it_leaves_alone(name: str) -> None:
    rule = shipped()[name]
    assert rule.info.description
    notified = {max(expect.notifications or 0 for expect in test.expect) > 0 for test in rule.tests}
    quiet = any((expect.notifications == 0) for test in rule.tests for expect in test.expect)
    assert (True, True) == (True in notified, quiet)
    assert len(rule.tests) >= 2


def test_the_retried_ones_pass() -> None:
    """What this file brings; the others are run by their own tests, too."""
    rules = load_rules([ROOT / "rules" / "alerts" / "preempted.yaml"], schema_with({}))
    assert [] == [str(r) for r in run_tests(rules) if not r.passed]

"""docs/rules.md: what it shows works, and it knows each key that works."""

import re
from pathlib import Path

import pytest

from tests.unit.rules.conftest import Load
from tocsin.rules.kinds.registry import rule_model
from tocsin.rules.testing.run import run_tests

PAGE = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_load_and_their_tests_pass(text: str, load: Load) -> None:
    rules = load(text)
    assert rules.rules
    assert [] == [str(r) for r in run_tests(rules) if not r.passed]


def test_the_table_of_keys_is_whole() -> None:
    """Both ways: each key is there, and none besides."""
    notified = {key for row in re.findall(r"^\| (`[^|]+) \|", PAGE, re.M) for key in re.findall(r"`([a-z_]+)`", row)}
    assert {info.alias or name for name, info in rule_model().model_fields.items()} == notified

"""docs/backtest.md: what it says of lint and of the commands' options is so."""

import re
from pathlib import Path

import pytest

from tests.unit.rules.conftest import Load
from tocsin.cli.main import tree
from tocsin.rules.inspect.lint import lint

PAGE = (Path(__file__).parents[3] / "docs" / "backtest.md").read_text(encoding="utf-8")


def test_every_option_of_backtest_is_explained() -> None:
    command = tree().commands["rules"].commands["backtest"]
    options = {name for p in command.params for name in p.opts if name.startswith("--")} - {"--home", "--help"}
    assert options == set(re.findall(r"--[a-z-]+", "".join(re.findall(r"^\| (`--.*?) \|", PAGE, re.M))))


@pytest.mark.parametrize(
    "row", [line for line in PAGE.splitlines() if re.match(r"\| (never|no word|compares|capital)", line)]
)
def test_each_example_of_lint_is_warned_of(load: Load, row: str) -> None:
    said, examples = (cell.strip() for cell in row.strip("| ").split(" | ", 1))
    conditions = [c for c in re.findall(r"`([^`]+)`", examples) if "==" in c or ">" in c]
    assert conditions
    for condition in conditions:
        rules = load(f'rules:\n  - {{name: a, query: "RunStatusChanged | where {condition}"}}\n')
        assert any(
            word in w.message for w in lint(rules) for word in (said, "that an event can have", "letter for letter")
        ), condition

"""docs/waiting.md: its examples work."""

import re
from pathlib import Path

import pytest

from tests.unit.rules.conftest import LIMITS
from tocsin.kql.schema import schema_with
from tocsin.notify.routing.files import OnCallFiles, read_oncall_files
from tocsin.rules.compile.load import load_rules
from tocsin.rules.testing.run import run_tests

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "waiting.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
EXAMPLES = [text for text in FENCES if text.startswith("rules:")]
ONCALL = [text for text in FENCES if text not in EXAMPLES]
NIGHTLIES = {"experiment": "string", "cron": "string", "grace": "string"}
SCHEMA = schema_with({"nightlies": NIGHTLIES, "limits": LIMITS})


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_load_and_their_tests_pass(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    rules = load_rules([path], SCHEMA)
    assert rules.rules
    assert [] == [str(r) for r in run_tests(rules) if not r.passed]


@pytest.mark.parametrize("text", ONCALL, ids=range(len(ONCALL)))
def test_examples_of_oncall_files_load(text: str, tmp_path: Path) -> None:
    path = tmp_path / "oncall.yaml"
    path.write_text(text)
    assert read_oncall_files([path]) != OnCallFiles()

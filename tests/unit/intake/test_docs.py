"""docs/consumers.md names every key and every reason, and its examples work."""

import re
from pathlib import Path

import jmespath.functions

from tocsin.intake.expressions import _Functions
from tocsin.intake.files import ConsumerFile
from tocsin.intake.testing import run_consumer_tests
from tocsin.model.event import DeadReason

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "consumers.md").read_text()


def first_column(heading: str) -> set[str]:
    """Words in backticks of the first column of the first table after ``heading``."""
    table = re.split(r"\n\n", PAGE.split(heading, 1)[1].split("\n| --- ", 1)[1], maxsplit=1)[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")][0:]
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_every_key_is_documented_and_no_other() -> None:
    """Both ways; `name` and `description` speak for themselves."""
    assert set(ConsumerFile.model_fields) - {"name", "description"} == first_column("runs the tests by what runs")


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    """Both ways."""
    assert {reason.value for reason in DeadReason} == first_column("## Dead letters")


def test_every_shipped_consumer_is_documented() -> None:
    """Both ways."""
    assert {p.name for p in (ROOT / "consumers").glob("*.yaml")} == first_column("These come along")


def test_every_function_is_documented_and_no_other() -> None:
    """Both ways; JMESPath's own have their page."""
    ours = {name for name in _Functions.FUNCTION_TABLE if name not in jmespath.functions.Functions.FUNCTION_TABLE}
    assert ours == {call.split("(")[0] for call in first_column("these for payloads")}


def test_shipped_consumers_pass_their_tests() -> None:
    """What comes along does what it says."""
    results = run_consumer_tests(sorted((ROOT / "consumers").glob("*.yaml")))
    assert len(results) >= 6
    assert [] == [f"{r.file}:{r.line}: {r.name}: {r.text}" for r in results if not r.passed]

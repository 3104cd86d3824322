"""docs/events.md is made from the code and names everything; what it says of JMESPath is so."""

import json
import re
from pathlib import Path

import pytest

from tocsin.intake.expressions import compile_getter
from tocsin.model.columns import TABLES
from tocsin.model.reference import ABOUT, REASONS, STATUSES, events_reference
from tocsin.model.statuses import Reason, Status

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
PAYLOAD = {"job-id": "x", "code": 1, "kind": "job", "job": "train", "zero": 0, "empty": "", "b": "B", "items": []}


def test_the_page_is_made_from_the_code() -> None:
    assert events_reference() == PAGE.read_text()
    assert (set(Status), set(Reason), set(TABLES)) == (set(STATUSES), set(REASONS), set(ABOUT))
    for name, columns in TABLES.items():
        section = PAGE.read_text().split(f"\n### {name}\n")[1].split("\n### ")[0]
        assert [c.name for c in columns] == re.findall(r"^\| `(\w+)` \|", section, re.M)


def test_its_event_has_columns_only() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.S)
    assert json.loads(block)["data"].keys() <= {c.name for c in TABLES["RunStatusChanged"] if c.wire}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'my-scheduler'", "my-scheduler"),
        ('"job-id"', "x"),
        ("code == `1`", True),
        ('kind == "job"', False),  # kind is 'job', the field job is 'train'
        ("kind == 'job'", True),
        ("zero || b", 0),
        ("empty || b", "B"),
        ("items || b", "B"),
        ("coalesce(empty, b)", "B"),
        ("coalesce(zero, b)", 0),
        ("items[0].id", None),
        ("items[].id", []),
        ("join(',', items[].id)", ""),
    ],
)
def test_jmespath_does_what_the_page_says(written: str, value: object) -> None:
    assert (value,) == compile_getter([written])(PAYLOAD)


@pytest.mark.parametrize("written", ["my-scheduler", "job-id", "code == 1"])
def test_what_the_page_calls_an_error_is_one(written: str) -> None:
    with pytest.raises(ValueError, match="is no JMESPath"):
        compile_getter([written])

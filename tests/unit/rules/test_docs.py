"""docs/rules.md knows each key that works. Its examples are run by tests/unit/test_pages.py."""

import re
from pathlib import Path

from tocsin.rules.kinds.registry import rule_model

PAGE = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")


def test_the_table_of_keys_is_whole() -> None:
    """Both ways: each key is there, and none besides."""
    notified = {key for row in re.findall(r"^\| (`[^|]+) \|", PAGE, re.M) for key in re.findall(r"`([a-z_]+)`", row)}
    assert {info.alias or name for name, info in rule_model().model_fields.items()} == notified

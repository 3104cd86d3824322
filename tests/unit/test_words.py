"""Words that nobody but us knew stay out of what users read: docs, pages, mails, help, metrics, schema."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin.cli.main import tree
from tocsin.metrics.table import TABLE
from tocsin.rules.kinds.registry import rules_json_schema

ROOT = Path(__file__).parents[2]
RETIRED = re.compile(
    r"\b(told|untold|heard|stretch(es)?|spells?(?!check)|reckon(s|ed|ing)?|awaited|row rules?|rules? that waits?|"
    r"without a word|its like|their like|playground|tell_within|source-silent|resolved_told)\b",
    re.IGNORECASE,
)
PLACES = ("docs/**/*.md", "README.md", "AGENTS.md", "CHANGELOG.md", "templates/*", "rules/**/*.yaml", "consumers/*.yaml",
          "src/tocsin/web/pages/*.j2", "deploy/**/*")  # fmt: skip


IN_NAMES = re.compile(
    r"(?<![a-z])((un)?told|(un)?heard|reckon(s|ed|ing)?|awaited|enders|playground|lanes?|knocks?|newbeats|runkeys|knownruns)(?![a-z])",
    re.IGNORECASE,
)
"""What no name and no comment of the engine has: words that plain English needs, like `told`, stand here too."""


def files() -> list[Path]:
    """Texts that people read, by their paths."""
    found = (p for place in PLACES for p in ROOT.glob(place) if p.is_file() and p.suffix not in (".css", ".pyc"))
    return sorted(found)


def found(text: str) -> Iterator[str]:
    """Lines with a retired word."""
    for number, line in enumerate(text.splitlines(), 1):
        if RETIRED.search(line):
            yield f"{number}: {line.strip()}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_has_a_retired_word(path: Path) -> None:
    assert [] == list(found(path.read_text(encoding="utf-8")))


def test_no_name_of_the_engine_has_a_retired_word() -> None:
    """Docstrings and comments included; ``former_keys`` knows the old keys of rules, to say what they are called now."""
    assert [] == [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "src" / "tocsin").rglob("*"))
        if path.suffix in (".py", ".sql") and path.name != "former_keys.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if IN_NAMES.search(line)
    ]


def test_no_metric_has_a_retired_word() -> None:
    assert [] == [m.name for m in TABLE if list(found(f"{m.name.replace('_', ' ')}\n{m.help}"))]


def test_no_key_of_rules_has_a_retired_word() -> None:
    assert [] == list(found(json.dumps(rules_json_schema(), indent=1)))


def test_no_help_has_a_retired_word() -> None:
    """Of every command, as ``--help`` prints it."""

    def texts(command: object) -> Iterator[str]:
        yield str(getattr(command, "help", "") or "")
        for parameter in getattr(command, "params", ()):
            yield str(getattr(parameter, "help", "") or "")
        for inner in getattr(command, "commands", {}).values():
            yield from texts(inner)

    said = list(texts(tree()))
    assert len(said) > 50
    assert [] == [text for text in said if list(found(text))]

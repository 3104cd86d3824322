"""docs/import.md says what the code does."""

import re
from pathlib import Path

from tocsin.cli.reference import commands
from tocsin.interchange.azure.resources import ALERT_TYPES
from tocsin.interchange.azure.write import NO_PLACE

PAGE = (Path(__file__).parents[3] / "docs" / "import.md").read_text()


def test_every_key_without_a_place_in_azure_is_named() -> None:
    [listed] = re.findall(r"^Azure has no key for these: (.*)$", PAGE, re.MULTILINE)
    assert set(NO_PLACE) == set(re.findall(r"`(\w+)`", listed))


def test_its_commands_and_options_exist() -> None:
    known = {name: {o for p in c.params for o in p.opts} for name, c in commands()}
    lines = re.findall(r"^tocsin (?:\w+ )+.*$", PAGE, re.MULTILINE)
    assert lines
    for line in lines:
        name = " ".join(line.split()[:3])
        assert set(re.findall(r"--[\w-]+", line)) <= known[name], line


def test_the_types_that_it_says_are_read_are_read() -> None:
    named = {t.lower() for t in re.findall(r"`(Microsoft\.\w+/\w+)`", PAGE)}
    assert named
    assert named <= ALERT_TYPES

"""docs/cli.md names every command and option and nothing else."""

import re
from pathlib import Path

from tocsin.cli.reference import cli_reference, commands

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_made_from_the_commands() -> None:
    assert cli_reference() == PAGE.read_text()


def test_every_command_and_option_is_on_the_page_and_the_other_way_round() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
    listed = {s.splitlines()[0]: set(re.findall(r"^\| `(--[a-z-]+)", s, re.M)) for s in sections}
    known = {
        name: {o for p in c.params for o in p.opts if o.startswith("--") and o != "--help"} for name, c in commands()
    }
    assert known == listed


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = [name for name, command in commands() if not (command.help or "").strip()]
    silent += [f"{name} {p.name}" for name, command in commands() for p in command.params if not p.help]
    assert [] == silent


def test_home_is_everywhere() -> None:
    """Every command but those that make or need no home takes --home."""
    without = {name for name, c in commands() if not any("--home" in p.opts for p in c.params)}
    assert {"tocsin exec", "tocsin init", "tocsin rules schema"} == without

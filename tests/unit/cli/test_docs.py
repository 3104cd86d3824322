"""docs/cli.md names every command and option and nothing else."""

import re
from pathlib import Path

from tocsin.cli.reference import cli_reference, commands

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_made_from_the_commands() -> None:
    assert cli_reference() == PAGE.read_text()


def test_every_command_and_option_is_on_the_page_and_the_other_way_round() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
    listed = {
        s.splitlines()[0]: {
            o for cell in re.findall(r"^\| `([^`]+)`", s, re.M) for o in re.findall(r"--[a-z][a-z-]*", cell)
        }
        for s in sections
    }
    known = {
        name: {o for p in c.params for o in p.opts if o.startswith("--") and o != "--help"} for name, c in commands()
    }
    assert known == listed


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = [name for name, command in commands() if not (command.help or "").strip()]
    silent += [f"{name} {p.name}" for name, command in commands() for p in command.params if not p.help]
    assert [] == silent


def test_home_is_everywhere() -> None:
    """Every command but those that make or need no project directory takes --home; those of a workspace take --path."""
    without = {name: c for name, c in commands() if not any("--home" in p.opts for p in c.params)}
    of_a_workspace = {name for name, c in without.items() if any("--path" in p.opts for p in c.params)}
    assert {"tocsin exec", "tocsin init", "tocsin rules schema"} == set(without) - of_a_workspace
    assert {"run", "ml", "experiment", "folder", "login"} == {name.split()[1] for name in of_a_workspace}

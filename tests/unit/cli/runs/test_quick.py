"""`tocsin exec` reads its options without the library, and as the library does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.test_imports import _loaded
from tocsin.cli.reference import commands
from tocsin.cli.runs import quick


def test_it_knows_every_option_that_the_page_names() -> None:
    (command,) = (c for name, c in commands() if name == "tocsin exec")
    options = {o for p in command.params if p.param_type_name == "option" for o in p.opts if o != "--help"}
    assert options == {*quick.TEXTS, quick.TAG, quick.HEARTBEAT, quick.VERBOSE}


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("--name n --tag a=b --tag=c=d --heartbeat 5 -- sh -c x", {"command": ["sh", "-c", "x"], "name": "n", "tags": ["a=b", "c=d"], "heartbeat": 5.0}),
        ("make --name x", {"command": ["make", "--name", "x"], "tags": []}),
        ("--verbose -- --odd", {"command": ["--odd"], "tags": [], "verbose": True}),
        ("-- a -- b", {"command": ["a", "--", "b"], "tags": []}),
        ("--help", None),
        ("--nmae x -- true", None),
        ("--heartbeat 0 -- true", None),
        ("--heartbeat soon -- true", None),
        ("--name", None),
        ("--name x --", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_it_does_not_know_goes_to_the_library(words: str, given: dict[str, Any] | None) -> None:
    assert given == quick.parse(words.split())


def test_a_wrapped_command_waits_for_no_library() -> None:
    heavy = {"typer", "pydantic", "httpx", "rich", "duckdb", "sqlalchemy"}
    assert set() == heavy & _loaded(
        "import tocsin.cli, tocsin.cli.runs.quick, tocsin.sdk.running.wrap, tocsin.sdk.running.journal"
    )

"""Fixtures of the tests of commands."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Done, command
from tests.integration.lived import live

Run = Callable[..., Done]


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin with a little history. Only look at it."""
    tocsin = live(tmp_path_factory.mktemp("commands") / "home")
    yield tocsin
    tocsin.kill()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an empty directory: run("check", "--home", path, stdin="…", TOCSIN_HOME="…"); inside this
    process.
    """

    def call(*arguments: object, stdin: str = "", **env: str) -> Done:
        return command(*arguments, cwd=tmp_path, stdin=stdin, **env)

    return call


@pytest.fixture
def spawn(tmp_path: Path) -> Run:
    """The same in a process of its own."""

    def call(*arguments: object, **env: str) -> Done:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
        return subprocess.run(
            [str(PROGRAM), *(str(a) for a in arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=100, env={**clean, **env},
        )  # fmt: skip

    return call

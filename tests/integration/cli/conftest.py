"""Fixtures of the tests of commands."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import PROGRAM, live
from tocsin.cli.main import run as main

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin with a little history. Only look at it."""
    tocsin = live(tmp_path_factory.mktemp("commands") / "home")
    yield tocsin
    tocsin.kill()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty directory: run("check", "--home", path, stdin="…", TOCSIN_HOME="…").

    It runs inside this process, from argv to exit code: starting an interpreter for each would take a second.
    """

    def call(*arguments: object, stdin: str = "", **env: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        argv = ["tocsin", *(str(a) for a in arguments)]
        with monkeypatch.context() as m, redirect_stdout(out), redirect_stderr(err):
            for name in [n for n in os.environ if n.startswith("TOCSIN_")]:
                m.delenv(name)
            for name, value in env.items():
                m.setenv(name, value)
            m.chdir(tmp_path)
            m.setattr(sys, "argv", argv)
            m.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code if isinstance(ended.value.code, int) else 0 if ended.value.code is None else 1
        return Done(argv, code, out.getvalue(), err.getvalue())

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

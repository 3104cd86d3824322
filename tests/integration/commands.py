"""Commands inside this process, from argv to exit code: an interpreter for each would take a second of CPU time."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tocsin.cli.main import run as main

PROGRAM = Path(sys.executable).with_name("tocsin")
Done = subprocess.CompletedProcess[str]


def command(*arguments: object, cwd: Path, stdin: str = "", **env: str) -> Done:
    """Run `tocsin` with `arguments` in `cwd`; of this process's TOCSIN_ variables it sees those of `env` only."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["tocsin", *(str(a) for a in arguments)]
    with pytest.MonkeyPatch.context() as m, redirect_stdout(out), redirect_stderr(err):
        for name in [n for n in os.environ if n.startswith("TOCSIN_") and n != "TOCSIN_SPOOL"]:
            m.delenv(name)
        for name, value in env.items():
            m.setenv(name, value)
        m.chdir(cwd)
        m.setattr(sys, "argv", argv)
        m.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code if isinstance(ended.value.code, int) else 0 if ended.value.code is None else 1
    return Done(argv, code, out.getvalue(), err.getvalue())


class Here(Tocsin):
    """A tocsin of this checkout, whose commands run in this process."""

    def run(self, *arguments: str, within: float = 60, **env: str) -> Done:
        """Run another tocsin command on this project directory."""
        return command(*arguments, "--home", self.home, cwd=self.home, **env)

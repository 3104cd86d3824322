"""Commands on pages run as they are written, on a project directory with a little history."""

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = re.findall(r"^(?:\$ )?tocsin (.*)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_troubleshooting_page_runs(run: Run, lived: Tocsin, command: str) -> None:
    done = run(*shlex.split(command), TOCSIN_HOME=str(lived.home))
    assert 0 == done.returncode, done.stderr


def test_the_page_on_operations_backs_up_and_restores(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    """Its lines with a directory of the test in place of /backups."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8").replace("/backups", str(tmp_path / "backups"))
    (doctor,) = re.findall(r"^\$ tocsin (doctor)$", page, re.M)
    (backup,) = re.findall(r"^\$ tocsin (backup .*)$", page, re.M)
    (restore,) = re.findall(r"^\$ tocsin (restore .*)$", page, re.M)
    for command, home in ((doctor, lived.home), (backup, lived.home), (restore, tmp_path / "new")):
        Path(home).mkdir(exist_ok=True)
        done = run(*shlex.split(command), TOCSIN_HOME=str(home))
        assert 0 == done.returncode, (command, done.stderr)

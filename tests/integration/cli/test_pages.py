"""Commands on pages run as they are written, on a project directory with a little history."""

import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = re.findall(r"^(?:\$ )?tocsin (.*)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_troubleshooting_page_runs(run: Run, lived: Tocsin, command: str) -> None:
    done = run(*shlex.split(command), TOCSIN_HOME=str(lived.home))
    assert 0 == done.returncode, done.stderr


def test_the_page_on_grafana_oncall_is_right(run: Run, tmp_path: Path) -> None:
    """Its file is one that `check` takes, and its commands answer on it; nothing is sent here."""
    page = (DOCS / "leaving-grafana-oncall.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"^   ```yaml\n(.*?)^   ```$", page, re.M | re.S)
    (tmp_path / "rules" / "oncall").mkdir(parents=True)
    (tmp_path / "rules" / "oncall" / "team.yaml").write_text(dedent(file))
    commands = [
        command
        for command in re.findall(r"`tocsin ([^`]+)`", page)
        if command.split()[0] in ("check", "oncall", "route")
    ]
    assert 3 == len(commands)
    for command in commands:
        done = run(*shlex.split(command))
        assert 0 == done.returncode, (command, done.stderr)


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

"""Exit codes: 0 where all is fine, 1 where problems were found, 2 for misuse, as docs/cli.md says; one line says why."""

from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run

ROOT = Path(__file__).parents[3]
CODES = [
    ("check", 0),
    ("rules list", 0),
    ("rules test run-failed", 0),
    ("rules explain run-failed", 0),
    ("rules explain run-faild", 1),
    ("query Runs", 0),
    ("query Rns", 1),
    ("query", 2),
    ("runs list", 0),
    ("runs show no-such-run", 1),
    ("alerts list --open", 0),
    ("alerts show no-such-alert", 1),
    ("alerts ack no-such-alert --by anna", 1),
    ("alerts ack no-such-alert", 2),
    ("alerts snooze x --for tomorrow --by anna", 2),
    ("notifications list", 0),
    ("notifications list --state lost", 2),
    ("notifications show no-such-message", 1),
    ("silence list", 0),
    ("silence expire no-such-silence", 1),
    ("silence preview nonsense", 2),
    ("dead-letters list", 0),
    ("tokens list", 0),
    ("copy no/such/file.yaml", 1),
    ("rules list --no-such-option", 2),
    ("no-such-command", 2),
]


@pytest.mark.parametrize(("line", "code"), CODES, ids=[line for line, _ in CODES])
def test_a_command_ends_with_the_documented_code(run: Run, lived: Tocsin, line: str, code: int) -> None:
    home = [] if line == "no-such-command" else ["--home", lived.home]
    done = run(*line.split(), *home)
    assert code == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert code == 0 or done.stderr.strip()


def test_the_documented_codes_are_these() -> None:
    said = "The exit code is 0 where all is fine, 1 where problems were found, 2 for misuse."
    assert said in (ROOT / "docs" / "cli.md").read_text()

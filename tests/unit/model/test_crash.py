"""Crash points end a process where and when they say; each name is called somewhere."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tocsin.model.crash import POINTS, read

SOURCES = Path(__file__).parents[3] / "src" / "tocsin"
PASSES = "from tocsin.model import crash\nfor n in range(5):\n    crash.point('after_250')\n    print(n, flush=True)"
BLOCK = "import threading\nfrom tocsin.model import crash\nwith crash.inside('in_checkpoint'):\n    threading.Event().wait(30)"


def run(code: str, crash_at: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TOCSIN_CRASH_AT": crash_at, "PYTHONPATH": str(SOURCES.parent)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)


def test_at_the_nth_pass() -> None:
    done = run(PASSES, "after_250:3")
    assert (-signal.SIGKILL, "0\n1\n") == (done.returncode, done.stdout)


def test_inside_a_block() -> None:
    assert -signal.SIGKILL == run(BLOCK, "in_checkpoint").returncode


def test_elsewhere_it_does_nothing() -> None:
    assert 0 == run(PASSES, "after_sent").returncode


def test_every_name_is_called_and_no_other() -> None:
    """A point that nobody passes would let a kill test wait in vain."""
    text = "\n".join(file.read_text() for file in SOURCES.rglob("*.py") if file.name != "crash.py")
    assert POINTS == set(re.findall(r"\b(?:point|inside)\(\"(\w+)\"\)", text))


@pytest.mark.parametrize("wrong", ["after_lunch", "after_250:0", "after_250:x"])
def test_a_wrong_name_or_number_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        read(wrong)

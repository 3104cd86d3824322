"""tocsin beside what data scientists have installed: numpy, pandas, polars, and nothing of these."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.oracle.events import Event
from tests.servers.eventually import eventually
from tests.servers.smtp import SmtpServer

BESIDE = ("numpy", "pandas", "polars")
"""Installed one after the other into one environment: numpy alone, numpy with pandas, all three."""


def uv(*arguments: str, cwd: Path) -> str:
    """Run uv outside the checkout; what it prints."""
    program = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [program, "-q", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def beside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bin folder of an environment like that of ``wheel``, to which a test adds packages."""
    directory = tmp_path_factory.mktemp("beside")
    python = str(directory / "venv/bin/python")
    uv("venv", "--python", str(wheel / "python"), str(directory / "venv"), cwd=directory)
    (directory / "same.txt").write_text(uv("pip", "freeze", "--python", str(wheel / "python"), cwd=directory))
    uv("pip", "install", "--python", python, "--no-deps", "-r", str(directory / "same.txt"), cwd=directory)
    yield directory / "venv/bin"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", range(len(BESIDE) + 1), ids=lambda count: "+".join(BESIDE[:count]) or "bare")
def test_events_queries_and_mails_work_beside(
    beside: Path, count: int, make_tocsin: MakeTocsin, smtp: SmtpServer, tmp_path: Path
) -> None:
    """A failed run is stored, queried and mailed; then the store opens offline and is queried, checked, exported.

    Where numpy was installed without pandas, every command that opened the store ended with AttributeError: Arrow took
    the None in ``sys.modules``, by which DuckDB learns that pandas is not there, for pandas.
    """
    python = str(beside / "python")
    if surplus := BESIDE[count:]:  # what stays keeps its compiled modules
        uv("pip", "uninstall", "--python", python, *surplus, cwd=tmp_path)
    if wanted := BESIDE[:count]:
        uv("pip", "install", "--python", python, *wanted, cwd=tmp_path)
    for number, name in enumerate(BESIDE):  # else the test would say nothing
        found = subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode
        assert (found == 0) == (number < count), f"{name} is {'' if found == 0 else 'not '}installed"
    tocsin = make_tocsin(smtp=smtp)
    tocsin.program = beside / "tocsin"
    tocsin.start()
    try:
        now = datetime.now(UTC)
        tocsin.post([Event(run=f"r{n}", status="Failed", id=f"e{n}", time=now) for n in range(12)])
        eventually(lambda: len(tocsin.notified()) == 12, within=30)
        assert tocsin.count("RunStatusChanged | where RunId in ('r1', 'r2') | take 5") == 2
    finally:
        assert tocsin.stop() == 0
    for command in (
        ("query", "Runs | summarize n = count() by bin(StartTime, 1h) | take 3"),
        ("query", "range x from 1 to 3 step 1 | extend bag = pack('x', x), late = ago(1h)"),
        ("rules", "backtest", "run-failed", "--from", "1d"),
        ("export", "--parquet", str(tmp_path / "parquet")),
        ("doctor",),
    ):
        done = tocsin.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

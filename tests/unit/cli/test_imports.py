"""What a command imports before it does something: a start is mostly that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tocsin.cli.main import tree
from tocsin.config.project.home import init_home

HEAVY = ("duckdb", "duckdb_kql", "httpx", "jinja2", "pyarrow", "pydantic", "rich", "sqlalchemy", "structlog", "uvicorn")


def _loaded(statement: str) -> set[str]:
    """Modules that are there after ``statement``."""
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import tocsin.cli.main", HEAVY),
        ("import tocsin.cli.client", HEAVY),
        ("import tocsin.app.views.check", ("sqlalchemy", "uvicorn", "duckdb_kql._antlr.KqlParser")),
        ("from tocsin.cli.common import structlog_alone; structlog_alone()", ("rich", "pygments")),
        ("from tocsin.cli.common import httpx_alone; httpx_alone()", ("rich", "pygments", "click")),
        (
            "from tocsin.cli.common import structlog_alone; structlog_alone(); import tocsin.app.run.up",
            ("httpx", "rich", "tocsin.rules.backtest.run"),
        ),
    ],
)
def test_what_is_not_needed_is_not_imported(statement: str, absent: tuple[str, ...]) -> None:
    """A help text needs none of the libraries, a check no state, a log line no colours, common KQL no generated
    parser.
    """
    assert set() == _loaded(statement) & set(absent)


@pytest.mark.parametrize(
    ("command", "most", "absent"),
    [
        (["rules", "list"], 275, ("pyarrow", "sqlalchemy", "tocsin.notify", "tocsin.intake", "tocsin.logstore.duck")),
        (["check"], 345, ("sqlalchemy", "httpx", "tocsin.logstore.duck", "tocsin.web")),
        (["--help"], 40, (*HEAVY, "tocsin.config", "tocsin.rules")),
    ],
    ids=("list", "check", "help"),
)
def test_a_command_imports_no_more_than_it_needs(
    command: list[str], most: int, absent: tuple[str, ...], tmp_path: Path
) -> None:
    """The time of a command is its imports. Rules alone need neither Arrow, nor channels, nor consumers: on-call files are
    read whole only where one declares a calendar or a maintenance.
    """
    init_home(tmp_path)
    argv = [*command, *(["--home", str(tmp_path)] if command != ["--help"] else [])]
    run = f"sys.argv = ['tocsin', *{argv!r}]; atexit.register(lambda: print('\\nloaded', *sys.modules)); run()"
    code = f"import atexit, sys; from tocsin.cli.main import run; {run}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rsplit("loaded ", 1)[-1].split())
    assert set() == loaded & set(absent)
    assert len([name for name in loaded if name.startswith("tocsin")]) <= most


def test_a_start_is_hardly_looked_through_for_garbage() -> None:
    """Modules stay: to collect while they come finds nothing."""
    code = (
        "import atexit, gc, sys; from tocsin.cli import main; sys.argv = ['tocsin', '--help']; "
        "atexit.register(lambda: print('collections', sum(s['collections'] for s in gc.get_stats()))); main()"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said.split("collections ")[-1]) <= 20


def test_rich_can_be_imported_afterwards() -> None:
    """Tables for people are drawn with it."""
    statement = "from tocsin.cli.common import structlog_alone; structlog_alone(); import rich.table"
    assert {"structlog", "rich"} <= _loaded(statement)


def test_upstreams_parser_can_be_imported_afterwards() -> None:
    """Only what upstream itself imports is put off."""
    statement = "import tocsin.kql; from duckdb_kql._antlr.KqlParser import KqlParser; assert KqlParser.literalNames"
    assert "duckdb_kql._antlr.KqlParser" in _loaded(statement)


def test_only_the_command_that_is_asked_for_is_made() -> None:
    """To make all ninety takes longer than most of them; a misspelt one is answered by all."""
    assert list(tree("check").commands) == ["check"]
    assert list(tree("rules").commands) == ["rules"]
    assert tree("chekc").commands.keys() == tree().commands.keys() > {"check", "rules"}

"""The rooms hold: imports go down only, and no module outgrows its room."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tocsin"
LONGEST = 500  # lines; past that, two ideas
FULLEST = 15  # modules of a folder

# Modules that may be longer, with the reason. Empty is how it should stay.
LONG_WITH_REASON: dict[str, str] = {}

# What decides, computes; it is handed what it needs to know.
PURE = (
    "alerts",
    "rules/driver/evaluate",
    "notify/oncall",
    *(f"notify/routing/{name}" for name in ("critical", "decide", "groups", "inhibit", "matchers", "mute", "tree")),
)
EFFECTS = {"aiosmtplib", "asyncio", "duckdb", "httpx", "kafka", "os", "socket", "sqlalchemy", "subprocess", "threading"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_go_down_only() -> None:
    """import-linter's contracts in pyproject.toml are kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_is_under_contract() -> None:
    """A new folder of the package is named in the layers, or nothing would hold it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    under_contract = {name.removeprefix("tocsin.") for layer in layers for name in re.split(r" [:|] ", layer)}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert under_contract == packages | files


def test_no_module_is_too_long() -> None:
    """Past 500 lines a module is two."""
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in modules()}
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    assert sorted(LONG_WITH_REASON) == sorted(too_long), too_long


def test_no_room_is_crowded() -> None:
    """A folder past 15 modules has rooms in it."""
    crowded = {
        path.parent.relative_to(PACKAGE).as_posix(): n
        for path in PACKAGE.rglob("__init__.py")
        if (n := len(list(path.parent.glob("*.py"))) - 1) > FULLEST
    }
    assert {} == crowded


def test_what_decides_does_no_io() -> None:
    """These rooms import nothing that reads, writes or waits."""
    found = []
    for path in modules():
        if not path.relative_to(PACKAGE).as_posix().removesuffix(".py").startswith(PURE):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [f"{path.name}: {name}" for name in names if name.partition(".")[0] in EFFECTS]
    assert [] == found


@pytest.mark.parametrize("room", ["app", "cli", "config", "demo", "intake", "interchange", "model"])
def test_a_room_says_what_it_takes_and_where_to_start(room: str) -> None:
    """Five lines: what comes in, what goes out, who calls it, what it never does, and files that are there."""
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    lines = dict(line.split(": ", 1) for line in said.splitlines()[2:])
    assert ["In", "Out", "Called by", "Never", "Start at"] == list(lines)
    named = re.findall(r"[\w/]+\.py", lines["Start at"])
    assert named
    assert [] == [name for name in named if not (PACKAGE / room / name).is_file()]

"""``import tocsin`` is light: a training script pays for what it uses."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tocsin

PIPELINE = {"duckdb", "duckdb_kql", "httpx", "jinja2", "kafka", "pyarrow", "pydantic", "rich", "sqlalchemy", "structlog", "typer", "uvicorn"}  # fmt: skip
LATER = {"asyncio", "http.client", "jmespath", "msgspec", "pathspec", "ssl", "yaml"}


def loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import tocsin", "from tocsin import Workspace, Experiment, Run, ScriptRunConfig", "import tocsin.core"],
)
def test_nothing_of_the_pipeline_is_loaded(statement: str) -> None:
    modules = loaded(statement)
    assert set() == modules & (PIPELINE | LATER)
    assert {"tocsin.sdk", "tocsin.core"} >= {m for m in modules if m.count(".") == 1 and m.startswith("tocsin.")} - {
        "tocsin.clock", "tocsin.errors", "tocsin.model",
    }  # fmt: skip


def test_import_tocsin_alone_loads_no_sdk() -> None:
    assert {"tocsin"} == {m for m in loaded("import tocsin") if m.startswith("tocsin")}


def test_the_articles_first_lines() -> None:
    import tocsin.core
    from tocsin.core import Experiment, Run, ScriptRunConfig, Workspace
    from tocsin.exceptions import ActivityFailedException

    assert tocsin.core.VERSION == tocsin.VERSION == tocsin.__version__
    assert (tocsin.Workspace, tocsin.Experiment, tocsin.Run, tocsin.ScriptRunConfig) == (
        Workspace, Experiment, Run, ScriptRunConfig,
    )  # fmt: skip
    assert issubclass(ActivityFailedException, Exception)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = tocsin.nope


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere: at its top, inside a function, for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_modules_of_the_sdk_import_each_other_in_a_circle() -> None:
    """Nor inside functions, nor for types alone: each part can be read after those below it."""
    source = Path(tocsin.__file__).parent
    modules = {
        "tocsin." + ".".join(path.relative_to(source).with_suffix("").parts): imported(path)
        for room in ("sdk", "core", "callbacks", "listeners")
        for path in (source / room).rglob("*.py")
        if path.name != "__init__.py"
    }
    needs = {name: modules.keys() & found for name, found in modules.items()}
    list(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle

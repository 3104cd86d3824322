"""pyproject.toml declares what is imported and nothing else, each part up to a version that is known to work."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "pyproject.toml"
HOSTS = {"airflow", "keras", "lightning", "mlflow", "pytorch_lightning", "torch", "transformers"}
"""Programs that load a plugin of ours, so that they are there when it is imported."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, tuple[str, str]]:
    """Dependencies by name: the requirement, and the comment lines right above it."""
    text = PROJECT.read_text()
    block = text[text.index("\ndependencies = [") : text.index("\n]\n\n[project.scripts]")]
    found, comment = {}, ""
    for line in block.splitlines()[2:]:
        if line.strip().startswith("#"):
            comment += line.strip().removeprefix("#")
            continue
        requirement = line.strip().strip('",')
        found[canonical(re.split(r"[<>=!~;\[ ]", requirement)[0])] = (requirement, comment)
        comment = ""
    return found


def imported(*folders: str) -> set[str]:
    """Distributions that the modules under `folders` import, lazily too. Ours and Python's own are left out."""
    distributions = packages_distributions()
    names = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").split(".")[0])
    ours = {"tocsin", "tests", "bench", "docs", "deploy"} | HOSTS
    return {canonical(d) for name in names - sys.stdlib_module_names - ours for d in distributions[name]}


def test_the_comments_are_read_from_every_dependency() -> None:
    """The reading of the lines agrees with TOML's."""
    dependencies = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    assert dependencies == [requirement for requirement, _ in declared().values()]


def test_declared_is_what_is_imported() -> None:
    """What is declared and not imported says "Not imported:" and who uses it."""
    unimported = {name for name, (_, comment) in declared().items() if "Not imported:" in comment}
    assert imported("src") | unimported == set(declared())
    assert not imported("src") & unimported


def test_tests_import_what_is_declared() -> None:
    groups = tomllib.loads(PROJECT.read_text())["dependency-groups"]
    dev = {canonical(re.split(r"[<>=!~;\[ ]", requirement)[0]) for requirement in groups["dev"]}
    assert imported("tests", "bench", "docs") <= set(declared()) | dev


@pytest.mark.parametrize("name", sorted(declared()))
def test_it_stops_before_what_may_break_us(name: str) -> None:
    """A dependency has an upper bound, or its comment says "Open:" and why."""
    requirement, comment = declared()[name]
    assert ("<" in requirement) != ("Open:" in comment)


def test_the_list_of_what_is_installed_is_that_of_the_lock(tmp_path: Path) -> None:
    """`make sbom` writes it: each dependency that is declared stands in it with a version."""
    uv = Path(sys.executable).with_name("uv")
    command = next(line for line in (ROOT / "Makefile").read_text().split("\n\n") if line.startswith("sbom:"))
    options = re.findall(r"--(?:frozen|offline|no-dev|no-emit-project|format \S+|preview-features \S+)", command)
    out = tmp_path / "sbom.json"
    subprocess.run(
        [uv, "export", "--quiet", *" ".join(options).split(), "--output-file", out], cwd=ROOT, check=True, timeout=60
    )
    found = json.loads(out.read_text())
    assert "CycloneDX" == found["bomFormat"]
    listed = {canonical(each["name"]): each.get("version") for each in found["components"]}
    assert [] == [name for name in declared() if not listed.get(name)]

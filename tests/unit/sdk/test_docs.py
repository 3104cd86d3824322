"""docs/sdk.md names every public method, variable and setting of the SDK and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import tocsin
from tocsin import Workspace

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sdk.md").read_text()


def first_cells(title: str) -> set[str]:
    """What stands in backticks in the first column of the table below a heading."""
    section = PAGE.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


@pytest.mark.parametrize("name", ["Workspace", "Experiment", "Run"])
def test_every_method_is_in_the_table_and_the_other_way_round(name: str) -> None:
    public = {n for n in dir(getattr(tocsin, name)) if not n.startswith("_")}
    assert public == first_cells(name)


def test_every_variable_is_in_the_table() -> None:
    """Those that the SDK reads or sets."""
    texts = [p.read_text() for p in (ROOT / "src" / "tocsin" / "sdk").rglob("*.py")]
    used = {name for text in texts for name in re.findall(r"TOCSIN_[A-Z_]+", text)}
    elsewhere = {"TOCSIN_SPOOL"}  # of exec: docs/exec.md
    assert used - elsewhere - {"TOCSIN_HOME"} == set(re.findall(r"TOCSIN_[A-Z_]+", PAGE)) - {"TOCSIN_HOME"}
    assert elsewhere <= set(re.findall(r"TOCSIN_[A-Z_]+", (ROOT / "docs" / "exec.md").read_text()))


def test_every_setting_of_a_workspace_is_in_the_table() -> None:
    texts = " ".join(p.read_text() for p in (ROOT / "src" / "tocsin" / "sdk").rglob("*.py"))
    used = set(re.findall(r"settings\.get\(\"([a-z_]+)\"", texts))
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE.split("## Workspace files")[1].split("| variable")[0], re.M))
    assert used - {"resource_group", "subscription_id", "location", "sku", "tags"} == rows - {"experiment"}


def test_the_pages_example_of_a_target_is_right(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "leaving-azureml.md").read_text()
    (tmp_path / ".tocsin").mkdir()
    block = re.search(r"```json\n(.*?)```", text, re.S)
    assert block is not None
    (tmp_path / ".tocsin" / "config.json").write_text(json.dumps(json.loads(block[1])))
    assert 1 == Workspace.from_config(tmp_path).compute_targets["gpu-cluster"].slots

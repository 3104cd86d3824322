"""A workspace of its own for each test, and nobody to send events to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin import Experiment, Workspace


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine decides; the test works in a folder of its own."""
    for name in ("TOCSIN_RUN_ID", "TOCSIN_WORKSPACE", "TOCSIN_HOME", "TOCSIN_TOKEN", "RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOCSIN_URL", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.create("lab", path=tmp_path)


@pytest.fixture
def exp(ws: Workspace) -> Experiment:
    return Experiment(ws, "explore-runs")

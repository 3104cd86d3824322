"""Submitters, runners, scripts and the server are killed at random: statuses end right there and here, metrics stay."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM
from tests.servers.eventually import eventually
from tocsin import Run, Workspace

pytestmark = pytest.mark.soak
SCRIPT = """
import threading
from tocsin import Run
run = Run.get_context()
for i in range(400):
    run.log("x", i)
    threading.Event().wait(0.05)
"""
SUBMITTER = """
from tocsin import Experiment, ScriptRunConfig, Workspace
run = Experiment(Workspace.from_config(), "e").submit(ScriptRunConfig(source_directory="src", script="s.py"))
print(run.id, flush=True)
run.wait_for_completion(raise_on_error=False)
"""


def _started(ws: Workspace, run_id: str) -> bool:
    return bool(Run.get(ws, run_id)._row().script)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(5))
def test_every_run_ends_as_what_was_killed_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Failed where its runner or script was killed, else Completed; the same in the store once what waits is sent."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "s.py").write_text(SCRIPT)
    (tmp_path / "home").mkdir()
    server = Tocsin(program=PROGRAM, home=tmp_path / "home").start(within=60)
    for name, value in {"TOCSIN_URL": server.url, "TOCSIN_HEARTBEAT": "2"}.items():
        monkeypatch.setenv(name, value)
    ws = Workspace.create("kills", path=tmp_path)
    draw, killed, submitters = random.Random(seed), {}, []
    for _ in range(8):
        p = subprocess.Popen([sys.executable, "-c", SUBMITTER], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert p.stdout is not None
        with p.stdout as out:
            submitters.append((p, out.readline().strip()))
    try:
        for p, run_id in submitters:
            killed[run_id] = what = draw.choice(["submitter", "runner", "script", "server", "nothing"])
            eventually(partial(_started, ws, run_id), within=30)
            threading.Event().wait(draw.random() / 5)
            row = Run.get(ws, run_id)._row()
            if what == "submitter":
                p.kill()
            elif what == "server":
                server.kill()
                server.start(within=60)
            elif what in ("runner", "script"):
                try:
                    os.kill(json.loads(row.owner if what == "runner" else row.script)["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    killed[run_id] = "nothing"  # it was over already
        wanted = {run: "Failed" if what in ("runner", "script") else "Completed" for run, what in killed.items()}

        def over() -> bool:
            return wanted == {run: Run.get(ws, run).status for run in wanted}

        eventually(over, within=90)
        for run, status in wanted.items():
            logged = len(Run.get(ws, run).get_metric_history("x"))
            assert logged == 400 if status == "Completed" else logged < 400
        subprocess.run([PROGRAM, "run", "sync"], cwd=tmp_path, check=True, timeout=60)
        shown = {row["RunId"]: row["Status"] for row in server.get("/api/v1/runs").body["runs"]}
        assert wanted == {run: shown.get(run) for run in wanted}
    finally:
        ws._session.recorder.close()
        server.kill()
        for p, _ in submitters:
            p.kill()
            p.wait(30)

"""docs/tutorial.md is run as it stands: its files are written, its commands executed, in order."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.pages import blocks, shown_on
from tests.servers.eventually import eventually
from tests.servers.process import free_port


@pytest.mark.timeout(400)
def test_the_tutorial_ends_in_a_mail(tmp_path: Path, wheel: Path) -> None:
    """Every ``sh`` block succeeds; ``background`` ones stay up; ``retry`` ones succeed soon."""
    port = str(free_port())
    env = {**os.environ, "PATH": f"{wheel}{os.pathsep}{os.environ['PATH']}"}
    running: list[subprocess.Popen[bytes]] = []
    try:
        with shown_on("docs/tutorial.md") as commands:
            for block in blocks("docs/tutorial.md"):
                text = block.text.replace("8701", port)
                if file := next((w.removeprefix("file=") for w in block.words if w.startswith("file=")), ""):
                    target = tmp_path / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(text)
                if block.kind != "sh":
                    continue
                if "background" in block.words:
                    running.append(subprocess.Popen(["sh", "-c", f"exec {text.strip()}"], cwd=tmp_path, env=env))
                    eventually(lambda: _run(f"curl -sf http://127.0.0.1:{port}/readyz", tmp_path, env), within=60)
                elif "retry" in block.words:
                    eventually(partial(_run, text, tmp_path, env), within=60)
                else:
                    _run(text, tmp_path, env)
                commands.ran(block)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            assert 0 == process.wait(60)


def _run(script: str, cwd: Path, env: dict[str, str]) -> bool:
    done = subprocess.run(["sh", "-e", "-c", script], cwd=cwd, env=env, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return True

"""docs/runs.md is run as it stands, with the wheel: its Python in one interpreter, its commands in a shell, in order."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.pages import blocks, shown_on
from tests.servers.eventually import eventually
from tests.servers.process import free_port

INTERPRETER = """
import json, sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "runs.md", "exec"), names)
        print("\\0fine", flush=True)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print("\\0failed", flush=True)
"""


@pytest.mark.timeout(400)
def test_every_block_of_the_page_runs(tmp_path: Path, wheel: Path) -> None:
    """``background`` ones stay up, ``retry`` ones succeed soon, ``fails`` ones end with another code than 0."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    env = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    env |= {"PATH": f"{wheel}{os.pathsep}{env['PATH']}", "TOCSIN_SPOOL": str(tmp_path / "spool"), "TOCSIN_URL": ""}
    running: list[subprocess.Popen[bytes]] = []
    python = subprocess.Popen(
        [wheel / "python", "-c", INTERPRETER],
        cwd=tmp_path,
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        with shown_on("docs/runs.md") as commands:
            for block in blocks("docs/runs.md"):
                text = block.text.replace("8701", port)
                here = env | ({"TOCSIN_URL": url} if "url" in block.words else {})
                if block.kind == "python":
                    _exec(python, text)
                elif "background" in block.words:
                    running.append(subprocess.Popen(["sh", "-c", f"exec {text.strip()}"], cwd=tmp_path, env=here))
                    eventually(partial(_run, f"curl -sf {url}/readyz", tmp_path, here, 0), within=60)
                elif "retry" in block.words:
                    without = {k: v for k, v in here.items() if k != "TOCSIN_URL"}
                    eventually(partial(_run, text, tmp_path, without, 0), within=60)
                else:
                    _run(text, tmp_path, here, 3 if "fails" in block.words else 0)
                commands.ran(block)
    finally:
        assert python.stdin is not None
        python.stdin.close()
        assert python.stdout is not None
        python.stdout.close()
        python.wait(60)
        for process in running:
            process.terminate()
        for process in running:
            assert 0 == process.wait(60)


def _exec(python: subprocess.Popen[str], text: str) -> None:
    assert python.stdin is not None
    assert python.stdout is not None
    python.stdin.write(json.dumps(text) + "\n")
    python.stdin.flush()
    said = ""
    for line in python.stdout:
        if line.startswith("\0"):
            assert "\0fine\n" == line, f"{text}\n{said}"
            return
        said += line
    raise AssertionError(f"the interpreter ended:\n{text}\n{said}")


def _run(script: str, cwd: Path, env: dict[str, str], code: int) -> bool:
    done = subprocess.run(["sh", "-e", "-c", script], cwd=cwd, env=env, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, f"{script}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return True

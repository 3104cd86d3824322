"""Submitted scripts: what they see, how they end, how they are stopped, what a kill -9 of anybody leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.servers.eventually import eventually
from tests.servers.process import free_port
from tocsin import Experiment, Run, ScriptRunConfig, Workspace
from tocsin.sdk.errors import ActivityFailedException, ExperimentExecutionException
from tocsin.sdk.running.process import ProcessId, start_of
from tocsin.sdk.running.runner import reason

HELLO = """
import os, sys
from tocsin.core import Run
run = Run.get_context(allow_offline=False)
run.log("x", 1)
run.log("x", 2)
run.tag("from", "the script")
run.complete()
with run:
    pass
open("outputs/model.txt", "w").write(" ".join(sys.argv[1:]))
print("hello from", run.id)
print(run.experiment.workspace.name)
"""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def script(code: Path, text: str, name: str = "script.py") -> ScriptRunConfig:
    (code / name).write_text(text)
    return ScriptRunConfig(str(code), name)


def settings(ws: Workspace, **more: Any) -> Experiment:
    """The experiment again, in a workspace whose file says more."""
    path = ws.folder / ".tocsin" / "config.json"
    path.write_text(json.dumps({"workspace_name": ws.name, "cancel_grace_seconds": 0.2, **more}))
    return Experiment(Workspace.from_config(ws.folder), "explore-runs")


def log_of(run: Run) -> str:
    return (run._files / "user_logs" / "std_log.txt").read_text()


def child_of(run: Run) -> int:
    """The process that STUBBORN has started."""
    return int(
        eventually(lambda: [w for w in log_of(run).split() if w.isdigit()] if run.status == "Running" else [], 30)[0]
    )


def test_a_script_runs_in_a_copy_of_its_folder(exp: Experiment, code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its arguments, output, files, metrics and tags are the run's; inside it the exit code alone sets the status."""
    config = script(code, HELLO)
    config.arguments = ["--alpha", 0.5]
    run = exp.submit(config, tags={"a": "b"})
    assert run.status in ("Queued", "Running")
    details = run.wait_for_completion(show_output=True)
    assert "Completed" == details["status"]
    assert f"hello from {run.id}\nlab\n" in capsys.readouterr().out
    assert ({"x": [1, 2]}, {"a": "b", "from": "the script"}) == (run.get_metrics(), run.tags)
    run.download_file("outputs/model.txt", code / "got")
    assert "--alpha 0.5" == (code / "got").read_text()
    assert ["user_logs/std_log.txt"] == list(details["logFiles"])
    assert "script.py" == details["runDefinition"]["script"]
    assert (Path(run.restore_snapshot(path=str(code / "r"))) / "script.py").read_text() == HELLO


@pytest.mark.parametrize(
    ("text", "message", "why"),
    [
        ("raise ValueError('no data')", "User program failed with ValueError: no data", "code_error"),
        (
            "import sys; print('bad flag', file=sys.stderr); sys.exit(3)",
            "User program ended with exit code 3: bad flag",
            "",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "User program was killed by SIGKILL", ""),
        ("raise MemoryError()", "User program failed with MemoryError", "out_of_memory"),
    ],
)
def test_a_script_that_fails_says_why(exp: Experiment, code: Path, text: str, message: str, why: str) -> None:
    run = exp.submit(script(code, text))
    with pytest.raises(ActivityFailedException, match=r"^Activity Failed:\n"):
        run.wait_for_completion()
    assert why == reason(1, log_of(run).splitlines())
    assert message == run.get_details()["error"]["error"]["message"]
    assert "Failed" == run.wait_for_completion(raise_on_error=False)["status"]


def test_a_cancel_ends_the_whole_group(ws: Workspace, code: Path) -> None:
    """SIGTERM, then SIGKILL; Canceled only when all of it is gone."""
    exp = settings(ws)
    run = exp.submit(script(code, STUBBORN))
    child = child_of(run)
    run.cancel()
    assert run.status in ("CancelRequested", "Canceled")
    assert "Canceled" == run.wait_for_completion()["status"]
    assert "" == start_of(child)
    run.cancel()
    assert "Canceled" == run.status


def test_a_cancel_before_the_start_starts_nothing(ws: Workspace, code: Path) -> None:
    exp = settings(ws, compute_targets={"gpu": 1})
    first, second = (
        exp.submit(ScriptRunConfig(str(code), command="exec sleep 600", compute_target="gpu")) for _ in range(2)
    )
    eventually(lambda: first.status == "Running", 30)
    second.cancel()
    assert "Canceled" == second.wait_for_completion()["status"]
    assert not (second._files / "user_logs").exists()
    first.cancel()
    first.wait_for_completion()


def test_fail_is_at_once_and_stops_the_script(ws: Workspace, code: Path) -> None:
    exp = settings(ws)
    run = exp.submit(script(code, STUBBORN))
    child = child_of(run)
    run.fail("the wrong script")
    assert "Failed" == run.status
    eventually(lambda: start_of(child) == "", 30)
    assert "the wrong script" == run.get_details()["error"]["error"]["message"]


def test_exit_0_before_any_signal_is_completed(ws: Workspace, code: Path) -> None:
    exp = settings(ws)
    text = "import os, signal, time\nsignal.signal(15, lambda *_: os._exit(0))\nprint('1', flush=True)\ntime.sleep(600)"
    run = exp.submit(script(code, text))
    child_of(run)
    run.cancel()
    assert "Canceled" == run.wait_for_completion()["status"]  # the signal came first


def test_a_run_that_takes_too_long_is_stopped(ws: Workspace, code: Path) -> None:
    exp = settings(ws)
    run = exp.submit(ScriptRunConfig(str(code), command=["sleep", "600"], max_run_duration_seconds=0.3))
    assert "Failed" == run.wait_for_completion(raise_on_error=False)["status"]
    assert "MaxDurationExceeded" == run.get_details()["error"]["error"]["code"]


PARENT = """
from tocsin import Run, ScriptRunConfig
run = Run.get_context()
ws = run.experiment.workspace
compute_target = ws.compute_targets["gpu-cluster"]
for arg in ["Apple", "Banana", "Orange"]:
    run.log("Status", f"Launching {arg}")
    run.submit_child(ScriptRunConfig(".", script="child.py", arguments=["--fruit", arg], compute_target=compute_target))
for child in run.get_children():
    child.wait_for_completion()
print([child.status for child in run.get_children()])
"""
CHILD = """
import sys
from tocsin import Run
def root_run(self):
    return self if self.parent is None else root_run(self.parent)
run = Run.get_context()
run.log("fruit", sys.argv[2])
run.parent.log("ParentMetric", run.parent.id)
root_run(run).log("MyMetric", f"Data from child run {run.id}")
"""


@pytest.mark.timeout(240)
def test_a_parent_that_waits_lends_its_only_slot(ws: Workspace, code: Path) -> None:
    """The article's parent.py on a target of one slot."""
    exp = settings(ws, compute_targets={"gpu-cluster": {"slots": 1}})
    (code / "child.py").write_text(CHILD)
    config = script(code, PARENT, "parent.py")
    config.compute_target = "gpu-cluster"
    run = exp.submit(config)
    run.wait_for_completion()
    assert "['Completed', 'Completed', 'Completed']" in log_of(run)
    children = list(run.get_children())
    assert {"Apple", "Banana", "Orange"} == {c.get_metrics()["fruit"] for c in children}
    assert {f"Data from child run {c.id}" for c in children} == set(run.get_metrics()["MyMetric"])
    times = sorted((c.get_details()["startTimeUtc"], c.get_details()["endTimeUtc"]) for c in children)
    assert all(end <= start for (_, end), (start, _) in pairwise(times)), times


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"script": "absent.py"}, "is not in source_directory"),
        ({"script": "../outside.py"}, "lies outside"),
        ({"command": "true", "compute_target": "moon"}, "compute_target 'moon' is none of local"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_made(
    exp: Experiment, code: Path, given: dict[str, Any], said: str
) -> None:
    (code.parent / "outside.py").write_text("")
    with pytest.raises(ExperimentExecutionException, match=said):
        exp.submit(ScriptRunConfig(str(code), **given))
    assert [] == list(exp.get_runs())


def in_process(ws: Workspace, text: str, **environment: str) -> subprocess.Popen[str]:
    head = (
        f"from tocsin import *\nws = Workspace.from_config({str(ws.folder)!r})\nexp = Experiment(ws, 'explore-runs')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + text], stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=60)
    return process.returncode, error


def test_a_killed_process_leaves_failed_runs_and_its_metrics(ws: Workspace, exp: Experiment) -> None:
    """Any reader marks them; what was flushed is there."""
    process = in_process(
        ws,
        "run = exp.start_logging(snapshot_directory=None)\nrun.log('x', 1)\nrun.flush()\nrun.log('x', 2)\n"
        "child = run.child_run()\nprint(run.id, flush=True)\ninput()",
    )
    run = ws.get_run(said_by(process))
    assert "Running" == run.status
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert "Failed" == run.status
    assert "ProcessGone" == run.get_details()["error"]["error"]["code"]
    assert ["Failed"] == [c.status for c in run.get_children()]
    assert run.get_metrics()["x"] in (1, [1, 2])


@pytest.mark.parametrize(
    ("text", "status"),
    [("", "Completed"), ("raise ValueError('x')", "Failed"), ("sys.exit(2)", "Failed"), ("sys.exit(0)", "Completed"),
     ("raise KeyboardInterrupt", "Canceled"), ("os._exit(0)", "Failed")],
)  # fmt: skip
def test_a_run_left_open_ends_with_its_process(ws: Workspace, text: str, status: str) -> None:
    process = in_process(
        ws, f"import os, sys\nrun = exp.start_logging(snapshot_directory=None)\nprint(run.id, flush=True)\n{text}"
    )
    run_id = said_by(process)
    ended(process)
    assert status == ws.get_run(run_id).status


def test_the_submitters_end_does_not_end_the_run(ws: Workspace, code: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    process = in_process(
        ws, f"run = exp.submit(ScriptRunConfig({str(code)!r}, command='cat {go}'))\nprint(run.id, flush=True)\ninput()"
    )
    run = ws.get_run(said_by(process))
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    eventually(lambda: run.status == "Running", 30)
    go.write_text("x")
    assert "Completed" == run.wait_for_completion()["status"]


def test_a_killed_runner_is_noticed_and_its_script_ended(exp: Experiment, code: Path) -> None:
    run = exp.submit(script(code, STUBBORN))
    child = child_of(run)
    row = run._row()
    owner, leader = ProcessId.load(row.owner), ProcessId.load(row.script)
    assert owner is not None
    assert leader is not None
    os.kill(owner.pid, signal.SIGKILL)
    assert "Failed" == eventually(lambda: run.status if run.status != "Running" else "", 30)
    eventually(lambda: start_of(leader.pid) == "" and start_of(child) == "", 30)


def test_a_killed_script_is_failed(exp: Experiment, code: Path) -> None:
    run = exp.submit(script(code, STUBBORN))
    child_of(run)
    leader = ProcessId.load(run._row().script)
    assert leader is not None
    os.kill(leader.pid, signal.SIGKILL)
    assert "Failed" == run.wait_for_completion(raise_on_error=False)["status"]
    assert "User program was killed by SIGKILL" in run.get_details()["error"]["error"]["message"]


def test_a_forked_worker_neither_repeats_nor_ends_the_parents_run(ws: Workspace) -> None:
    """As PyTorch's data loaders do; what a worker logs is kept too."""
    text = (
        "import multiprocessing as mp\nrun = exp.start_logging(snapshot_directory=None)\nrun.log('x', 1)\n"
        "def work(n):\n    run.log('worker', n)\n"
        "with mp.get_context('fork').Pool(2) as pool:\n    pool.map(work, range(4))\n    pool.close()\n    pool.join()\n"
        "print(run.id, run.status, flush=True)"
    )
    process = in_process(ws, text)
    run_id, status = said_by(process).split()
    assert (0, "") == ended(process)
    run = ws.get_run(run_id)
    assert ("Running", "Completed") == (status, run.status)
    assert {"x": 1, "worker": [0, 1, 2, 3]} == {
        k: sorted(v) if isinstance(v, list) else v for k, v in run.get_metrics().items()
    }


def test_a_scripts_processes_are_sampled(ws: Workspace, code: Path) -> None:
    """CPU and memory of the whole group."""
    exp = settings(ws, system_metrics=0.05)
    text = "import subprocess, sys\nx = bytearray(64 << 20)\nsubprocess.run([sys.executable, '-c', 'for i in range(20_000_000): pass'])"
    run = exp.submit(script(code, text))
    run.wait_for_completion()
    metrics = run.get_metrics()
    for name, least in {"system/memory_mib": 64, "system/cpu_percent": 5}.items():
        values = metrics[name]
        assert max(values if isinstance(values, list) else [values]) > least  # a busy machine may take but one


@pytest.mark.timeout(300)
def test_a_million_points_in_one_run(exp: Experiment) -> None:
    """All are kept, in order, in bounded memory."""
    with exp.start_logging(snapshot_directory=None) as run:
        most = 0
        for i in range(1_000_000):
            run.log("loss", i, step=i)
            if i % 10_000 == 0:
                most = max(most, len(run._session.recorder._points))
        assert most < 100_000
    points = run.get_metrics("loss")["loss"]
    assert (1_000_000, True) == (len(points), points == list(range(1_000_000)))


@pytest.mark.timeout(300)
def test_fifty_processes_log_to_one_workspace(ws: Workspace, exp: Experiment) -> None:
    """Every point, run and child is there, and nobody saw an error."""
    shared = exp.start_logging(run_id="shared", snapshot_directory=None)
    text = (
        "import sys\nshared = ws.get_run('shared')\n"
        "with exp.start_logging(snapshot_directory=None, tags={'n': sys.stdin.readline().strip()}) as run:\n"
        "    for i in range(1000):\n        run.log('loss', i)\n"
        "    shared.log('all', 1)\n"
        "    for child in run.create_children(3):\n        child.complete()\n"
    )
    began = time.monotonic()
    processes = [in_process(ws, text) for _ in range(50)]
    for n, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write(f"{n}\n")
        process.stdin.flush()
    assert [(0, "")] * 50 == [ended(process) for process in processes]
    assert time.monotonic() - began < 250
    runs = [r for r in exp.get_runs() if r.id != "shared"]
    assert sorted(str(n) for n in range(50)) == sorted(str(r.tags["n"]) for r in runs)
    assert {"Completed"} == {r.status for r in exp.get_runs(include_children=True) if r.id != "shared"}
    assert all(list(range(1000)) == r.get_metrics()["loss"] for r in runs)
    assert [1] * 50 == shared.get_metrics()["all"]
    assert 50 * 4 + 1 == len(exp.get_runs(include_children=True))
    assert list(range(1, 202)) == sorted(r.number for r in exp.get_runs(include_children=True))


def test_the_log_tail_of_a_script_that_raised_holds_its_frames_before_other_lines(
    ws: Workspace, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output after the exception, by a child or at exit, does not push its frames out of the event."""
    monkeypatch.setenv("TOCSIN_URL", f"http://127.0.0.1:{free_port()}")
    exp = Experiment(Workspace.from_config(ws.folder), "explore-runs")
    text = (
        "import atexit\natexit.register(lambda: print(*range(70), sep='\\n'))\ndef train():\n    {}['rate']\ntrain()\n"
    )
    run = exp.submit(script(code, text))
    error = run.wait_for_completion(raise_on_error=False)["error"]["error"]
    assert "User program failed with KeyError: 'rate'" == error["message"]
    found = exp._session.store.database.read("SELECT event FROM outbox ORDER BY seq")
    tails = [json.loads(e)["data"].get("LogTail") for (e,) in found if '"Failed"' in e]
    lines = tails[0].split("\n")
    assert "Traceback (most recent call last):" == lines[0]
    assert "    {}['rate']" in lines[: lines.index("KeyError: 'rate'")]
    assert "69" == lines[-1]

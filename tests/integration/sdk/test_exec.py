"""tocsin exec: the command runs as without it, and its life is on disk before anybody could ask for it."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers.eventually import eventually
from tests.servers.process import free_port
from tocsin import Experiment, Workspace

COUNTING = """
import os, signal, sys
def note(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(f"{number}\\n")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, note)
open(sys.argv[1], "a").close()
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def env(spool: Path) -> dict[str, str]:
    """Nobody listens where events go to."""
    return {**os.environ, "TOCSIN_SPOOL": str(spool), "TOCSIN_URL": f"http://127.0.0.1:{free_port()}"}


def wrapped(*command: str, options: Sequence[str] = ()) -> list[str]:
    return [sys.executable, "-m", "tocsin", "exec", *options, "--", *command]


def sh(script: str, env: dict[str, str], options: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        wrapped("sh", "-c", script, options=options), env=env, capture_output=True, check=False, timeout=60
    )


def events(spool: Path) -> list[dict[str, Any]]:
    rows = sqlite3.connect(spool / "spool.sqlite").execute("SELECT event FROM outbox WHERE NOT beat ORDER BY seq")
    return [json.loads(row[0]) for row in rows]


def test_the_life_of_a_command_waits_on_disk_while_tocsin_is_away(env: dict[str, str], spool: Path) -> None:
    """Exit code, output and order stay; what is spooled names exit code, length and the last lines of stderr."""
    done = sh("echo out; echo 'cannot open data' >&2; exit 3", env, ["--name", "nightly", "--tag", "team=ranking"])
    assert (3, b"out\n") == (done.returncode, done.stdout)
    assert b"cannot open data\n" == done.stderr
    queued, running, failed = (e["data"] for e in events(spool))
    assert ["Queued", "Running", "Failed"] == [d["Status"] for d in (queued, running, failed)]
    assert "exit code 3\ncannot open data" == failed["Message"]
    assert ("3", "3") == (failed["ErrorCode"], failed["Properties"]["exit_code"])
    assert 0 <= failed["DurationMs"] < 60_000
    assert {"team": "ranking"} == failed["Tags"]
    assert 1 == len({d["RunId"] for d in (queued, running, failed)})


def test_the_tail_holds_the_traceback_before_what_was_written_after_it(env: dict[str, str], spool: Path) -> None:
    """60 lines of teardown follow the exception; its frames are whole, the bar shows its last state, colours are gone."""
    script = """import sys, atexit
sys.stderr.write("".join(f"\\r{i:3d}%|###|" for i in range(101)) + "\\n\\x1b[33mwarning\\x1b[0m\\n")
atexit.register(lambda: print(*(f"group {i} destroyed" for i in range(60)), sep="\\n", file=sys.stderr))
def train(): raise RuntimeError("CUDA error")
train()
"""
    done = subprocess.run(wrapped(sys.executable, "-c", script), env=env, capture_output=True, check=False, timeout=60)
    assert 1 == done.returncode
    data = events(spool)[-1]["data"]
    lines = data["LogTail"].split("\n")
    assert "Traceback (most recent call last):" == lines[0]
    assert "RuntimeError: CUDA error" in lines[:8]
    assert ("group 59 destroyed", 50) == (lines[-1], len(lines))
    assert data["Message"].endswith("RuntimeError: CUDA error")


def test_a_progress_bar_and_colours_are_as_seen(env: dict[str, str], spool: Path) -> None:
    sh(r"printf '\r 10%%|# |\r100%%|##|\n\033[31mred\033[0m\n' >&2; exit 1", env)
    assert "100%|##|\nred" == events(spool)[-1]["data"]["LogTail"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_command_that_a_signal_ends_ends_the_wrapper_by_the_same(
    number: int, env: dict[str, str], spool: Path
) -> None:
    done = sh(f"kill -{int(number)} $$", env)
    assert -number == done.returncode
    *_, last = events(spool)
    assert ("Failed", signal.Signals(number).name) == (last["data"]["Status"], last["data"]["ErrorCode"])


@pytest.mark.parametrize(("command", "code"), [("/nowhere/at-all", 127), ("/", 126)])
def test_a_command_that_cannot_start_ends_as_in_a_shell(
    command: str, code: int, env: dict[str, str], spool: Path
) -> None:
    done = subprocess.run(wrapped(command), env=env, capture_output=True, check=False, timeout=60)
    assert code == done.returncode
    assert ["Queued", "Failed"] == [e["data"]["Status"] for e in events(spool)]


def test_one_pipe_for_both_streams_keeps_their_order(env: dict[str, str], spool: Path) -> None:
    """``tocsin exec -- job 2>&1 | tee log`` shows lines in the order in which they were written."""
    script = "i=0; while [ $i -lt 200 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done; exit 1"
    done = subprocess.run(
        wrapped("sh", "-c", script), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    lines = [f"{s}{i}".encode() for i in range(200) for s in "oe"]
    assert lines == done.stdout.splitlines()
    assert events(spool)[-1]["data"]["Message"].endswith("o199\ne199")


def test_a_log_file_is_the_commands_own(env: dict[str, str], spool: Path, tmp_path: Path) -> None:
    """Where stderr is a file the command gets that file, and its end is read afterwards, not what was there before."""
    log = tmp_path / "log"
    log.write_text("of the night before\n")
    with log.open("ab") as file:
        subprocess.run(
            wrapped("sh", "-c", "test -f /dev/fd/2 && echo it is a file >&2; exit 1"), env=env, stderr=file, check=False
        )
    assert "exit code 1\nit is a file" == events(spool)[-1]["data"]["Message"]


def test_a_terminal_stays_a_terminal(env: dict[str, str], spool: Path) -> None:
    """isatty() says yes, and what arrives is what was written."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(wrapped("sh", "-c", "test -t 2 && echo yes >&2; exit 4"), env=env, stderr=theirs) as process:
        os.close(theirs)
        said = os.read(ours, 1000)
        assert 4 == process.wait(60)
    os.close(ours)
    assert b"yes\r\n" == said
    assert "exit code 4\nyes" == events(spool)[-1]["data"]["Message"]


def _ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert b"ready\n" == process.stdout.readline()


def test_a_signal_reaches_the_command_once_whether_sent_to_the_wrapper_or_to_the_group(
    env: dict[str, str], spool: Path, tmp_path: Path
) -> None:
    """What went to the whole group is not passed on again."""
    notes = tmp_path / "notes"
    command = wrapped(sys.executable, "-c", COUNTING, str(notes))
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        _ready(process)
        os.kill(process.pid, signal.SIGTERM)
        eventually(lambda: notes.read_text() == "15\n")
        os.killpg(process.pid, signal.SIGINT)
        eventually(lambda: notes.read_text().startswith("15\n2\n"))
        os.kill(process.pid, signal.SIGUSR1)  # comes after whatever else was to come
        eventually(lambda: "10" in notes.read_text())
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        assert 0 == process.wait(60)
    assert "15\n2\n10\n" == notes.read_text()
    assert "Completed" == events(spool)[-1]["data"]["Status"]


def test_a_reader_that_goes_away_is_noticed_by_the_command(env: dict[str, str]) -> None:
    """As with ``job 2>&1 | head``: the next write gets SIGPIPE."""
    read, write = os.pipe()
    process = subprocess.Popen(wrapped("sh", "-c", "while echo line >&2; do :; done"), env=env, stderr=write)
    os.close(write)
    assert os.read(read, 4)
    os.close(read)
    assert -signal.SIGPIPE == process.wait(60)


def test_a_spool_that_cannot_be_written_changes_nothing(env: dict[str, str], tmp_path: Path) -> None:
    """The command's own exit code and output; --verbose says what could not be done."""
    (tmp_path / "file").write_text("")
    broken = {**env, "TOCSIN_SPOOL": str(tmp_path / "file" / "spool")}
    done = sh("echo out; echo err >&2; exit 7", broken)
    assert (7, b"out\n", b"err\n") == (done.returncode, done.stdout, done.stderr)
    done = sh("exit 7", broken, ["--verbose"])
    assert 1 == done.stderr.count(b"tocsin exec could not report")


def test_a_daemon_of_the_command_keeps_its_stderr(env: dict[str, str], tmp_path: Path) -> None:
    """The wrapper ends with its command; what the daemon writes later still arrives."""
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"( read x < {go}; echo from the daemon >&2 ) & exit 0"
    process = subprocess.Popen(wrapped("sh", "-c", script), env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert 0 == process.wait(60)
    go.write_text("\n")
    assert process.stderr is not None
    assert b"from the daemon\n" in process.stderr.read()
    process.stderr.close()


def test_secrets_are_not_reported(env: dict[str, str], spool: Path) -> None:
    """Neither of the command line nor of stderr."""
    sh("echo password=hunter2secret >&2; : --api-key=abcdef0123456789; exit 1", env)
    text = json.dumps(events(spool))
    assert "hunter2secret" not in text
    assert "abcdef0123456789" not in text


def test_in_a_workspace_the_command_is_a_run_of_it(env: dict[str, str], ws: Workspace, tmp_path: Path) -> None:
    """Its script finds it by Run.get_context(), a shell by TOCSIN_RUN_ID; the exit code sets the status."""
    script = "from tocsin import Run\nrun = Run.get_context(allow_offline=False)\nrun.log('x', 1)\nrun.complete()\nraise SystemExit(4)"
    (tmp_path / "train.py").write_text(script)
    command = f"{sys.executable} -m tocsin run log y=2.5; exec {sys.executable} train.py"
    done = subprocess.run(
        wrapped("sh", "-c", command, options=["--name", "nightly", "--tag", "a=b"]), env={**env, "TOCSIN_URL": ""}, cwd=tmp_path,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert 4 == done.returncode, done.stderr
    (run,) = Experiment(ws, "nightly").get_runs()
    assert ("Failed", {"x": 1, "y": 2.5}, {"a": "b"}) == (run.status, run.get_metrics(), run.tags)
    assert ("4", "4") == (run.get_details()["error"]["error"]["code"], run.properties["exit_code"])


def test_a_workspace_that_cannot_be_written_costs_no_event(
    env: dict[str, str], spool: Path, ws: Workspace, tmp_path: Path
) -> None:
    """The user's spool takes them."""
    (tmp_path / ".tocsin" / "runs.sqlite").mkdir()
    done = subprocess.run(
        wrapped("sh", "-c", "exit 6"), env=env, cwd=tmp_path, capture_output=True, check=False, timeout=60
    )
    assert (6, b"") == (done.returncode, done.stderr)
    assert ["Queued", "Running", "Failed"] == [e["data"]["Status"] for e in events(spool)]


def test_a_killed_wrapper_in_a_workspace_leaves_no_running_run(
    env: dict[str, str], ws: Workspace, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        wrapped("sh", "-c", "echo ready; exec sleep 600", options=["--name", "nightly"]), env={**env, "TOCSIN_URL": ""}, cwd=tmp_path,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    _ready(process)
    run = eventually(lambda: list(Experiment(ws, "nightly").get_runs()))[0]
    eventually(lambda: run.status == "Running")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert "Failed" == run.status


@pytest.mark.parametrize(
    ("trap", "code", "status"), [("", -signal.SIGTERM, "Canceled"), ("trap 'exit 0' TERM;", 0, "Completed")]
)
def test_a_canceled_command_is_stopped(
    env: dict[str, str], ws: Workspace, tmp_path: Path, trap: str, code: int, status: str
) -> None:
    """Its run is Canceled when it has ended, not while it goes on; a command that ends well all the same is Completed."""
    process = subprocess.Popen(
        wrapped("sh", "-c", f"{trap} echo ready; sleep 600 & wait", options=["--name", "nightly"]),
        env={**env, "TOCSIN_URL": ""}, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        _ready(process)
        run = eventually(lambda: list(Experiment(ws, "nightly").get_runs()))[0]
        eventually(lambda: run.status == "Running")
        run.cancel()
        assert "CancelRequested" == run.status
        assert code == process.wait(30)
        assert status == run.status
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the sleep
        process.communicate(timeout=60)


def test_a_server_that_hangs_delays_the_end_and_loses_nothing(env: dict[str, str], spool: Path) -> None:
    """It takes connections and never answers: the last event is on disk all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        done = sh("exit 5", {**env, "TOCSIN_URL": url})
        assert time.monotonic() - began < 30
    assert 5 == done.returncode
    assert ["Queued", "Running", "Failed"] == [e["data"]["Status"] for e in events(spool)]

"""Slurm's prolog and epilog as slurmctld starts them: a process with Slurm's variables, and a `scontrol` on its path."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pages import blocks
from tests.servers.process import free_port
from tests.servers.recording import RecordingServer, Said

SHOWN = """\
JobId=65541 JobName=train JobState=COMPLETED
   UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A
   Priority=4294901759 Nice=0 Account=research QOS=normal
   JobState={state} Reason={reason} Dependency=(null)
   Requeue=1 Restarts=1 BatchFlag=1 Reboot=0 ExitCode={code}
   RunTime=00:01:14 TimeLimit=01:00:00 TimeMin=N/A
   SubmitTime=2026-11-23T02:00:58 EligibleTime=2026-11-23T02:00:58
   StartTime=2026-11-23T02:01:00 EndTime=2026-11-23T02:02:14 Deadline=N/A
   Partition=gpu AllocNode:Sid=login1:4711
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=node7
   Comment=never mind MailUser=eve@example.org
   Command=/home/ada/train.sh
   WorkDir=/home/ada
   StdErr=/home/ada/slurm-65541.out
   MailUser=ada@example.org MailType=FAIL
"""


class Cluster:
    """What slurmctld gives its scripts."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.env = {
            "PATH": str(folder / "bin"), "TOCSIN_SPOOL": str(folder / "spool"), "TOCSIN_URL": url,
            "SLURM_CLUSTER_NAME": "alps", "SLURM_JOB_ID": "65541", "SLURM_JOB_NAME": "train", "SLURM_JOB_USER": "ada",
        }  # fmt: skip

    def scontrol(self, state: str, reason: str, code: str) -> None:
        """Put a `scontrol` on the path that knows this job and no other."""
        program = self.folder / "bin" / "scontrol"
        program.parent.mkdir(exist_ok=True)
        text = shlex.quote(SHOWN.format(state=state, reason=reason, code=code))
        program.write_text(f'#!/bin/sh\n[ "$*" = "show job 65541" ] || exit 1\nprintf %s {text}\n')
        program.chmod(0o755)

    def run(self, phase: str, **more: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tocsin.listeners.slurm", phase],
            env={**self.env, **more}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (0, "") == (done.returncode, done.stdout), done.stderr

    def waiting(self) -> list[dict[str, Any]]:
        rows = sqlite3.connect(self.folder / "spool" / "spool.sqlite").execute("SELECT event FROM outbox ORDER BY seq")
        return [json.loads(row[0])["data"] for row in rows]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Nobody listens where its events go to."""
    return Cluster(tmp_path, f"http://127.0.0.1:{free_port()}")


def test_no_event_is_lost_while_tocsin_is_away(cluster: Cluster) -> None:
    """Prolog and epilog wait on disk in their order; the next report brings all three."""
    cluster.run("prolog")
    cluster.run("epilog", SLURM_JOB_EXIT_CODE2="3:0")
    assert ["Running", "Failed"] == [data["Status"] for data in cluster.waiting()]
    with RecordingServer(lambda _, __: Said(status=202)) as server:
        cluster.run("prolog", SLURM_JOB_ID="65542", TOCSIN_URL=server.url, TOCSIN_TOKEN="word")
        sent = [event for asked in server.asked for event in asked.json]
    assert [("slurm/alps/65541", "Running"), ("slurm/alps/65541", "Failed"), ("slurm/alps/65542", "Running")] == [
        (event["data"]["RunId"], event["data"]["Status"]) for event in sent
    ]
    assert {"slurm/alps"} == {event["source"] for event in sent}
    assert "Bearer word" == server.asked[0].headers["authorization"]
    assert [] == cluster.waiting()


def test_scontrol_says_why(cluster: Cluster) -> None:
    """State, reason, attempt, node and address come from it; the user's texts, its job's name and comment, say nothing."""
    cluster.scontrol("OUT_OF_MEMORY", "OutOfMemory", "0:125")
    cluster.run("epilog", SLURM_JOB_EXIT_CODE2="0:125")
    (data,) = cluster.waiting()
    assert {
        "RunId": "slurm/alps/65541", "Status": "Failed", "OriginalStatus": "OUT_OF_MEMORY", "Reason": "out_of_memory",
        "ErrorCode": "signal 125", "Message": "killed by signal 125, OUT_OF_MEMORY, OutOfMemory", "WillRetry": False,
        "Attempt": 2, "ExperimentName": "train", "DisplayName": "train", "RunType": "slurm", "Target": "node7",
        "TriggeringUserName": "ada", "OwnerEmail": "ada@example.org",
        "Properties": {
            "slurm.job_id": "65541", "slurm.partition": "gpu", "slurm.account": "research", "slurm.reason": "OutOfMemory",
            "slurm.log": "/home/ada/slurm-65541.out", "slurm.work_dir": "/home/ada",
        },
    } == data  # fmt: skip


@pytest.mark.parametrize(
    ("state", "reason", "code", "status", "why", "message", "again"),
    [
        ("COMPLETED", "None", "0:0", "Completed", "", "", None),
        ("COMPLETING", "None", "0:0", "Completed", "", "", None),
        ("FAILED", "NonZeroExitCode", "2:0", "Failed", "", "exit code 2, FAILED, NonZeroExitCode", False),
        ("COMPLETING", "TimeLimit", "0:15", "Failed", "timeout", "killed by SIGTERM, TIMEOUT, TimeLimit", False),
        ("CANCELLED", "None", "0:15", "Canceled", "user_canceled", "killed by SIGTERM, CANCELLED", False),
        ("NODE_FAIL", "NodeDown", "1:0", "Failed", "infrastructure", "exit code 1, NODE_FAIL, NodeDown", False),
        ("PREEMPTED", "None", "0:15", "Failed", "preempted", "killed by SIGTERM, PREEMPTED", False),
        ("PENDING", "BeginTime", "0:0", "Canceled", "", "BeginTime", True),
        ("REQUEUED", "None", "1:0", "Failed", "", "exit code 1", True),
    ],
)
def test_each_end_of_a_job(
    cluster: Cluster, state: str, reason: str, code: str, status: str, why: str, message: str, again: bool | None
) -> None:
    cluster.scontrol(state, reason, code)
    cluster.run("epilog", SLURM_JOB_EXIT_CODE2=code)
    (data,) = cluster.waiting()
    got = (data["Status"], data.get("Reason", ""), data.get("Message", ""), data.get("WillRetry"))
    assert (status, why, message, again) == got


def test_tasks_of_an_array_have_it_as_their_parent(cluster: Cluster) -> None:
    cluster.run("prolog", SLURM_ARRAY_JOB_ID="65000", SLURM_ARRAY_TASK_ID="7", SLURM_JOB_RESTART_COUNT="2")
    (data,) = cluster.waiting()
    assert ("slurm/alps/65000_7", "slurm/alps/65000", "slurm/alps/65000", "train [7]", 3) == tuple(
        data[name] for name in ("RunId", "ParentRunId", "RootRunId", "DisplayName", "Attempt")
    )


def test_whatever_fails_the_job_runs(cluster: Cluster) -> None:
    """Slurm requeues a job whose prolog fails: no spool, a `scontrol` that fails, no job, no such word; each ends with 0."""
    cluster.scontrol("RUNNING", "None", "0:0")
    (cluster.folder / "bin" / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    (cluster.folder / "file").touch()
    cluster.run("prolog", TOCSIN_SPOOL=str(cluster.folder / "file"))
    cluster.run("prolog", SLURM_JOB_ID="")
    cluster.run("prologue")
    assert not (cluster.folder / "spool").exists()


def test_the_script_on_the_page_runs_this(cluster: Cluster, tmp_path: Path) -> None:
    """The page's script, with this Python and tocsin's address, reports the epilog that slurmctld starts it for."""
    (script,) = [
        b.text for b in blocks("docs/listeners.md") if "tocsin.listeners.slurm" in b.text and "#!/bin/sh" in b.text
    ]
    file = tmp_path / "tocsin.sh"
    file.write_text(
        script.replace("/opt/tocsin/bin/python", sys.executable)
        .replace("https://tocsin.example.org", cluster.env["TOCSIN_URL"])
        .replace("/var/spool/tocsin", cluster.env["TOCSIN_SPOOL"])
    )
    env = {k: v for k, v in cluster.env.items() if not k.startswith("TOCSIN")} | {"PATH": "/usr/bin:/bin"}
    for context, code in (("prolog_slurmctld", ""), ("epilog_slurmctld", "9:0")):
        more = {"SLURM_SCRIPT_CONTEXT": context, "SLURM_JOB_EXIT_CODE2": code}
        assert 0 == subprocess.run(["sh", file], env=env | more, timeout=60, check=False).returncode
    assert [("Running", ""), ("Failed", "9")] == [(d["Status"], d.get("ErrorCode", "")) for d in cluster.waiting()]

"""``python -m tocsin.listeners.slurm prolog|epilog``: PrologSlurmctld and EpilogSlurmctld report each job of a cluster.

Slurm requeues a job whose prolog fails, so this ends with 0 whatever happens. The variables are those of Slurm's page
"Prolog and Epilog Guide"; ``scontrol show job`` adds the state, its reason and the owner's address where it answers.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tocsin.listeners.spool import report

WAIT = 3.0
"""Seconds for `scontrol`, which may hang while the controller is busy."""
_WHERE = "/usr/bin:/usr/local/bin:/opt/slurm/bin:/usr/local/slurm/bin"
"""Prologs and epilogs have no search path."""
_LINE = re.compile(r"^ +(?=[A-Za-z])(.*)$", re.M)
_PAIR = re.compile(r"(?:^|(?<= ))([A-Za-z_/:]+)=")
_ENDS: Mapping[str, tuple[str, str]] = {
    "COMPLETED": ("Completed", ""),
    "FAILED": ("Failed", ""),
    "CANCELLED": ("Canceled", "user_canceled"),
    "TIMEOUT": ("Failed", "timeout"),
    "DEADLINE": ("Failed", "timeout"),
    "OUT_OF_MEMORY": ("Failed", "out_of_memory"),
    "NODE_FAIL": ("Failed", "infrastructure"),
    "BOOT_FAIL": ("Failed", "infrastructure"),
    "LAUNCH_FAILED": ("Failed", "infrastructure"),
    "PREEMPTED": ("Failed", "preempted"),
}
"""Slurm's states that end a job."""
_REASONS: Mapping[str, str] = {
    "TimeLimit": "TIMEOUT", "OutOfMemory": "OUT_OF_MEMORY", "NodeDown": "NODE_FAIL", "JobLaunchFailure": "LAUNCH_FAILED",
}  # fmt: skip
"""What Slurm gives as the reason while the state is still COMPLETING."""
_AGAIN = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
"""States of a job at its epilog that will run once more."""


def shown(text: str) -> dict[str, str]:
    """Fields of `scontrol show job`: those of indented lines, whose first line, with the job's name, is the user's."""
    fields: dict[str, str] = {}
    for line in _LINE.findall(text):
        starts = list(_PAIR.finditer(line))
        if not starts or starts[0].start() != 0:
            continue
        first = starts[0][1]
        if first in ("Command", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment", "AdminComment", "SystemComment"):
            starts = starts[:1]  # free text: what looks like a field in it is none
        for each, after in zip(starts, [*(s.start() for s in starts[1:]), len(line)], strict=True):
            value = line[each.end() : after].strip()
            if value not in ("", "(null)", "N/A"):
                fields.setdefault(each[1], value)
    return fields


def scontrol(job: str) -> dict[str, str]:
    """What `scontrol show job` says; nothing where it is not there, fails or hangs."""
    program = shutil.which("scontrol", path=os.environ.get("PATH") or _WHERE) or shutil.which("scontrol", path=_WHERE)
    if program is None or not job.isdigit():
        return {}
    try:
        done = subprocess.run(
            [program, "show", "job", job],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    return shown(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else {}


def job_event(phase: str, env: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, Any] | None:
    """Columns of the event; None outside a job. ``phase``: prolog or epilog."""
    job = env.get("SLURM_JOB_ID", "")
    if not job:
        return None
    cluster = f"slurm/{env.get('SLURM_CLUSTER_NAME') or 'cluster'}"
    array, task = env.get("SLURM_ARRAY_JOB_ID", ""), env.get("SLURM_ARRAY_TASK_ID", "")
    of_array = bool(array and task)
    run_id = f"{cluster}/{array}_{task}" if of_array else f"{cluster}/{job}"
    name = env.get("SLURM_JOB_NAME", "") or job
    restarts = env.get("SLURM_JOB_RESTART_COUNT") or env.get("SLURM_RESTART_COUNT") or fields.get("Restarts", "")
    data: dict[str, Any] = {
        "RunId": run_id,
        "ParentRunId": f"{cluster}/{array}" if of_array else "",
        "RootRunId": f"{cluster}/{array}" if of_array else "",
        "Attempt": int(restarts) + 1 if restarts.isdigit() else None,
        "ExperimentName": name,
        "DisplayName": f"{name} [{task}]" if of_array else name,
        "RunType": "slurm",
        "Target": env.get("SLURM_JOB_NODELIST") or fields.get("NodeList", ""),
        "TriggeringUserName": env.get("SLURM_JOB_USER", ""),
        "OwnerEmail": address if "@" in (address := fields.get("MailUser", "")) else "",
        "Properties": _properties(job, env, fields),
    }
    return {**data, **({"Status": "Running"} if phase == "prolog" else _ended(env, fields))}


def _properties(job: str, env: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    found = {
        "slurm.job_id": job,
        "slurm.partition": env.get("SLURM_JOB_PARTITION") or fields.get("Partition", ""),
        "slurm.account": env.get("SLURM_JOB_ACCOUNT") or fields.get("Account", ""),
        "slurm.reason": fields.get("Reason", ""),
        "slurm.log": fields.get("StdErr", ""),
        "slurm.work_dir": env.get("SLURM_JOB_WORK_DIR") or fields.get("WorkDir", ""),
    }
    return {name: value for name, value in found.items() if value}


def _ended(env: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, Any]:
    """How the job ended: Slurm's state where it is final, else the exit code and the signal."""
    state, reason = fields.get("JobState", ""), fields.get("Reason", "").partition(":")[0]
    code, number = exit_code(env.get("SLURM_JOB_EXIT_CODE2") or fields.get("ExitCode", ""))
    word = state if state in _ENDS else _REASONS.get(reason, "FAILED" if code or number else "COMPLETED")
    status, why = _ENDS[word]
    again = state in _AGAIN
    if again and status == "Completed":  # it was requeued while it ran
        status = "Canceled"
    if status == "Completed":
        return {"Status": status, "OriginalStatus": state}
    by = f"killed by {_signal(number)}" if number else f"exit code {code}" if code else ""
    named = state in _ENDS or reason in _REASONS
    parts = (by, word if named else "", fields.get("Reason", "") if reason != "None" else "")
    return {
        "Status": status,
        "OriginalStatus": state,
        "Reason": why,
        "ErrorCode": _signal(number) if number else str(code) if code else "",
        "Message": ", ".join(dict.fromkeys(part for part in parts if part)),
        "WillRetry": again,
    }


def exit_code(text: str) -> tuple[int, int]:
    """(exit code, signal) of Slurm's ``code:signal``; (0, 0) where there is none."""
    found = re.fullmatch(r"(\d{1,5}):(\d{1,5})", text.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(arguments: list[str]) -> int:
    """Report the job of this environment. Always 0."""
    if arguments not in (["prolog"], ["epilog"]):
        print("usage: python -m tocsin.listeners.slurm prolog|epilog", file=sys.stderr)
        return 0
    data = job_event(arguments[0], os.environ, scontrol(os.environ.get("SLURM_JOB_ID", "")))
    if data is not None:
        report(f"slurm/{os.environ.get('SLURM_CLUSTER_NAME') or 'cluster'}", data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Airflow itself, in an environment of its own, finds the plugin and reports a DAG; nobody listens at tocsin's address."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT
from tests.servers.process import free_port

pytestmark = [pytest.mark.integrations, pytest.mark.timeout(1200)]  # it installs Airflow

DAG = """
from datetime import datetime, timedelta
from airflow.sdk import DAG, task

who = {"owner": "ranking", "email": ["ana@example.org"], "email_on_failure": False, "email_on_retry": False}
with DAG("train", schedule=None, start_date=datetime(2026, 1, 1), default_args=who) as dag:
    @task
    def load():
        return [1, 2]

    @task(retries=1, retry_delay=timedelta(0))
    def fit(n):
        if n == 2:
            raise ValueError("no rows")

    fit.expand(n=load())

if __name__ == "__main__":
    dag.test()
"""


def test_airflow_reports_a_dag_and_loses_nothing(tmp_path: Path) -> None:
    """Each try with its number and whether another follows, then the DAG run; all waits on disk."""
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, tmp_path / "venv"], check=True)
    subprocess.run([uv, "pip", "install", "-q", "-p", python, "apache-airflow>=3,<4", "-e", ROOT], check=True)
    home = tmp_path / "airflow"
    (home / "dags").mkdir(parents=True)
    file = home / "dags" / "train.py"
    file.write_text(DAG)
    env = {
        **os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "TOCSIN_SPOOL": str(tmp_path / "spool"), "TOCSIN_URL": f"http://127.0.0.1:{free_port()}",
    }  # fmt: skip
    airflow = python.with_name("airflow")
    for command in (f"{airflow} db migrate", f"{airflow} dags reserialize", f"{python} {file}"):
        subprocess.run(command.split(), env=env, check=False, capture_output=True)

    rows = sqlite3.connect(tmp_path / "spool" / "spool.sqlite").execute("SELECT event FROM outbox ORDER BY seq")
    found = [json.loads(row[0])["data"] for row in rows]
    top = found[-1]["RunId"]
    said = [(d["RunId"].removeprefix(top), d["Status"], d.get("Attempt"), d.get("WillRetry")) for d in found]
    assert [
        ("/load/1", "Running", 1, None),
        ("/load/1", "Completed", 1, None),
        ("/fit/0/1", "Running", 1, None),
        ("/fit/0/1", "Completed", 1, None),
        ("/fit/1/1", "Running", 1, None),
        ("/fit/1/1", "Failed", 1, True),
        ("/fit/1/2", "Running", 2, None),
        ("/fit/1/2", "Failed", 2, False),
        ("", "Failed", None, None),
    ] == said
    last = found[-2]
    assert ("ranking", "ana@example.org", "ValueError: no rows", f"{top}/fit/1") == (
        last["TriggeringUserName"], last["OwnerEmail"], last["Message"], last["JobKey"],
    )  # fmt: skip
    assert last["LogTail"].endswith("ValueError: no rows")
    assert last["Url"].endswith("/tasks/fit/mapped/1?try_number=2")

"""What Airflow hands its listeners becomes columns. The values here have the attributes of Airflow's documented hooks;
tests/integration/listeners/test_airflow.py runs Airflow itself.
"""

from __future__ import annotations

from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import pytest

from tocsin.listeners.airflow_runs import dag_run, task


class State(StrEnum):
    RUNNING = "running"
    UP_FOR_RETRY = "up_for_retry"
    FAILED = "failed"


class AirflowFailException(Exception):
    pass


def instance(**more: Any) -> SimpleNamespace:
    values = {
        "dag_id": "train", "run_id": "manual__1", "task_id": "fit", "map_index": -1, "try_number": 1, "max_tries": 1,
        "state": State.RUNNING, "hostname": "worker-3", "log_url": "https://airflow.example.org/dags/train",
        "task": SimpleNamespace(owner="ranking", email=["ana@example.org", "bo@example.org"]),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **more})


def test_a_try_is_a_run_and_the_job_key_joins_them() -> None:
    first, second = task("Running", instance()), task("Running", instance(try_number=2))
    assert ("train/manual__1/fit/1", "train/manual__1/fit/2") == (first["RunId"], second["RunId"])
    assert {"train/manual__1/fit"} == {first["JobKey"], second["JobKey"]}
    assert {"train/manual__1"} == {first["ParentRunId"], first["RootRunId"]}
    assert (2, None) == (second["Attempt"], second["WillRetry"])
    mapped = task("Running", instance(map_index=0))
    assert ("train/manual__1/fit/0/1", "fit [0]") == (mapped["RunId"], mapped["DisplayName"])


@pytest.mark.parametrize(
    ("state", "number", "error", "again"),
    [
        (State.UP_FOR_RETRY, 1, ValueError(), True),
        (State.FAILED, 1, ValueError(), False),
        (State.RUNNING, 1, ValueError(), True),
        (State.RUNNING, 2, ValueError(), False),
        (State.RUNNING, 1, AirflowFailException(), False),
        (None, 1, None, True),
    ],
)
def test_whether_another_try_follows(state: State | None, number: int, error: Exception | None, again: bool) -> None:
    """The state says so; where it is not set yet, the tries that are left do."""
    assert again is task("Failed", instance(state=state, try_number=number), error)["WillRetry"]


def test_an_exception_is_message_code_and_tail_without_secrets() -> None:
    try:
        raise ValueError("no rows at postgres://ana:hunter2@db/train")
    except ValueError as e:
        data = task("Failed", instance(), e)
    assert data["Message"].startswith("ValueError: no rows at postgres://")
    assert "ValueError" == data["ErrorCode"]
    assert "Traceback (most recent call last):" == data["LogTail"].splitlines()[0]
    assert "hunter2" not in data["Message"] + data["LogTail"]
    assert "lost" == task("Failed", instance(), "lost")["Message"]


@pytest.mark.parametrize(
    ("email", "owner"),
    [
        ("ana@example.org, bo@example.org", "ana@example.org"),
        (("bo@example.org",), "bo@example.org"),
        ([], ""),
        (None, ""),
        ("team", ""),
    ],
)
def test_the_first_address_is_the_owner(email: Any, owner: str) -> None:
    assert owner == task("Running", instance(task=SimpleNamespace(email=email)))["OwnerEmail"]


def test_what_the_api_server_hands_over_may_have_no_task() -> None:
    """A state that a person set: the instance alone, without its operator."""
    data = task("Failed", SimpleNamespace(dag_id="d", run_id="r", task_id="t", state="failed"))
    assert ("d/r/t/0", "task", "", False) == (data["RunId"], data["RunType"], data["OwnerEmail"], data["WillRetry"])


def test_a_dag_run_is_the_parent() -> None:
    run = SimpleNamespace(dag_id="train", run_id="manual__1", state="failed", run_type=SimpleNamespace(value="manual"))
    data = dag_run("Failed", run, "task_failure")
    assert ("train/manual__1", "Failed", "task_failure", {"airflow.run_type": "manual"}) == tuple(
        data[name] for name in ("RunId", "Status", "Message", "Properties")
    )
    assert "" == dag_run("Completed", run, "success")["Message"]

"""Airflow's plugin: found by the entry point ``airflow.plugins``, it reports DAG runs and tries of tasks. Airflow 2.10 and later.

Airflow calls the functions that bear its marker, by name. None raises into it: a listener's exception would be the task's.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from tocsin.listeners import airflow_runs as runs
from tocsin.listeners.spool import report

Hook = TypeVar("Hook", bound=Callable[..., None])
marked: Callable[[Hook], Hook] = hookimpl
_log = logging.getLogger("tocsin.listeners")


def _reported(columns: Callable[[], dict[str, Any]]) -> None:
    try:
        report("airflow", columns())
    except Exception as e:  # noqa: BLE001  # attributes of Airflow's objects may load from its database, and fail
        _log.warning("tocsin could not report: %s: %s", type(e).__name__, e)


@marked
def on_dag_run_running(dag_run: Any) -> None:
    """The DAG run begins."""
    _reported(lambda: runs.dag_run("Running", dag_run))


@marked
def on_dag_run_success(dag_run: Any) -> None:
    """It ends well."""
    _reported(lambda: runs.dag_run("Completed", dag_run))


@marked
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """It fails; ``msg`` is Airflow's word for why."""
    _reported(lambda: runs.dag_run("Failed", dag_run, msg or ""))


@marked
def on_task_instance_running(task_instance: Any) -> None:
    """A try of a task begins."""
    _reported(lambda: runs.task("Running", task_instance))


@marked
def on_task_instance_success(task_instance: Any) -> None:
    """It ends well."""
    _reported(lambda: runs.task("Completed", task_instance))


@marked
def on_task_instance_failed(task_instance: Any, error: Any) -> None:
    """It fails, and perhaps another try follows."""
    _reported(lambda: runs.task("Failed", task_instance, error))


@marked
def on_task_instance_skipped(task_instance: Any) -> None:
    """It skips itself (Airflow 3.1 and later)."""
    _reported(lambda: runs.task("Canceled", task_instance))


class TocsinPlugin(AirflowPlugin):  # type: ignore[misc]
    """What the entry point names."""

    name = "tocsin"
    listeners = [sys.modules[__name__]]  # noqa: RUF012  # the base class has a plain list

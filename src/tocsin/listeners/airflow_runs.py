"""Columns of DAG runs and task instances of Airflow, by the attributes that its listeners are documented to get.

Airflow is not imported: whatever an attribute is, absent ones leave their columns out.
"""

from __future__ import annotations

import traceback
from typing import Any

from tocsin.model.text.redact import redact
from tocsin.model.text.tails import sent_tail

LONGEST_MESSAGE = 2_000
_FINAL = frozenset({"AirflowFailException", "AirflowSensorTimeout", "AirflowTaskTerminated"})
"""Exceptions after which Airflow tries no more."""


def dag_run(status: str, run: Any, message: str = "") -> dict[str, Any]:
    """Columns of a DAG run."""
    dag, run_id = _text(run, "dag_id"), _text(run, "run_id")
    return {
        "RunId": f"{dag}/{run_id}",
        "Status": status,
        "OriginalStatus": _state(run),
        "ExperimentName": dag,
        "DisplayName": dag,
        "RunType": "dag",
        "TriggeringUserName": _text(run, "triggering_user_name"),
        "OwnerEmail": _address(getattr(getattr(run, "dag", None), "default_args", None)),
        "Message": redact(message)[:LONGEST_MESSAGE] if status == "Failed" else "",
        "Properties": {"airflow.run_type": _word(getattr(run, "run_type", ""))},
    }


def task(status: str, instance: Any, error: Any = None) -> dict[str, Any]:
    """Columns of one try of a task instance: each try is a run of its own, and the JobKey joins them."""
    dag, run_id, task_id = (_text(instance, name) for name in ("dag_id", "run_id", "task_id"))
    top, index, number = f"{dag}/{run_id}", _number(instance, "map_index"), _number(instance, "try_number")
    mapped = index is not None and index >= 0
    key = f"{top}/{task_id}/{index}" if mapped else f"{top}/{task_id}"
    operator = getattr(instance, "task", None)
    return {
        "RunId": f"{key}/{number or 0}",
        "JobKey": key,
        "ParentRunId": top,
        "RootRunId": top,
        "Status": status,
        "OriginalStatus": _state(instance),
        "Attempt": number,
        "WillRetry": _will_retry(instance, number, error) if status == "Failed" else None,
        "ExperimentName": dag,
        "DisplayName": f"{task_id} [{index}]" if mapped else task_id,
        "RunType": _text(instance, "operator") or (type(operator).__name__ if operator is not None else "task"),
        "Target": _text(instance, "hostname"),
        "TriggeringUserName": _text(operator, "owner"),
        "OwnerEmail": _address({"email": getattr(operator, "email", None)}),
        "Url": _text(instance, "log_url"),
        **_why(error),
    }


def _why(error: Any) -> dict[str, Any]:
    if isinstance(error, BaseException):
        text = f"{type(error).__name__}: {error}"
        tail = sent_tail("".join(traceback.format_exception(error)))
        return {"Message": redact(text)[:LONGEST_MESSAGE], "ErrorCode": type(error).__name__, "LogTail": tail}
    return {"Message": redact(str(error))[:LONGEST_MESSAGE]} if error else {}


def _will_retry(instance: Any, number: int | None, error: Any) -> bool:
    """By the state, else as Airflow 2 decides, whose listener is called before the state is set."""
    state = _state(instance)
    if state in ("up_for_retry", "failed"):
        return state == "up_for_retry"
    most = _number(instance, "max_tries")
    return most is not None and number is not None and number <= most and type(error).__name__ not in _FINAL


def _address(arguments: Any) -> str:
    """The first address of ``email``, which is one, several joined by commas, or a list."""
    given = arguments.get("email") if isinstance(arguments, dict) else None
    first = given[0] if isinstance(given, list | tuple) and given else given
    word = first.replace(";", ",").split(",")[0].strip() if isinstance(first, str) else ""
    return word if "@" in word else ""


def _state(thing: Any) -> str:
    return _word(getattr(thing, "state", ""))


def _word(value: Any) -> str:
    return str(getattr(value, "value", value) or "")


def _text(thing: Any, name: str) -> str:
    value = getattr(thing, name, None)
    return "" if value is None else str(value)


def _number(thing: Any, name: str) -> int | None:
    value = getattr(thing, name, None)
    return value if isinstance(value, int) else None

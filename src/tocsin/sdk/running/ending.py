"""Interactive runs that a process leaves Running: how they end when it ends."""

from __future__ import annotations

import sqlite3
import sys
import weakref
from types import TracebackType
from typing import Any

from tocsin.sdk.session import Session
from tocsin.sdk.storage.store import make_error
from tocsin.sdk.text import clean, warn_once

_watched: weakref.WeakSet[Session] = weakref.WeakSet()
_exit_code: list[Any] = []


def watch(session: Session) -> None:
    """End the session's own runs with the process: Completed, or Failed after an exception or a sys.exit() that says so."""
    if session not in _watched:
        _watched.add(session)
        session.recorder.at_end(lambda: _end_all(session))
        _note_exit_codes()


def _note_exit_codes() -> None:
    """sys.exit() goes on as it was; only its code is remembered: atexit handlers do not get it."""
    before = sys.exit
    if getattr(before, "_tocsin", False):
        return

    def exit(status: Any = None, /) -> Any:
        _exit_code[:] = [status]
        before(status)

    exit._tocsin = True  # type: ignore[attr-defined]
    sys.exit = exit


def _end_all(session: Session) -> None:
    status, error = how_it_ends()
    for run_id in session.recorder.owned:
        try:
            session.store.transition(run_id, status, error=error)
        except sqlite3.Error as e:
            warn_once("end", "the end of runs cannot be kept: %s", e)
        session.recorder.disown(run_id)


def how_it_ends() -> tuple[str, dict[str, Any] | None]:
    """(status, error) for runs that are left open, from what the interpreter knows of its end."""
    if "IPython" in sys.modules and getattr(sys.modules["IPython"], "get_ipython", lambda: None)() is not None:
        return "Canceled", None  # the kernel ends or restarts; an exception of some cell was no end
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if isinstance(error, KeyboardInterrupt):
        return "Canceled", None
    if isinstance(error, BaseException):
        return "Failed", user_error(error, error.__traceback__)
    if _exit_code and _exit_code[0] not in (None, 0):
        return "Failed", make_error("UserError", f"User program failed with SystemExit: {clean(_exit_code[0])[:1000]}")
    return "Completed", None


def user_error(error: BaseException, trace: TracebackType | None) -> dict[str, Any]:
    """A run's error for an exception of the user's program, in azureml's words."""
    import traceback

    from tocsin.model.text.tails import LONGEST, last_lines

    name = type(error).__name__
    text = clean(_said(error))
    stack = "".join(traceback.format_exception(type(error), error, trace))
    out = make_error(
        "UserError", f"User program failed with {name}: {text}"[:4000] if text else f"User program failed with {name}"
    )
    out["error"]["debug_stack_trace"] = (
        clean(stack) if len(stack) <= LONGEST else "\n".join(last_lines(clean(stack), 200, LONGEST))
    )
    return out


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # a faulty __str__ of the user's
        return ""

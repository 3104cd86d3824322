"""tocsin rings when a run goes wrong: run-status events in, KQL rules over them, one mail to the right person.

The SDK's names (``from tocsin import Workspace, Experiment, Run, ScriptRunConfig``) are loaded when they are first
used, and
load nothing of the pipeline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.sdk.runconfig import ComputeTarget, Environment, RunConfiguration, ScriptRunConfig
    from tocsin.sdk.workspace import Experiment, Run, Workspace

__version__ = "0.1.0"
VERSION = __version__

_SDK = {
    "ComputeTarget": "runconfig",
    "Environment": "runconfig",
    "Experiment": "workspace",
    "Run": "workspace",
    "RunConfiguration": "runconfig",
    "ScriptRunConfig": "runconfig",
    "Workspace": "workspace",
}

__all__ = [
    "VERSION",
    "ComputeTarget",
    "Environment",
    "Experiment",
    "Run",
    "RunConfiguration",
    "ScriptRunConfig",
    "Workspace",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _SDK:
        raise AttributeError(f"module 'tocsin' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"tocsin.sdk.{_SDK[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_SDK})

"""azureml.core's names: ``import tocsin.core`` and ``tocsin.core.VERSION`` stand where azureml's stood."""

from __future__ import annotations

from tocsin import VERSION
from tocsin.sdk.runconfig import ComputeTarget, Environment, RunConfiguration, ScriptRunConfig
from tocsin.sdk.workspace import Experiment, Run, Workspace

__version__ = VERSION

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

"""azureml.core.script_run_config: ScriptRunConfig."""

from tocsin.sdk.runconfig import ScriptRunConfig

__all__ = ["ScriptRunConfig"]

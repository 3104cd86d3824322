"""azureml.core.runconfig: RunConfiguration."""

from tocsin.sdk.runconfig import RunConfiguration

__all__ = ["RunConfiguration"]

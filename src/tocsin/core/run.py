"""azureml.core.run: Run."""

from tocsin.sdk.run import Run

__all__ = ["Run"]

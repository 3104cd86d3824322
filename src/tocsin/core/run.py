"""azureml.core.run: Run."""

from tocsin.sdk.workspace import Run

__all__ = ["Run"]

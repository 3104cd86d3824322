"""azureml.core.workspace: Workspace."""

from tocsin.sdk.workspace import Workspace

__all__ = ["Workspace"]

"""azureml.exceptions' names."""

from tocsin.sdk.errors import (
    ActivityFailedException,
    ExperimentExecutionException,
    ProjectSystemException,
    RunEnvironmentException,
    ServiceException,
    SnapshotException,
    UserErrorException,
    WorkspaceException,
)

__all__ = [
    "ActivityFailedException",
    "ExperimentExecutionException",
    "ProjectSystemException",
    "RunEnvironmentException",
    "ServiceException",
    "SnapshotException",
    "UserErrorException",
    "WorkspaceException",
]

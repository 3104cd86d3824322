"""Errors of the SDK, with azureml's names. A failing disk, network or server raises none of them into training."""

from __future__ import annotations

from typing import Any

from tocsin.errors import TocsinError


class UserErrorException(TocsinError):
    """A call is wrong; the text says what would be right. Nothing was changed."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class WorkspaceException(UserErrorException):
    """No workspace is where one was looked for, or its folder cannot be used."""


class ProjectSystemException(WorkspaceException):
    """A workspace of that name exists already."""


class RunEnvironmentException(UserErrorException):
    """``Run.get_context(allow_offline=False)`` outside a submitted run."""


class ServiceException(UserErrorException):
    """There is no such run, file or experiment."""


class ExperimentExecutionException(UserErrorException):
    """A script cannot be submitted as configured."""


class SnapshotException(UserErrorException):
    """A folder cannot be taken as a snapshot."""


class ActivityFailedException(TocsinError):
    """A run that was waited for has failed. ``error_details`` is the run's error."""

    def __init__(self, error_details: Any) -> None:
        import json

        self.error_details = error_details
        self.message = "Activity Failed:\n" + json.dumps(error_details, indent=4, ensure_ascii=False, default=str)
        super().__init__(self.message)

"""The status vocabulary (Azure ML's), reasons and severities."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Status(StrEnum):
    """Where a run is in its life. ``UNKNOWN`` stands for a word that no status map knows."""

    NOT_STARTED = "NotStarted"
    STARTING = "Starting"
    PROVISIONING = "Provisioning"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    RUNNING = "Running"
    PAUSED = "Paused"
    NOT_RESPONDING = "NotResponding"
    FINALIZING = "Finalizing"
    CANCEL_REQUESTED = "CancelRequested"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    UNKNOWN = "Unknown"


TERMINAL: frozenset[str] = frozenset({"Completed", "Failed", "Canceled"})
"""Statuses that end a run."""

STATUS_WORDS: frozenset[str] = frozenset(s.value for s in Status)


class Reason(StrEnum):
    """Why a run ended as it did, in tocsin's words; ``NONE`` where it does not apply."""

    NONE = ""
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    USER_CANCELED = "user_canceled"
    QUOTA = "quota"
    INFRASTRUCTURE = "infrastructure"
    CODE_ERROR = "code_error"
    UNKNOWN = "unknown"


class Severity(IntEnum):
    """Azure Monitor's severities: 0 is the worst."""

    CRITICAL = 0
    ERROR = 1
    WARNING = 2
    INFORMATIONAL = 3
    VERBOSE = 4

    @property
    def word(self) -> str:
        """The word that users write and read, e.g. ``error``."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Severity:
        """The severity called ``word``. Raises ``KeyError`` for any other word."""
        return cls[word.upper()]


class Kind(StrEnum):
    """What a rule evaluates."""

    EVENT = "event"
    WINDOW = "window"
    ABSENCE = "absence"

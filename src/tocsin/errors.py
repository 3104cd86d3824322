"""The one tree of errors. A class of its own only where a caller acts differently on it."""

from __future__ import annotations

from dataclasses import dataclass


class TocsinError(Exception):
    """Base of every error that tocsin raises on purpose. Its text is meant for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a file that a person wrote.

    ``line`` and ``column`` are 1-based, 0 where the whole file or line is meant. ``key`` is the dotted path of the
    offending key. ``hint`` says what would be right.
    """

    file: str
    line: int = 0
    column: int = 0
    key: str = ""
    message: str
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        where = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        key = f"{self.key}: " if self.key else ""
        hint = f"; {self.hint}" if self.hint else ""
        word = "warning: " if self.warning else ""
        return f"{where}: {word}{key}{self.message}{hint}"


class ConfigurationError(TocsinError):
    """Files of a project directory (settings, rules, consumers, templates) are broken; ``problems`` lists all faults at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))


class QueryError(TocsinError):
    """A user's query is wrong or refused. ``line``/``column`` are 1-based, 0 where unknown."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0, hint: str = "") -> None:
        self.message, self.line, self.column, self.hint = message, line, column, hint
        where = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{where}{message}{'; ' + hint if hint else ''}")


class QueryTimeout(QueryError):
    """A query ran into its time limit and was interrupted."""


class QueryBusy(QueryTimeout):
    """A query was not begun, since earlier ones take what it needs. Nothing is wrong with it: another time it will
    do.
    """


class StoreError(TocsinError):
    """A store refused an operation; nothing of it was kept."""


class StoreLost(StoreError):
    """The store's instance is dead (full disk, I/O error). Whether the last commit is durable is unknown until
    reopened.
    """


class StoreFull(StoreError):
    """Free space is below the reserve: intake must stop taking."""


class StoreGone(StoreFull):
    """The store's file was deleted or replaced while it is open: what is written to it now ends with the process."""


class PositionGap(StoreError):
    """A batch starts beyond the stored position of its partition: take again from the stored one."""


class PairingError(TocsinError):
    """Log store and state do not belong together; the text says what to do."""


class SourceLost(TocsinError):
    """A connector lost its source; nothing was taken since the last batch."""

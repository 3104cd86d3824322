"""Where log lines go: whatever stderr is at the moment. Loggers live longer than one that is captured or replaced."""

from __future__ import annotations

import sys
from typing import TextIO, cast


class _Current:
    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


CURRENT_STDERR: TextIO = cast(TextIO, _Current())
"""Writes and flushes; nothing else of a file."""

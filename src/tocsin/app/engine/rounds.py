"""Threads that do the same every few seconds."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar

import structlog

from tocsin.errors import TocsinError

log = structlog.get_logger(__name__)


class Rounds(ABC):
    """A thread with a round every few seconds. What fails is logged, and tried again in the next round."""

    name: ClassVar[str]
    every: ClassVar[float]  # seconds between rounds
    last_round: ClassVar[bool] = False  # whether one more follows ``stop``

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @abstractmethod
    def round(self) -> None:
        """One round. Raises TocsinError."""

    def start(self) -> None:
        """Start the thread; the first round comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for its end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._try()
            if self._stop.wait(self.every):
                break
        if self.last_round:
            self._try()

    def _try(self) -> None:
        try:
            self.round()
        except TocsinError as e:
            log.warning(f"{self.name}_failed", error=str(e))
        except Exception:  # the next round must come, whatever this one met
            log.exception(f"{self.name}_failed")

"""Runs that a query finds: lazy, in pages, to be gone through again and again, and printable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin.sdk.run import Run

SHOWN = 20


class Runs:
    """What get_runs() and get_children() return. azureml gives a generator, so ``next()`` works too."""

    def __init__(self, find: Callable[[], Iterator[Run]]) -> None:
        self._find = find
        self._at: Iterator[Run] | None = None

    def __iter__(self) -> Iterator[Run]:
        return self._find()

    def __next__(self) -> Run:
        if self._at is None:
            self._at = self._find()
        return next(self._at)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(self._find(), None) is not None

    def __getitem__(self, index: int) -> Run:
        if index < 0:
            return list(self)[index]
        for i, run in enumerate(self):
            if i == index:
                return run
        raise IndexError(index)

    def __repr__(self) -> str:
        shown = []
        for i, run in enumerate(self):
            if i == SHOWN:
                shown.append("…")
                break
            shown.append(repr(run))
        return "[" + ",\n ".join(shown) + "]"

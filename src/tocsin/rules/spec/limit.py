"""How many alerts of a rule are notified one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin.config.yaml.durations import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``most`` alerts singly in ``span`` for each value of ``per``."""

    per: tuple[str, ...]
    most: int
    span: timedelta
    digest: bool  # False: what is beyond is dropped

    @property
    def words(self) -> str:
        """For people."""
        then = "one digest of the others" if self.digest else "the others are dropped"
        return f"{self.most} in {format_duration(self.span)} per {', '.join(self.per)}, then {then}"

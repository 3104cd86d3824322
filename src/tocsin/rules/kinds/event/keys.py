"""Keys that only an event rule has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tocsin.config.yaml.document import YamlModel
from tocsin.rules.language.schema import PastWhen, RuleModel


class EventWhen(PastWhen):
    """Events that match."""

    final: bool | None = Field(
        None,
        description="only when no other attempt follows (WillRetry is false); by default so of Failed under `status`",
        examples=[False],
    )

    @property
    def finals(self) -> frozenset[str] | None:
        """Statuses that only match when no other attempt follows: Failed, where the file does not say; empty: all.
        None where each attempt matches.
        """
        if self.final is None:
            return frozenset({"Failed"}) if "Failed" in (self.status or ()) else None
        return frozenset() if self.final else None


class CollapseWhen(YamlModel):
    """How many children make a parent's alert."""

    failed: str = Field(description="share of the children", examples=["20%"])
    at_least: int = Field(1, ge=1, description="and at least as many", examples=[10])


class Collapse(YamlModel):
    """One alert for a parent instead of one for each child."""

    to: Literal["root", "parent"] = Field(description="which run the alert is about", examples=["root"])
    when: CollapseWhen = Field(description="when the alert fires")
    update: tuple[str, ...] = Field((), description="when a further notification is sent", examples=[["50%", "end"]])


class EventModel(RuleModel):
    """An event rule."""

    collapse: Collapse | None = Field(None, description="one alert for a parent")

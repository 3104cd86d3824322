"""Keys that only an absence rule about single runs has."""

from __future__ import annotations

from pydantic import Field

from tocsin.rules.language.schema import PastWhen, Wait


class DeadlineWhen(PastWhen):
    """Runs that do not move on."""

    in_status_for: Wait | None = Field(None, description="time spent in these statuses", examples=["45m"])
    silent_for: Wait | None = Field(None, description="neither event nor heartbeat for so long", examples=["10m"])
    unchanged: str = Field("", description="a column that does not change, with `for`", examples=["Progress"])
    for_: Wait | None = Field(None, alias="for", description="how long the column does not change", examples=["1h"])

"""Keys that only an absence rule by a schedule has."""

from __future__ import annotations

from pydantic import Field

from tocsin.config.calendars.named import DaysModel
from tocsin.rules.language.schema import Match, When


class Except(DaysModel):
    """Days that do not count."""


class ScheduleWhen(When):
    """What ought to come by a schedule."""

    absent: Match | None = Field(None, description="an event that should have come", examples=[{"status": "Completed"}])
    cron: str = Field("", description="when the event is due", examples=["0 2 * * *"])
    grace: str = Field("", description="how late the event may be", examples=["30m"])
    early: str = Field("", description="how early the event may be", examples=["15m"])
    timezone: str = Field(
        "", description="of `cron`; default that of the file or of tocsin.yaml", examples=["Asia/Tokyo"]
    )
    except_: str | Except = Field(
        "",
        alias="except",
        description="days that do not count: a calendar's name, or these",
        examples=["hu-holidays", {"country": "HU"}],
    )
    consumer: str = Field("", description="the consumer that would bring the event; default all", examples=["airflow"])

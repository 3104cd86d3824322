"""Keys that only a window rule has, a sequence among them."""

from __future__ import annotations

from pydantic import Field

from tocsin.config.yaml.document import YamlModel
from tocsin.config.yaml.durations import Duration
from tocsin.rules.language.schema import Columns, For, RuleModel, Statuses, Times, Wait, When


class SequenceWhen(When):
    """Statuses that follow each other."""

    after: Statuses | None = Field(None, description="the status just before", examples=["Running"])
    times: Times | None = Field(None, description="how often", examples=[3])
    within: Wait | None = Field(None, description="range of time", examples=["6h"])
    by: Columns | None = Field(None, description="counted for each of these", examples=[["RunId"]])
    look_back: Duration | None = Field(
        None, description="how much older than `within` the status just before may be (default 7d)", examples=["30d"]
    )


class Export(YamlModel):
    """A metric made of the rule's value."""

    metric: str = Field(description="name of the metric", examples=["tocsin_rule_cost_usd"])


class WindowModel(RuleModel):
    """A window rule."""

    sql: str = Field("", description="what the rule fires for, in SQL", examples=["SELECT * FROM Runs"])
    condition: str = Field(
        "",
        description="when a row of the query fires; without it each row does",
        examples=["finished >= 5 and rate > 0.2"],
    )
    over: str = Field("", description="the window: a duration, `run` or `root`", examples=["1h"])
    every: Duration | None = Field(None, description="how often a window is evaluated", examples=["1m"])
    value: str = Field("", description="the field whose number mails and metrics show", examples=["rate"])
    for_: For = Field(None, alias="for", description="how long the condition must hold, or how many ticks of how many")
    keep_firing_for: Duration | None = Field(
        None, description="how long the alert keeps firing after its condition ended", examples=["10m"]
    )
    lateness: Duration | None = Field(None, description="how late events may come", examples=["2m"])
    export: Export | None = Field(None, description="a metric of the rule's value")

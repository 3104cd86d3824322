"""Models of rule files: every key of the language, with its type, meaning and an example. The JSON Schema is made from them.

Keys of another kind of rule are known everywhere: ``compile`` refuses them by name instead of ignoring them.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from tocsin.config.calendars import DaysModel
from tocsin.config.document import YamlModel
from tocsin.config.durations import Duration, parse_duration
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.statuses import Status

NAME = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
SEVERITIES = ("critical", "error", "warning", "informational", "verbose")


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _many(item: dict[str, Any], examples: list[Any]) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}], "examples": examples}, mode="validation"
    )


StatusWord = Literal[
    "NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Paused", "NotResponding", "Finalizing",
    "CancelRequested", "Completed", "Failed", "Canceled", "Unknown",
]  # fmt: skip
Statuses = Annotated[
    tuple[StatusWord, ...],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    _many({"enum": [s.value for s in Status]}, ["Failed", ["Failed", "NotResponding"]]),
]
"""One status or several."""
Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_many),
    _many({"type": "string"}, [["ExperimentName"], "RunId"]),
]
"""One column or several."""
SeverityWord = Literal["critical", "error", "warning", "informational", "verbose"]
Address = Annotated[str, Field(min_length=1)]

_N_OF_M = re.compile(r"(\d+) of (\d+)")


def _for(value: Any) -> Any:
    match = _N_OF_M.fullmatch(str(value))
    if match is None:
        return parse_duration(str(value))
    n, m = int(match[1]), int(match[2])
    if not 1 <= n <= m:
        raise ValueError(f"'{value}' can never hold; write for example 2 of 3")
    return (n, m)


For = Annotated[
    Any,
    BeforeValidator(_for),
    WithJsonSchema({"type": "string", "examples": ["5m", "2 of 3"]}),
]
"""How long a condition must hold: a duration (timedelta), or ``N of M`` ticks (a pair)."""


def _wait(value: Any) -> Any:
    return value if isinstance(value, timedelta) or "{{" in str(value) else parse_duration(str(value))


Wait = Annotated[
    timedelta | str,
    BeforeValidator(_wait),
    WithJsonSchema({"type": "string", "examples": ["45m", "{{ minutes }}m"]}),
]
"""How long is waited: a duration, or with `for_each` a template of one over the table's columns."""


def _times(value: Any) -> Any:
    if isinstance(value, str) and "{{" in value:
        return value
    if not str(value).isdigit() or int(value) < 1:
        raise ValueError(f"'{value}' is no number of times; write for example 3")
    return int(value)


Times = Annotated[
    int | str,
    BeforeValidator(_times),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "examples": [3, "{{ times }}"]}),
]
"""How often: a number, or with `for_each` a template of one."""


class Match(YamlModel):
    """Which events are meant."""

    status: Statuses | None = Field(None, description="one status or several", examples=["Completed"])
    where: str = Field("", description="a KQL predicate over the event's columns", examples=["Tags.env =~ 'prod'"])


class Past(YamlModel):
    """A run's length against those of the past."""

    above: str = Field("", description="fires above it", examples=["1.5 * p95"])
    below: str = Field("", description="fires below it", examples=["0.2 * p05"])
    of: Columns = Field(("ExperimentName",), description="what makes runs comparable", examples=[["ExperimentName"]])
    last: Duration = Field(description="how far back it looks", examples=["30d"])
    min_runs: int = Field(10, ge=1, description="says nothing with fewer runs than these", examples=[10])


class Except(DaysModel):
    """Days that do not count."""


class When(Match):
    """What a rule waits for, without KQL."""

    final: bool = Field(False, description="only when no other try follows (WillRetry is false)", examples=[True])
    in_status_for: Wait | None = Field(None, description="spent that long in these statuses", examples=["45m"])
    silent_for: Wait | None = Field(None, description="neither event nor heartbeat for that long", examples=["10m"])
    unchanged: str = Field("", description="a column that stands still, with `for`", examples=["Progress"])
    for_: Wait | None = Field(None, alias="for", description="for how long it stands still", examples=["1h"])
    absent: Match | None = Field(
        None, description="an event that ought to have come", examples=[{"status": "Completed"}]
    )
    cron: str = Field("", description="when it ought to have come", examples=["0 2 * * *"])
    grace: str = Field("", description="how late it may be", examples=["30m"])
    timezone: str = Field("UTC", description="of `cron`", examples=["Europe/Budapest"])
    except_: str | Except = Field(
        "",
        alias="except",
        description="days that do not count: a calendar's name, or these",
        examples=["hu-holidays", {"country": "HU"}],
    )
    consumer: str = Field("", description="the consumer that would bring it; all where absent", examples=["airflow"])
    duration: Past | None = Field(None, description="a run's length against the past")
    after: Statuses | None = Field(None, description="the status that came just before", examples=["Running"])
    times: Times | None = Field(None, description="how often", examples=[3])
    within: Wait | None = Field(None, description="in how much time", examples=["6h"])
    by: Columns | None = Field(None, description="counted for each of these", examples=[["RunId"]])
    look_back: Duration | None = Field(
        None, description="what came just before may be so much older than `within`; 7d where absent", examples=["30d"]
    )


class Notify(YamlModel):
    """Who is told besides those that the route finds."""

    to: Annotated[tuple[Address, ...], BeforeValidator(_one_or_many)] = Field(
        description="receivers or addresses", examples=[["owner", "ml-leads@example.org"]]
    )
    only: bool = Field(False, description="these instead of those that the route finds", examples=[True])


class CollapseWhen(YamlModel):
    """How many children make a parent's alert."""

    failed: str = Field(description="share of the children", examples=["20%"])
    at_least: int = Field(1, ge=1, description="and at least as many", examples=[10])


class Collapse(YamlModel):
    """One alert for a parent instead of one for each child."""

    to: Literal["root", "parent"] = Field(description="what stands for its children", examples=["root"])
    when: CollapseWhen = Field(description="from when on")
    update: tuple[str, ...] = Field((), description="when it is told again", examples=[["50%", "end"]])


class ForEach(YamlModel):
    """One rule for each row of a reference table."""

    table: str = Field(description="a file of tables/, without its ending", examples=["nightlies"])


class ResolveWhen(YamlModel):
    """What ends an alert of a row rule."""

    status: Statuses = Field(description="one status or several", examples=["Completed"])
    same: Columns = Field(description="columns that must be equal", examples=["ExperimentName"])


class Resolve(YamlModel):
    """How an alert ends."""

    after: Duration | None = Field(None, description="closed after that long", examples=["1h"])
    when: ResolveWhen | None = Field(None, description="recovered by an event")


class Limit(YamlModel):
    """At most so many mails."""

    per: Columns = Field(description="counted for each of these", examples=["ExperimentName"])
    told: int = Field(ge=1, description="how many are told", examples=[3])
    in_: Duration = Field(alias="in", description="in how much time", examples=["1d"])
    then: Literal["digest", "drop"] = Field("digest", description="what becomes of the others", examples=["digest"])


class Export(YamlModel):
    """A metric made of the rule's value."""

    metric: str = Field(description="name of the metric", examples=["tocsin_rule_cost_usd"])


def _event_columns() -> dict[str, Any]:
    types: dict[KqlType, dict[str, Any]] = {
        KqlType.STRING: {"type": "string"},
        KqlType.DATETIME: {"type": "string", "examples": ["5m", "2026-01-05T12:00:00Z"]},
        KqlType.LONG: {"type": "integer"},
        KqlType.INT: {"type": "integer"},
        KqlType.REAL: {"type": "number"},
        KqlType.BOOL: {"type": ["boolean", "null"]},
        KqlType.DYNAMIC: {"type": "object"},
    }
    return {c.name: {"description": c.doc, **types[c.type]} for c in RUN_STATUS_CHANGED if c.name in EVENT_COLUMNS}


EVENT_COLUMNS = tuple(c.name for c in RUN_STATUS_CHANGED if c.name not in ("IngestedAt", "CommitSeq", "Raw"))
"""Columns that an event of an inline test may set."""


def _closed(schema: dict[str, Any]) -> None:
    """Columns are properties, and nothing else is."""
    schema["properties"].update(_event_columns())
    schema["additionalProperties"] = False


class TestEvent(YamlModel):
    """An event of an inline test; its columns have sensible defaults."""

    __test__ = False
    model_config = ConfigDict(extra="allow", json_schema_extra=_closed)

    at: Duration = Field(description="when it arrives, from the test's start", examples=["5m"])
    heartbeat: bool = Field(False, description="a sign of life, no status change", examples=[True])


class Expect(YamlModel):
    """What must be at a time, after everything due has been evaluated."""

    at: Duration = Field(description="from the test's start", examples=["30m"])
    told: int | None = Field(
        None, ge=0, description="how often the rule has told something since the start", examples=[1]
    )
    resolved_told: int | None = Field(None, ge=0, description="how many endings it has told", examples=[0])
    firing: tuple[dict[str, Any], ...] | None = Field(
        None, description="exactly these instances fire", examples=[[{"ExperimentName": "churn"}]]
    )
    pending: tuple[dict[str, Any], ...] | None = Field(
        None, description="exactly these instances are pending", examples=[[{"ExperimentName": "churn"}]]
    )


class InlineTest(YamlModel):
    """A story with its ending, run by the production engine."""

    name: str = Field(description="what it shows", examples=["one for a failed run, none for a duplicate"])
    start: datetime | None = Field(
        None, description="the test's start; a Monday noon UTC where absent", examples=["2026-01-05T12:00:00Z"]
    )
    events: tuple[TestEvent, ...] = Field((), description="what arrives")
    tables: dict[str, tuple[dict[str, Any], ...]] = Field(
        default_factory=dict,
        description="rows of reference tables",
        examples=[{"prices": [{"Target": "gpu", "usd": 3}]}],
    )
    expect: tuple[Expect, ...] = Field(min_length=1, description="what must be when")

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: Any) -> Any:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            if parsed.tzinfo is None:
                raise ValueError(f"'{value}' has no zone; write 2026-01-05T12:00:00Z")
            return parsed
        return value


class Common(YamlModel):
    """Keys that `defaults:` may set for a file's rules."""

    enabled: bool = Field(True, description="false: checked, but never evaluated", examples=[False])
    description: str = Field("", description="what it means, for people", examples=["A run failed for good."])
    owner: str = Field("", description="who looks after the rule", examples=["ml-platform"])
    runbook: str = Field("", description="what to do; a link", examples=["https://wiki.example.org/runbooks/training"])
    annotations: dict[str, str] = Field(
        default_factory=dict, description="further texts of the mail; templates", examples=[{"hint": "see {{ Url }}"}]
    )
    severity: SeverityWord | dict[SeverityWord, str] = Field(
        "warning",
        description="critical, error, warning, informational or verbose (Azure's 0-4); or a threshold for each",
        examples=["error", {"warning": "> 500", "critical": "> 2000"}],
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="fields made by templates, to route and group by",
        examples=[{"team": "{{ Tags.team | lower }}"}],
    )  # fmt: skip
    keep: Columns = Field(
        (), description="fields of the row that the alert carries", examples=[["Target", "OwnerEmail"]]
    )
    notify: Notify | None = Field(None, description="who is told", examples=[{"to": ["owner", "ml-leads"]}])
    template: str = Field("", description="base name of a mail template", examples=["run"])
    final_after: Duration | None = Field(
        None,
        description="how long another try is waited for where the producer cannot say (default 15m)",
        examples=["15m"],
    )
    tell_within: Duration | None = Field(
        None, description="what is older (event time) is recorded, not told (default 24h)", examples=["24h"]
    )
    no_data: Literal["keep", "ok", "alert"] | None = Field(
        None, description="what no data means for an instance", examples=["keep"]
    )
    repeat_every: Duration | None = Field(None, description="told again while it is open", examples=["4h"])
    limit: Limit | None = Field(None, description="at most so many mails")
    max_instances: int | None = Field(None, ge=1, description="past it, one alert sums up", examples=[200])


class RuleModel(Common):
    """An alert rule."""

    name: str = Field(pattern=f"^{NAME}$", max_length=128, description="unique over all files", examples=["run-failed"])
    was: str = Field(
        "", description="its former name: keeps what it remembers over a renaming", examples=["failed-run"]
    )
    kind: Literal["row", "window", "absence"] | None = Field(
        None, description="what it looks at; checked against what the rule says", examples=["row"]
    )
    when: When | None = Field(None, description="what it waits for, without KQL", examples=[{"status": "Failed"}])
    query: str = Field(
        "", description="what it waits for, in KQL", examples=["RunStatusChanged | where Status == 'Failed'"]
    )
    sql: str = Field("", description="what it waits for, in SQL", examples=["SELECT * FROM Runs"])
    summary: str = Field(
        "", description="the mail's subject; a template", examples=["{{ ExperimentName }} failed: {{ Message }}"]
    )
    by: Columns = Field((), description="what names an instance; a row rule's has RunId", examples=[["ExperimentName"]])
    over: str = Field("", description="the window: a duration, `run` or `root`", examples=["1h"])
    every: Duration | None = Field(None, description="how often a window is looked at", examples=["1m"])
    value: str = Field("", description="the field whose number mails and metrics show", examples=["rate"])
    clear: str = Field("", description="a firing instance ends only when this holds", examples=["rate < 0.1"])
    for_: For = Field(None, alias="for", description="how long it must hold, or how many ticks of how many")
    keep_firing_for: Duration | None = Field(None, description="how long it fires on", examples=["10m"])
    lateness: Duration | None = Field(None, description="how late events may come", examples=["2m"])
    resolve: Literal["never"] | Resolve | None = Field(
        None, description="how it ends", examples=["never", {"after": "1h"}]
    )
    export: Export | None = Field(None, description="a metric made of its value")
    collapse: Collapse | None = Field(None, description="one alert for a parent")
    for_each: ForEach | None = Field(None, description="one rule for each row of a table")
    tests: tuple[InlineTest, ...] = Field((), description="stories that must come true")


class Defaults(Common):
    """What the rules of a file say unless they say otherwise; `labels` and `annotations` are merged."""


class RuleFile(YamlModel):
    """A file of `rules/alerts/`."""

    defaults: Defaults = Field(default_factory=Defaults, description="for every rule of this file")
    rules: tuple[RuleModel, ...] = Field((), description="the rules")


def rules_json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of ``rules/alerts/``, for editors."""
    schema = RuleFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tocsin alert rules", **schema}

"""Models of rule files: the keys that rules of every kind share, with type, meaning and an example.

The keys of one kind are in its package (``kinds.<kind>.keys``). ``kinds.registry`` makes the model of a file of all of
them, and ``compile`` refuses a key of another kind by name instead of ignoring it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from tocsin.config.yaml.document import YamlModel
from tocsin.config.yaml.durations import Duration, parse_duration
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.statuses import Status
from tocsin.rules.language import former_keys

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
"""A duration, or with `for_each` a template of one over the table's columns."""


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
    """Which events match."""

    status: Statuses | None = Field(None, description="one status or several", examples=["Completed"])
    where: str = Field("", description="a KQL predicate over the event's columns", examples=["Tags.env =~ 'prod'"])


class Past(YamlModel):
    """A run's duration against its baseline."""

    above: str = Field("", description="fires above this threshold", examples=["1.5 * p95"])
    below: str = Field("", description="fires below this threshold", examples=["0.2 * p05"])
    of: Columns = Field(
        ("ExperimentName",), description="runs with equal values share a baseline", examples=[["ExperimentName"]]
    )
    last: Duration = Field(description="the baseline's range of time", examples=["30d"])
    min_runs: int = Field(10, ge=1, description="fires only with at least so many earlier runs", examples=[10])


class When(Match):
    """What a rule fires for, without KQL."""


class PastWhen(When):
    """One that compares runs with those of the past."""

    duration: Past | None = Field(None, description="a run's duration against its baseline")


class Notify(YamlModel):
    """Who is notified besides the receivers of the route."""

    to: Annotated[tuple[Address, ...], BeforeValidator(_one_or_many)] = Field(
        description="receivers or addresses", examples=[["owner", "ml-leads@example.org"]]
    )
    only: bool = Field(False, description="these instead of the receivers of the route", examples=[True])


class ForEach(YamlModel):
    """One generated rule for each row of a reference table."""

    table: str = Field(description="a file of tables/, without its ending", examples=["nightlies"])


class ResolveWhen(YamlModel):
    """The event that resolves an alert of an event rule."""

    status: Statuses = Field(description="one status or several", examples=["Completed"])
    same: Columns = Field(description="columns that must be equal", examples=["ExperimentName"])


class Resolve(YamlModel):
    """How an alert resolves."""

    FORMER: ClassVar[Mapping[str, str]] = former_keys.RESOLVE

    when: str | ResolveWhen = Field(
        description="window rules: a firing instance resolves only when this holds; event rules: the resolving event",
        examples=["rate < 0.1", {"status": "Completed", "same": "ExperimentName"}],
    )


class Limit(YamlModel):
    """A rate limit for notifications."""

    FORMER: ClassVar[Mapping[str, str]] = former_keys.LIMIT

    per: Columns = Field(description="counted for each value of these", examples=["ExperimentName"])
    max: int = Field(ge=1, description="alerts notified one by one", examples=[3])
    window: Duration = Field(description="range of time", examples=["1d"])
    then: Literal["digest", "drop"] = Field(
        "digest", description="what happens to the other alerts", examples=["digest"]
    )


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
    heartbeat: bool = Field(False, description="a heartbeat, no status change", examples=[True])
    metrics: dict[str, Any] = Field(
        default_factory=dict, description="values that the run logs, no status change", examples=[{"loss": 0.5}]
    )


class Expect(YamlModel):
    """What must be true at a time, after everything due has been evaluated."""

    FORMER: ClassVar[Mapping[str, str]] = former_keys.EXPECT

    at: Duration = Field(description="from the test's start", examples=["30m"])
    notifications: int | None = Field(
        None, ge=0, description="firing notifications since the start, before grouping and routing", examples=[1]
    )
    resolved: int | None = Field(None, ge=0, description="resolved notifications since the start", examples=[0])
    firing: tuple[dict[str, Any], ...] | None = Field(
        None, description="exactly these instances fire", examples=[[{"ExperimentName": "churn"}]]
    )
    pending: tuple[dict[str, Any], ...] | None = Field(
        None, description="exactly these instances are pending", examples=[[{"ExperimentName": "churn"}]]
    )
    subject: str | None = Field(
        None, description="of the last notification until then", examples=["churn failed: out of memory"]
    )
    receivers: tuple[str, ...] | None = Field(
        None, description="whom the last notification goes to, in any order", examples=[["ml-leads", "owner"]]
    )


class InlineTest(YamlModel):
    """Events and what is expected of them, run by the production engine."""

    name: str = Field(description="what it shows", examples=["one for a failed run, none for a duplicate"])
    start: datetime | None = Field(
        None, description="the test's start (default a Monday noon UTC)", examples=["2026-01-05T12:00:00Z"]
    )
    events: tuple[TestEvent, ...] = Field((), description="what arrives")
    tables: dict[str, tuple[dict[str, Any], ...]] = Field(
        default_factory=dict,
        description="rows of reference tables",
        examples=[{"prices": [{"Target": "gpu", "usd": 3}]}],
    )
    expect: tuple[Expect, ...] = Field(min_length=1, description="what must be true when")

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

    FORMER: ClassVar[Mapping[str, str]] = former_keys.COMMON

    enabled: bool = Field(True, description="false: checked, but never evaluated", examples=[False])
    description: str = Field("", description="what it means, for people", examples=["A run failed for good."])
    owner: str = Field("", description="who maintains the rule", examples=["ml-platform"])
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
    fields: Columns = Field(
        (), description="columns of the row that the alert carries", examples=[["Target", "OwnerEmail"]]
    )
    notify: Notify | None = Field(None, description="who is notified", examples=[{"to": ["owner", "ml-leads"]}])
    template: str = Field("", description="base name of a mail template", examples=["run"])
    final_after: Duration | None = Field(
        None,
        description="how long the rule waits for another attempt where the producer cannot say (default 15m)",
        examples=["15m"],
    )
    max_event_age: Duration | None = Field(
        None, description="older events (event time) are recorded, not notified (default 24h)", examples=["24h"]
    )
    no_data: Literal["keep", "ok", "alert"] | None = Field(
        None, description="what no data means for an instance", examples=["keep"]
    )
    repeat_every: Duration | None = Field(None, description="notified again while the alert is active", examples=["4h"])
    limit: Limit | None = Field(None, description="a rate limit for notifications")
    max_instances: int | None = Field(None, ge=1, description="beyond it, one alert sums up", examples=[200])


class RuleModel(Common):
    """An alert rule."""

    FORMER: ClassVar[Mapping[str, str]] = former_keys.RULE

    name: str = Field(pattern=f"^{NAME}$", max_length=128, description="unique over all files", examples=["run-failed"])
    renamed_from: str = Field(
        "", description="the rule's former name: keeps its state over a renaming", examples=["failed-run"]
    )
    kind: str | None = Field(
        None, description="the kind that the author means; `check` refuses another one", examples=["event"]
    )
    when: When | None = Field(None, description="what the rule fires for, without KQL", examples=[{"status": "Failed"}])
    query: str = Field(
        "", description="what the rule fires for, in KQL", examples=["RunStatusChanged | where Status == 'Failed'"]
    )
    summary: str = Field(
        "", description="the mail's subject; a template", examples=["{{ ExperimentName }} failed: {{ Message }}"]
    )
    by: Columns = Field(
        (), description="what names an instance; RunId is added for an event rule", examples=[["ExperimentName"]]
    )
    resolve: Resolve | None = Field(None, description="what resolves an alert", examples=[{"when": "rate < 0.1"}])
    send_resolved: bool = Field(True, description="false: nobody is notified of the end", examples=[False])
    auto_close: Duration | None = Field(None, description="an alert is closed after so long", examples=["1h"])
    for_each: ForEach | None = Field(None, description="one generated rule for each row of a table")
    tests: tuple[InlineTest, ...] = Field((), description="inline tests")


class Defaults(Common):
    """Values for the rules of a file that do not give their own; `labels` and `annotations` are merged."""

    timezone: str = Field("", description="of each `cron` that names none", examples=["Europe/Budapest"])


class RuleFile(YamlModel):
    """A file of `rules/alerts/`."""

    defaults: Defaults = Field(default_factory=Defaults, description="for every rule of this file")
    rules: tuple[RuleModel, ...] = Field((), description="the rules")

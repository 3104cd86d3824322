"""Models of ``consumers/*.yaml``: one file a source of events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from tocsin.config.kafka import OURS, KafkaSettings
from tocsin.config.yaml.document import YamlModel, suggest
from tocsin.config.yaml.durations import Duration
from tocsin.intake import expressions
from tocsin.intake.formats import WORDS
from tocsin.model.columns import HEARTBEATS, RUN_STATUS_CHANGED, RUNS, KqlType
from tocsin.model.event import DeadReason
from tocsin.model.statuses import STATUS_WORDS, Status

WIRE = {c.name: c for c in RUN_STATUS_CHANGED if c.wire}
MAPPED = WIRE | {c.name: c for c in RUNS if c.name == "Description"}
"""Columns that a mapping may set."""
_ELSEWHERE = {"EventId": "event_id", "Source": "source", "TimeGenerated": "time"}


def _expression(text: str) -> str:
    expressions.parse(text)
    return text


def _path(text: str) -> str:
    if not expressions.is_plain(text):
        raise ValueError(f"'{text}' is no plain path; write data or detail.message")
    return text


def _format(text: str) -> str:
    if text not in WORDS:
        try:
            expressions.parse(text)
        except ValueError as e:
            raise ValueError(f"'{text}' is neither {', '.join(WORDS)} nor a JMESPath to the events") from e
        if expressions.is_plain(text) and " " not in text and suggest(text, WORDS).startswith("did you mean"):
            raise ValueError(f"'{text}' is no format; {suggest(text, WORDS)}")
    return text


def _column(name: str) -> str:
    if name in _ELSEWHERE:
        raise ValueError(f"{name} is not set under mapping; write it as the key `{_ELSEWHERE[name]}`")
    if name not in MAPPED:
        raise ValueError(f"{name} is not a column that a mapping can set; {suggest(name, MAPPED)}")
    return name


def _status(word: str) -> str:
    if word not in STATUS_WORDS or word == Status.UNKNOWN:
        known = sorted(STATUS_WORDS - {Status.UNKNOWN})
        raise ValueError(f"'{word}' is not a status; {suggest(word, known)}")
    return word


def _reason(word: str) -> str:
    known = [r.value for r in DeadReason]
    if word not in known:
        raise ValueError(f"'{word}' is not a reason; {suggest(word, known)}")
    return word


def _not_yet(word: Any) -> Any:
    if str(word) in ("file", "poll"):
        raise ValueError(f"'{word}' is not supported yet; use kafka or http")
    return word


Expression = Annotated[str, AfterValidator(_expression)]
"""A JMESPath over one event."""


class KafkaPart(YamlModel):
    """What to read from Kafka, and how."""

    topics: tuple[str, ...] = Field(min_length=1, description="Topics to read.", examples=[["tocsin.runs"]])
    group_id: str = Field(
        default="tocsin", min_length=1, description="Consumer group, for sharing and lag tools.", examples=["tocsin"]
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of kafka-python's consumer that differ from tocsin.yaml's `kafka`.",
        examples=[{"isolation_level": "read_committed"}],
    )

    @field_validator("topics")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a topic twice")
        return value

    @field_validator("settings")
    @classmethod
    def _settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = {
            **OURS,
            "group_id": "it is the key `group_id` beside `settings`",
            "bootstrap_servers": "see tocsin.yaml",
        }
        for key in value:
            if key in taken:
                raise ValueError(f"{key} cannot stand here: {taken[key]}")
        checked = KafkaSettings.model_validate({"bootstrap_servers": ["placeholder:1"], **value}).client()
        return {key: checked[key] for key in value if key in checked}


_PLACE = re.compile(r"\{([^{}]*)\}")
_OF_RUNS = frozenset(c.name for c in RUNS if c.type is KqlType.STRING)


def _placeholders(text: str) -> str:
    for name in _PLACE.findall(text):
        if name not in _OF_RUNS:
            raise ValueError(f"{{{name}}} is no column of Runs that holds text; {suggest(name, _OF_RUNS)}")
    return text


def _template(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"'{url}' is no URL; write https://…")
    host = url.split("/", 3)[2]
    if "{" in host:
        raise ValueError(f"'{host}': a run must not say which host is called; write it out")
    return _placeholders(url)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


class Expect(YamlModel):
    """What the source promises."""

    event_every: Duration = Field(
        gt=timedelta(0),
        description="Longest silence that is normal; after it the watermark stands still and `source-stalled` fires.",
        examples=["15m"],
    )


class CancelPart(YamlModel):
    """How a run of this source is canceled: one HTTP request. ``{RunId}`` and other columns of Runs stand for the run's."""

    url: Annotated[str, AfterValidator(_template)] = Field(
        description="Where to; columns are written as they stand in a URL's path or query.",
        examples=["https://dbc.example.com/api/2.1/jobs/runs/cancel", "https://ci.example.com/runs/{RunId}/cancel"],
    )
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = Field(
        default="POST", description="Its method.", examples=["PUT"]
    )
    body: Any = Field(default=None, description="Sent as JSON; absent: none.", examples=[{"run_id": "{RunId}"}])
    headers: dict[str, str] = Field(
        default_factory=dict, description="Further headers.", examples=[{"Accept": "application/json"}]
    )
    token_file: str | None = Field(
        default=None, min_length=1, description="File of a token, from the project directory on; sent as `Authorization: Bearer`.",
        examples=["databricks.token"],
    )  # fmt: skip
    allow_private: bool = Field(
        default=False, description="Whether it may be a private or loopback address.", examples=[True]
    )

    @field_validator("body")
    @classmethod
    def _body(cls, value: Any) -> Any:
        for text in _texts(value):
            _placeholders(text)
        return value

    def address(self, run: Mapping[str, Any]) -> str:
        """The URL for ``run``, a row of Runs."""
        return _PLACE.sub(lambda m: quote(str(run[m[1]]), safe=""), self.url)

    def filled(self, value: Any, run: Mapping[str, Any]) -> Any:
        """``value`` with the run's columns in its texts. A text that is one column alone and reads as a whole number is one."""
        if isinstance(value, dict):
            return {key: self.filled(one, run) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one, run) for one in value]
        if not isinstance(value, str):
            return value
        text = _PLACE.sub(lambda m: str(run[m[1]]), value)
        alone = _PLACE.fullmatch(value)
        return int(text) if alone and text.isascii() and text.isdecimal() and len(text) < 19 else text


class DeadTest(YamlModel):
    """A dead letter that a test expects."""

    reason: Annotated[str, AfterValidator(_reason)] = Field(description="Its reason.", examples=["no_run_id"])


class ConsumerTest(YamlModel):
    """A payload, and what must become of it."""

    name: str = Field(default="", description="What it shows.", examples=["a failed run"])
    payload: Any = Field(description="The message: text as it is received, or YAML that is sent as JSON.")
    rows: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="Rows that come out, in order, with the columns to compare.",
        examples=[[{"RunId": "r1"}]],
    )
    heartbeats: tuple[dict[str, Any], ...] = Field(
        default=(), description="Heartbeats that come out.", examples=[[{"RunId": "r1", "Progress": 0.5}]]
    )
    dead: tuple[DeadTest, ...] = Field(default=(), description="Dead letters that come out, in order.")
    filtered: int = Field(default=0, ge=0, description="How many events the filter drops.", examples=[1])

    @field_validator("rows", "heartbeats")
    @classmethod
    def _known(cls, value: tuple[dict[str, Any], ...], info: ValidationInfo) -> tuple[dict[str, Any], ...]:
        columns = [c.name for c in (RUN_STATUS_CHANGED if info.field_name == "rows" else HEARTBEATS)]
        for name in (name for row in value for name in row if name not in columns):
            raise ValueError(f"{name} is not a column of its rows; {suggest(name, columns)}")
        return value


class ConsumerFile(YamlModel):
    """One consumer file."""

    name: str | None = Field(
        default=None, description="The file's name without ending, where given.", examples=["events"]
    )
    description: str = Field(default="", description="For people.", examples=["Azure ML through Event Grid"])
    enabled: bool = Field(default=True, description="false: the file is checked, nothing is read.", examples=[False])
    connector: Annotated[Literal["http", "kafka", "file", "poll"], BeforeValidator(_not_yet)] = Field(
        description="How events arrive: http or kafka.", examples=["http"]
    )
    kafka: KafkaPart | None = Field(default=None, description="For connector kafka: what to read.")
    canonical: bool = Field(
        default=False,
        description="The events are tocsin's own CloudEvents; no mapping, the fast path.",
        examples=[True],
    )
    format: Annotated[str, AfterValidator(_format)] = Field(
        default="auto",
        description="Where the events are in a message: auto (one, an array or JSON lines), one, array, json lines, or a "
        "JMESPath to them.",
        examples=["records[]"],
    )
    ignore_case: bool = Field(
        default=False, description="Find fields in any case where they are not there as written.", examples=[True]
    )
    json_in: tuple[Annotated[str, AfterValidator(_path)], ...] = Field(
        default=(), description="Paths whose strings hold JSON, to be read before the rest.", examples=[["data"]]
    )
    filter: Expression | None = Field(
        default=None, description="Events for which this is false, null or empty are dropped and counted.",
        examples=["type == 'job'"],
    )  # fmt: skip
    heartbeat: Expression | None = Field(
        default=None, description="Events for which this is true are heartbeats.", examples=["type == 'alive'"]
    )
    source: Expression | None = Field(
        default=None, description="The producer; the consumer's name where absent.", examples=["topic || source"]
    )
    event_id: Expression | None = Field(
        default=None,
        description="The event's id at its producer; derived from the content where absent.",
        examples=["id"],
    )
    time: Expression | None = Field(
        default=None,
        description="When it happened; Kafka's CreateTime or the receipt where absent.",
        examples=["eventTime"],
    )
    mapping: dict[Annotated[str, AfterValidator(_column)], Expression] = Field(
        default_factory=dict,
        description="Column: JMESPath.",
        examples=[{"RunId": "data.runId", "Status": "data.runStatus"}],
    )
    status_map: dict[str, Annotated[str, AfterValidator(_status)]] = Field(
        default_factory=dict,
        description="The producer's words (any case) for statuses. Statuses themselves need no line; a word that nobody "
        "knows becomes Unknown.",
        examples=[{"FINISHED": "Completed", "KILLED": "Canceled"}],
    )
    retries: Literal["known", "unknown"] = Field(
        default="known",
        description="unknown: the producer cannot say whether another attempt follows, so `final` waits `final_after`.",
        examples=["unknown"],
    )
    expect: Expect | None = Field(default=None, description="What the source promises.")
    cancel: CancelPart | None = Field(default=None, description="How a run of this source is canceled.")
    tests: tuple[ConsumerTest, ...] = Field(default=(), description="Payloads and what must become of them.")

    @field_validator("status_map")
    @classmethod
    def _one_case(cls, value: dict[str, str]) -> dict[str, str]:
        seen: dict[str, str] = {}
        for word in value:
            other = seen.setdefault(word.lower(), word)
            if other != word:
                raise ValueError(f"'{other}' and '{word}' are the same word, since case does not count")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.connector == "kafka" and self.kafka is None:
            raise ValueError("connector: kafka needs the key kafka; write kafka: {topics: [tocsin.runs]}")
        if self.connector != "kafka" and self.kafka is not None:
            raise ValueError(f"connector: {self.connector} and the key kafka do not go together")
        if self.canonical:
            given = [k for k in ("filter", "heartbeat", "source", "event_id", "time", "mapping", "status_map", "json_in")
                     if k in self.model_fields_set]  # fmt: skip
            if given:
                raise ValueError(
                    f"canonical: true and the key {given[0]} do not go together; canonical events need none"
                )
            if self.connector == "kafka" and self.format not in ("auto", "one"):
                raise ValueError("canonical: true on Kafka means one event a record; leave out the key format")
            return self
        missing = [c for c in ("RunId", "Status") if c not in self.mapping]
        if missing and not (missing == ["Status"] and self.heartbeat is not None):
            raise ValueError(f"the key mapping must say where {missing[0]} is; write mapping: {{{missing[0]}: …}}")
        return self

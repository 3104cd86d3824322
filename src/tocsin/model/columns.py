"""Tables and columns as users see them in KQL. The stores create exactly these; docs and schemas are made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class KqlType(StrEnum):
    """KQL's scalar types that our tables use. DuckDB keeps them as ``DUCKDB`` says."""

    STRING = "string"
    DATETIME = "datetime"
    LONG = "long"
    INT = "int"
    REAL = "real"
    BOOL = "bool"
    DYNAMIC = "dynamic"


DUCKDB: Mapping[KqlType, str] = {
    KqlType.STRING: "VARCHAR",
    KqlType.DATETIME: "TIMESTAMP",  # UTC, microseconds
    KqlType.LONG: "BIGINT",
    KqlType.INT: "INTEGER",
    KqlType.REAL: "DOUBLE",
    KqlType.BOOL: "BOOLEAN",
    KqlType.DYNAMIC: "JSON",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its name, type, meaning, and whether a producer may set it on the wire (in CloudEvents ``data``)."""

    name: str
    type: KqlType
    doc: str
    wire: bool = True


def _s(name: str, doc: str, *, wire: bool = True) -> Column:
    return Column(name=name, type=KqlType.STRING, doc=doc, wire=wire)


def _c(name: str, type_: KqlType, doc: str, *, wire: bool = True) -> Column:
    return Column(name=name, type=type_, doc=doc, wire=wire)


_T, _L, _D = KqlType.DATETIME, KqlType.LONG, KqlType.DYNAMIC

RUN_STATUS_CHANGED: tuple[Column, ...] = (
    _s("EventId", "identity of the event at its producer (CloudEvents id)", wire=False),
    _s("Source", "the producer (CloudEvents source); with EventId the dedupe key", wire=False),
    _s("Consumer", "name of the consumer file that brought it", wire=False),
    _c("TimeGenerated", _T, "when it happened: producer's clock, else receipt (CloudEvents time)", wire=False),
    _c("IngestedAt", _T, "when it was committed", wire=False),
    _c("CommitSeq", _L, "number of the store commit that brought it; strictly increasing", wire=False),
    _s("RunId", "the run"),
    _s("ParentRunId", "the run that started it, '' for a top-level run"),
    _s("RootRunId", "the top of its tree; RunId for a top-level run"),
    _s("JobKey", "what stays the same over the attempts of one piece of work; RunId where absent"),
    _c("Attempt", KqlType.INT, "the attempt's number, 0 where unknown"),
    _c("WillRetry", KqlType.BOOL, "whether the producer says that another attempt follows; null where it cannot know"),
    _s("Status", "one of the vocabulary"),
    _s("OriginalStatus", "the status in the producer's words"),
    _s("Reason", "preempted, out_of_memory, timeout, user_canceled, quota, infrastructure, code_error, unknown or ''"),
    _s("Message", "why, in the producer's words"),
    _s("ErrorCode", "the producer's code for it"),
    _s("LogTail", "last lines of its log as a terminal shows them, secrets redacted"),
    _s("ExperimentName", "the experiment"),
    _s("WorkspaceName", "the workspace or project"),
    _s("RunType", "the kind of run in the producer's words"),
    _s("DisplayName", "a name for people"),
    _s("Target", "where it ran"),
    _s("TriggeringUserName", "who started it"),
    _s("OwnerEmail", "whose it is"),
    _c("Progress", KqlType.REAL, "0 to 1 where the producer says so, else null"),
    _c("Tags", _D, "always an object"),
    _c("Properties", _D, "always an object"),
    _c("StartTime", _T, "as given; of a terminal event else the run's start as then known, else null"),
    _c("EndTime", _T, "as given; of a terminal event else its time, else null"),
    _c("DurationMs", _L, "milliseconds; as given; of a terminal event else EndTime - StartTime, else null"),
    _s("Url", "deep link to the run"),
    _c("Raw", _D, "the payload as received", wire=False),
    _c(
        "TimeGiven",
        KqlType.BOOL,
        "whether TimeGenerated is the producer's, false where it is only the receipt",
        wire=False,
    ),
    _c(
        "StartDerived",
        KqlType.BOOL,
        "whether StartTime comes from the run's earlier events, not from its producer",
        wire=False,
    ),
    _c(
        "GivenTime",
        _T,
        "the producer's time where it lay more than `intake.max_clock_skew` after the receipt, else null",
        wire=False,
    ),
)

HEARTBEATS: tuple[Column, ...] = (
    _s("RunId", "the run"),
    _c("ReceivedAt", _T, "when it was received"),
    _c("Progress", KqlType.REAL, "0 to 1 where given, else null"),
    _c("CommitSeq", _L, "number of the store commit that brought it"),
)

RUN_METRICS: tuple[Column, ...] = (
    _c("Time", _T, "when it was logged"),
    _s("RunId", "the run"),
    _s("ExperimentName", "its experiment, '' where the producer does not say"),
    _s("Name", "the metric's name"),
    _c("Step", _L, "the step that the run gave, else null"),
    _c("Value", KqlType.REAL, "the number, NaN and infinities too; null where it is text or a row"),
    _s("Text", "the text, '' where it is a number or a row"),
    _c("Columns", _D, "a row of a table, or a larger object, by column; {} where it is a single value"),
    _c("CommitSeq", _L, "number of the store commit that brought it"),
)

_DESCRIPTIVE = (
    "RunId", "ParentRunId", "RootRunId", "JobKey", "WillRetry", "OriginalStatus", "Reason", "Message", "ErrorCode",
    "LogTail", "ExperimentName", "WorkspaceName", "RunType", "DisplayName", "Target", "TriggeringUserName", "OwnerEmail",
    "Tags", "Properties", "Url", "Source", "Consumer",
)  # fmt: skip
_BY_NAME = {c.name: c for c in RUN_STATUS_CHANGED}

RUNS: tuple[Column, ...] = (
    *(_BY_NAME[n] for n in _DESCRIPTIVE),
    _s("Status", "its latest status in event-time order, reopening considered"),
    _c("StatusSince", _T, "since when it has that status (event time)"),
    _c("FirstSeen", _T, "IngestedAt of the first event or heartbeat"),
    _c("LastSeen", _T, "IngestedAt of the last event, or the receipt of a later heartbeat"),
    _c("StartTime", _T, "as given, else time of the first Running event, else null"),
    _c("EndTime", _T, "as given, else time of the terminal event while ended, else null"),
    _c("DurationMs", _L, "as given, else EndTime - StartTime while ended, else null"),
    _c("Attempt", KqlType.INT, "number of the latest attempt of this run"),
    _c("Attempts", KqlType.INT, "how many different attempts of this run were seen"),
    _c("Progress", KqlType.REAL, "latest known progress"),
    _c("FirstTime", _T, "smallest TimeGenerated of its events; null while only heartbeats came"),
    _c("LastTime", _T, "greatest TimeGenerated of its events"),
    _c("CommitSeq", _L, "the last commit that touched it"),
    _s("Description", "Markdown, set by its people, '' where nobody did"),
)

ALERTS: tuple[Column, ...] = (
    _c("Time", _T, "when it was written"),
    _s("Rule", "the rule"),
    _c("Instance", _D, "values of `by`"),
    _s("Occurrence", "which occurrence of an event alert; of a condition since when it fires, '' before"),
    _s("From", "state before"),
    _s("To", "state after"),
    _s("Reason", "why"),
    _s("Severity", "critical, error, warning, informational or verbose"),
    _c("Value", KqlType.REAL, "the number of the alert, null where it has none"),
    _c("Labels", _D, "labels and kept fields"),
    _s("RunId", "the run, '' where it is about none"),
    _s("AlertId", "the alert, from its firing to its end; '' before it fires"),
    _c("CommitSeq", _L, "the last commit that the evaluation saw"),
    _c("T", _T, "time of the evaluation"),
)

NOTIFICATIONS: tuple[Column, ...] = (
    _c("Time", _T, "when it was written"),
    _s("Delivery", "the delivery"),
    _s("Channel", "email, webhook, slack …"),
    _s("Address", "to whom; of channels without addresses channel:receiver"),
    _s("Receiver", "by which receiver"),
    _s("Group", "the group"),
    _c("Rules", _D, "names of its rules"),
    _s("State", "ready, sent, failed, held, dropped"),
    _c("Attempt", KqlType.INT, "number of attempts so far"),
    _s("Reply", "the server's last words"),
    _s("Subject", "subject of the message"),
    _s("MessageId", "Message-ID of the mail; names any message"),
)

ACTIONS: tuple[Column, ...] = (
    _c("Time", _T, "when it was done"),
    _s("By", "who did it, or the token's name; '' where that is not known"),
    _s("Via", "api, cli, link or page; '' where that is not known"),
    _s("Kind", "what was done, see above"),
    _s("AlertId", "the alert, '' where it is about none"),
    _s("Rule", "the alert's rule"),
    _s("RunId", "the alert's run, '' where it is about none"),
    _s("Id", "the silence, subscription or mute, '' where it is about none"),
    _s("Address", "whose subscription or mute"),
    _s("Matchers", "what a silence, subscription or mute matches, in Alertmanager's syntax"),
    _c("From", _T, "start of a silence, else null"),
    _c("Until", _T, "end of a snooze, a silence or a mute, else null"),
    _s("Text", "a comment, whom the alert is assigned to, the query, what was replayed, where a login came from"),
)

DEAD_LETTERS: tuple[Column, ...] = (
    _c("Time", _T, "when it was committed"),
    _s("Consumer", "the consumer"),
    _s("Topic", "Kafka topic, or ''"),
    _c("Partition", KqlType.INT, "Kafka partition, or null"),
    _c("Offset", _L, "Kafka offset, or null"),
    _s("Reason", "one word, see DeadReason"),
    _s("Detail", "what was wrong"),
    _s("Payload", "the payload, cut at 256 KiB, bytes beyond UTF-8 replaced"),
    _s("PayloadHash", "SHA-256 of the whole payload, hex"),
    _c("ReplayedAt", _T, "when it was sent through again, or null"),
)

AML_RUN_STATUS_CHANGED: tuple[Column, ...] = (
    _s("TenantId", "''"),
    _c("TimeGenerated", _T, "when it happened"),
    _s("OperationName", "Azure's operation, from the payload where it is Azure's"),
    _s("OperationVersion", "''"),
    _s("WorkspaceName", "the workspace"),
    _s("WorkspaceId", "from the payload where present"),
    _s("RunId", "the run"),
    _s("ParentRunId", "its parent"),
    _s("RootRunId", "its root"),
    _s("Status", "the status"),
    _s("Message", "why"),
    _s("TriggeringUserName", "who started it"),
    _s("ResultType", "''"),
    _s("ResultSignature", "''"),
    _s("ResultDescription", "''"),
    _s("DurationMs", "milliseconds, as a string"),
    _s("CallerIpAddress", "''"),
    _s("CorrelationId", "from the payload where present"),
    _s("Identity", "''"),
    _s("Level", "from the payload where present"),
    _s("Location", "from the payload where present"),
    _s("SourceSystem", "'tocsin'"),
    _s("Type", "'AmlRunStatusChangedEvent'"),
    _s("_ResourceId", "from the payload where present"),
    _s("_SubscriptionId", "from the payload where present"),
    _s("_IsBillable", "'false'"),
    _c("_BilledSize", KqlType.REAL, "0"),
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "RunStatusChanged": RUN_STATUS_CHANGED,
    "Heartbeats": HEARTBEATS,
    "RunMetrics": RUN_METRICS,
    "AmlRunStatusChangedEvent": AML_RUN_STATUS_CHANGED,
    "Runs": RUNS,
    "Alerts": ALERTS,
    "Notifications": NOTIFICATIONS,
    "Actions": ACTIONS,
    "DeadLetters": DEAD_LETTERS,
}
"""Every table that KQL may name, besides the user's reference tables."""


def as_kql(duckdb_type: str) -> str:
    """The KQL type of a DuckDB type, as users see it."""
    name = duckdb_type.upper()
    if name.endswith("]") or name.startswith(("STRUCT", "MAP", "UNION", "LIST")):
        return "dynamic"
    if name.startswith("DECIMAL"):
        return "decimal"
    return _FROM_DUCKDB.get(name, "string")


_FROM_DUCKDB: Mapping[str, str] = {
    "BOOLEAN": "bool",
    **dict.fromkeys(("TINYINT", "UTINYINT", "SMALLINT", "USMALLINT", "INTEGER"), "int"),
    **dict.fromkeys(("UINTEGER", "BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT"), "long"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "real"),
    "UUID": "guid",
    **dict.fromkeys(
        ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "datetime"
    ),
    **dict.fromkeys(("TIME", "INTERVAL"), "timespan"),
    "JSON": "dynamic",
}

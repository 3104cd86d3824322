"""The OpenAPI document, made from the same table as the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tocsin import __version__
from tocsin.kql.tokens import MAX_LENGTH
from tocsin.model.columns import ALERTS, DEAD_LETTERS, RUN_STATUS_CHANGED, RUNS, Column, KqlType
from tocsin.model.delivery import DeliveryState

Schema = dict[str, Any]
STATES = [state.value for state in DeliveryState]
"""Words for where a mail is."""
TIMESPANS = ("text", "seconds")
"""Forms of a timespan in JSON."""

_TYPES: Mapping[KqlType, Schema] = {
    KqlType.STRING: {"type": "string"},
    KqlType.DATETIME: {"type": ["string", "null"], "format": "date-time"},
    KqlType.LONG: {"type": ["integer", "null"]},
    KqlType.INT: {"type": ["integer", "null"]},
    KqlType.REAL: {"type": ["number", "null"]},
    KqlType.BOOL: {"type": ["boolean", "null"]},
    KqlType.DYNAMIC: {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter."""

    name: str
    doc: str
    schema: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a client needs to know of one method of one path."""

    method: str
    path: str
    id: str
    summary: str
    answer: str  # name of a schema below, or a media type
    parameters: Sequence[Parameter] = ()
    body: str = ""  # name of a schema below
    body_as_text: str = ""  # what a text/plain body holds instead
    problems: Mapping[int, str] = field(default_factory=dict)


def _text(what: str) -> Schema:
    return {"text/plain": {"schema": {"type": "string", "description": what}}} if what else {}


def table(columns: Sequence[Column], **more: Schema) -> Schema:
    """A row of a table."""
    properties = {c.name: {**_TYPES[c.type], "description": c.doc} for c in columns}
    return {"type": "object", "properties": {**properties, **more}, "required": sorted(properties)}


def _list(name: str, of: str) -> Schema:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}
    return {"type": "object", "properties": {name: items}, "required": [name], "additionalProperties": False}


def _object(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, *, more: bool = False
) -> Schema:
    out: Schema = {"type": "object", "properties": {**required, **(optional or {})}, "required": sorted(required)}
    if not more:
        out["additionalProperties"] = False
    return out


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_ACTIVE: Mapping[str, Schema] = {
    "AlertId": _TEXT,
    "Rule": _TEXT,
    "Severity": _TEXT,
    "Title": _TEXT,
    "RunId": {**_TEXT, "description": "'' where it is about no run"},
    "Kind": {"type": "string", "enum": ["event", "condition"]},
    "Since": {**_TIME, "description": "when it fired"},
    "AcknowledgedBy": _MAYBE_TEXT,
    "AcknowledgedAt": _MAYBE_TIME,
    "Until": {**_MAYBE_TIME, "description": "when the acknowledgement ends"},
    "AssignedTo": _MAYBE_TEXT,
    "Suppressed": {**_MAYBE_TEXT, "description": "why nobody is notified of it now"},
    "Exhausted": {**_MAYBE_TEXT, "description": "the escalation of which all steps are done, and nobody has taken it"},
    "EndedAt": _MAYBE_TIME,
    "EndedWhy": _MAYBE_TEXT,
    "Fields": {"type": "object", "description": "what routes and silences match"},
}

_RULE: Mapping[str, Any] = {
    "Rule": _TEXT,
    "Kind": {"type": "string", "enum": ["event", "window", "absence", ""]},
    "Severity": _TEXT,
    "Enabled": {"type": "boolean"},
    "Fault": {
        **_TEXT,
        "description": "why it cannot be switched on; it is off, and has neither kind nor severity",
    },
}
_MAIL: Mapping[str, Schema] = {
    "Delivery": {**_TEXT, "description": "names it"},
    "Time": {**_TIME, "description": "when it was written"},
    "Channel": {**_TEXT, "description": "email, webhook, slack …"},
    "Address": {**_TEXT, "description": "to whom; of channels without addresses channel:receiver"},
    "Receiver": {**_TEXT, "description": "by which receiver"},
    "Group": {**_TEXT, "description": "what threads it"},
    "Rules": {"type": "array", "items": _TEXT, "description": "rules that it notifies of"},
    "Severity": {**_TEXT, "description": "the severest of them"},
    "Subject": _TEXT,
    "State": {"type": "string", "enum": STATES},
    "Attempt": {**_COUNT, "description": "attempts so far"},
    "NextAt": {**_MAYBE_TIME, "description": "when the next try is due, while it is ready"},
    "Reply": {**_TEXT, "description": "the server's last words"},
    "MessageId": _TEXT,
    "RunId": _TEXT,
    "Covers": {**_COUNT, "description": "how many alerts it notifies of"},
}

SCHEMAS: Mapping[str, Schema] = {
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}},
        {"detail": _TEXT, "line": _COUNT, "column": _COUNT, "hint": _TEXT},
    ),
    "Query": _object({"query": {**_TEXT, "description": "KQL", "maxLength": MAX_LENGTH}}),
    "Column": _object({"name": _TEXT, "type": {**_TEXT, "description": "KQL's type"}}),
    "QueryAnswer": _object(
        {
            "columns": {"type": "array", "items": {"$ref": "#/components/schemas/Column"}},
            "rows": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "Alert": table(ALERTS),
    "Alerts": _list("alerts", "Alert"),
    "Notification": _object(_MAIL),
    "Notifications": _list("notifications", "Notification"),
    "NotificationWhole": _object(
        {
            **_MAIL,
            "Headers": {"type": "object", "additionalProperties": _TEXT},
            "Text": _TEXT,
            "Html": _TEXT,
        }
    ),
    "Rule": _object(_RULE, more=True),
    "Rules": _list("rules", "Rule"),
    "RuleWhole": _object(
        {
            **_RULE,
            "Faults": {"type": "array", "items": _TEXT, "description": "all that is wrong with it, with places"},
            "NextEvaluation": {**_MAYBE_TIME, "description": "when it is evaluated next, where a clock decides"},
            "Explanation": {"type": "object", "description": "what it compiles to, as `tocsin rules explain`"},
            "Tests": {"type": "array", "items": _TEXT, "description": "names of its inline tests"},
            "Instances": {
                "type": "array",
                "items": _object(
                    {
                        "Instance": {"type": "object"},
                        "Phase": _TEXT,
                        "Since": _TIME,
                        "Value": {"type": ["number", "null"]},
                    }
                ),
                "description": "what fires or is pending; the first hundred",
            },
            "LastRows": {"type": "array", "items": {"type": "object"}, "description": "what it matched last"},
            "LastRowsOf": {**_TEXT, "description": "what was looked at for them"},
            "LastRowsError": {**_TEXT, "description": "why there are none"},
        },
        more=True,
    ),
    "Run": table(RUNS),
    "Runs": _list("runs", "Run"),
    "Event": table([c for c in RUN_STATUS_CHANGED if c.name != "Raw"]),
    "RunWhole": _object(
        {
            "run": {"$ref": "#/components/schemas/Run"},
            "events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
            "alerts": {"type": "array", "items": {"$ref": "#/components/schemas/Alert"}},
        }
    ),
    "RunCanceled": _object(
        {"RunId": _TEXT, "Done": {"type": "string", "enum": ["canceled", "cancel requested"]}},
    ),
    "DeadLetter": table(
        [c for c in DEAD_LETTERS if c.name not in ("PayloadHash", "ReplayedAt")],
        Id={"type": "integer", "description": "names it for replay"},
        Whole={"type": "boolean", "description": "false where the payload was cut: it cannot be replayed"},
    ),
    "DeadLetters": _list("dead_letters", "DeadLetter"),
    "ActiveAlerts": _list("alerts", "ActiveAlert"),
    "ActiveAlert": _object(_ACTIVE),
    "AlertWhole": _object(
        {
            **_ACTIVE,
            "Actions": {"type": "array", "items": {"type": "object"}, "description": "what people did, oldest first"},
            "Routes": {"type": "array", "items": {"type": "object"}, "description": "who is notified, and why"},
            "Notifications": {"type": "array", "items": {"type": "object"}, "description": "messages about it"},
            "Rows": {"type": "array", "items": {"type": "object"}, "description": "rows for which it fired, the first"},
            "Timeline": {"type": "array", "items": {"type": "object"}, "description": "all of it, oldest first"},
            "Others": {"type": "array", "items": {"type": "object"}, "description": "active alerts of its groups"},
        }
    ),
    "ActAll": _object(
        {
            "by": {**_TEXT, "description": "who does it: a name or an address"},
            "ids": {"type": "array", "items": _TEXT, "maxItems": 1000, "description": "alerts"},
        },
        {
            "comment": {**_TEXT, "description": "why"},
            "groups": {"type": "boolean", "description": "also what is active of the same groups"},
        },
    ),
    "PagerDutyEvent": _object({"event": {"type": "object", "description": "as PagerDuty's webhooks v3 send it"}}),
    "ActedAll": _object(
        {
            "Done": {"type": "integer", "description": "how many were changed"},
            "NotDone": {"type": "integer", "description": "how many somebody had already, have ended or are unknown"},
            "Changed": {"type": "array", "items": _TEXT, "description": "their ids"},
            "Unchanged": {"type": "array", "items": _TEXT, "description": "the ids of the others"},
        }
    ),
    "Act": _object(
        {"by": {**_TEXT, "description": "who does it: a name or an address"}},
        {
            "until": {**_TIME, "description": "of a snooze: its end"},
            "to": {**_TEXT, "description": "of an assignment: whose it is"},
            "comment": {**_TEXT, "description": "why; of a comment: itself"},
        },
    ),
    "Acted": _object(
        {**_ACTIVE, "Done": {"type": "boolean", "description": "false: somebody was first, or it has ended"}}
    ),
    "Silence": _object(
        {
            "SilenceId": _TEXT,
            "Matchers": {**_TEXT, "description": "in Alertmanager's syntax"},
            "From": _TIME,
            "To": _TIME,
            "By": _TEXT,
            "Comment": _TEXT,
            "State": {"type": "string", "enum": ["pending", "active", "expired"]},
        }
    ),
    "Preferences": _list("subscriptions", "Preference"),
    "Preference": _object(
        {
            "Id": _TEXT,
            "Kind": {"type": "string", "enum": ["subscribe", "mute"]},
            "Address": _TEXT,
            "Matchers": {**_TEXT, "description": "over fields of alerts and columns of their runs"},
            "From": _TIME,
            "To": {**_MAYBE_TIME, "description": "null: for good"},
            "By": _TEXT,
            "Via": {**_TEXT, "description": "api, cli, link, page"},
            "EndedAt": {**_MAYBE_TIME, "description": "when it was taken back"},
            "State": {"type": "string", "enum": ["active", "ended"]},
        }
    ),
    "NewPreference": _object(
        {"address": _TEXT, "matchers": {**_TEXT, "description": 'ExperimentName="churn"'}, "by": _TEXT},
        {
            "kind": {"type": "string", "enum": ["subscribe", "mute"], "default": "subscribe"},
            "to": {**_TIME, "description": "for good where absent"},
        },
    ),
    "Silences": _list("silences", "Silence"),
    "NewSilence": _object(
        {
            "matchers": {**_TEXT, "description": 'rule="run-failed", ExperimentName=~"churn.*"'},
            "to": _TIME,
            "by": _TEXT,
            "comment": _TEXT,
        },
        {"from": {**_TIME, "description": "now where absent"}},
    ),
    "Matchers": _object({"matchers": _TEXT}),
    "SilencePreview": _object(
        {
            "Matchers": _TEXT,
            "Now": {"type": "array", "items": {"$ref": "#/components/schemas/ActiveAlert"}},
            "Last7Days": {**_COUNT, "description": "alerts that fired"},
        }
    ),
    "Calendars": _list("schedules", "Calendar"),
    "Calendar": _object(
        {
            "Schedule": _TEXT,
            "Timezone": _TEXT,
            "OnCall": {"type": "array", "items": _TEXT, "description": "now"},
            "Since": _TIME,
            "Until": _TIME,
            "Next": {"type": "array", "items": _TEXT},
            "Days": {
                "type": "array",
                "items": _object(
                    {
                        "Date": {**_TEXT, "description": "by the clock of `timezone`"},
                        "Parts": {
                            "type": "array",
                            "items": _object(
                                {
                                    "Who": {"type": "array", "items": _TEXT, "description": "empty: nobody"},
                                    "Gap": {"type": "boolean", "description": "no layer, feed or override covers it"},
                                    "From": {**_TEXT, "description": "HH:MM; '' at the day's begin"},
                                    "To": {**_TEXT, "description": "HH:MM; '' at the day's end"},
                                    "Why": _TEXT,
                                }
                            ),
                        },
                    }
                ),
            },
        },
        more=True,
    ),
    "Spread": _object(
        {
            name: {"type": ["number", "null"], "description": "seconds; null: none was measured"}
            for name in ("Median", "P90")
        }
    ),
    "OnCallReport": _object(
        {
            "From": _TIME,
            "To": _TIME,
            "Alerts": {**_COUNT, "description": "that fired"},
            "Pages": {**_COUNT, "description": "messages of escalations and schedules to people"},
            "NightPages": {**_COUNT, "description": "between 22:00 and 07:00 by the person's clock"},
            "Acknowledged": {**_COUNT, "description": "alerts that somebody has taken"},
            "TimeToAcknowledge": {"$ref": "#/components/schemas/Spread"},
            "TimeToResolve": {"$ref": "#/components/schemas/Spread"},
            "People": {
                "type": "array",
                "items": _object(
                    {
                        "Person": _TEXT,
                        "Pages": _COUNT,
                        "NightPages": _COUNT,
                        "Timezone": _TEXT,
                        "Acknowledged": _COUNT,
                        "TimeToAcknowledge": {"$ref": "#/components/schemas/Spread"},
                    }
                ),
            },
            "Rules": {
                "type": "array",
                "items": _object(
                    {
                        "Rule": _TEXT,
                        "Alerts": _COUNT,
                        "Messages": _COUNT,
                        "Pages": _COUNT,
                        "Acknowledged": _COUNT,
                        "Ended": _COUNT,
                        "NobodyActed": {**_COUNT, "description": "ended ones for which nobody did anything"},
                        "Noise": {"type": ["number", "null"], "description": "their share"},
                    }
                ),
            },
        }
    ),
    "Replay": _object(
        {},
        {
            "ids": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "which ones; absent: all of `consumer`",
            },
            "consumer": {**_TEXT, "description": "of which consumer; absent: of all"},
        },
    ),
    "Replayed": _object(
        {
            "replayed": {**_COUNT, "description": "letters that were sent through, dead again or not"},
            "accepted": _COUNT,
            "duplicate": _COUNT,
            "heartbeats": _COUNT,
            "dead": _COUNT,
            "filtered": _COUNT,
            "cut": {**_COUNT, "description": "kept only in part: cannot be sent through"},
            "orphaned": {**_COUNT, "description": "of a consumer that is no more"},
        }
    ),
    "Backup": _object({"directory": {**_TEXT, "description": "absolute path, absent or empty"}}),
    "BackedUp": _object({"tocsin": _TEXT, "made_at": _TIME, "commit_seq": _COUNT, "bytes": _COUNT}),
    "Export": _object(
        {"directory": {**_TEXT, "description": "absolute path"}},
        {"tables": {"type": "array", "items": _TEXT, "description": "all where none is named"}},
    ),
    "Exported": {"type": "object", "additionalProperties": {**_COUNT, "description": "rows of a table"}},
    "Backtest": _object(
        {"rule": {**_TEXT, "description": "its name"}},
        {
            "from": {**_TEXT, "description": "a time, or how long ago (30d); absent: where history begins"},
            "to": {**_TEXT, "description": "the same; absent: now"},
            "as_if_live": {"type": "boolean", "description": "event times stand for arrival times", "default": False},
        },
    ),
    "Backtested": _object(
        {
            "Rule": _TEXT,
            "Severity": _TEXT,
            "From": _TIME,
            "To": _TIME,
            "AsIfLive": {"type": "boolean"},
            "Events": {**_COUNT, "description": "events in this range"},
            "Fired": {
                **_COUNT,
                "description": "alerts that would have fired, those beyond a limit too; as in the status of rules",
            },
            "Resolved": {**_COUNT, "description": "of these, how many would have resolved"},
            "Notified": {
                **_COUNT,
                "description": "of those that fired, how many would have been notified one by one, before grouping",
            },
            "Headline": {**_TEXT, "description": "it all in a sentence"},
            "Notes": {"type": "array", "items": _TEXT},
            "ByKind": {
                "type": "object",
                "additionalProperties": _COUNT,
                "description": "messages by kind, repeats and ends too",
            },
            "Most": {"type": ["object", "null"], "description": "the most frequent value: Field, Value, Count"},
            "Expired": {**_COUNT, "description": "expired when they arrived"},
            "Errors": {"type": "array", "items": _TEXT},
            "Seconds": {"type": "number", "description": "what it took"},
            "Unit": {"type": "string", "enum": ["hour", "day", "week"], "description": "of the timeline"},
            "Timeline": {
                "type": "array",
                "items": _object({"From": _TIME, "Notified": _COUNT}),
            },
            "Alerts": {"type": "array", "items": {"type": "object"}, "description": "the first 10,000"},
        }
    ),
    "Health": _object({"status": {"type": "string", "enum": ["ok"]}}, more=True),
    "Ready": _object({"ready": {"type": "boolean"}}, more=True),
}


def document(operations: Sequence[Operation], url: str) -> Schema:
    """The whole document (OpenAPI 3.1)."""
    paths: dict[str, Schema] = {}
    for op in operations:
        paths.setdefault(op.path.replace(":path", ""), {})[op.method.lower()] = _operation(op)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tocsin",
            "version": __version__,
            "description": "Rings when a run goes wrong. Times are UTC; names of columns are KQL's.",
        },
        "servers": [{"url": url}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(op: Operation) -> Schema:
    names = [part.strip("{}").removesuffix(":path") for part in op.path.split("/") if part.startswith("{")]
    out: Schema = {
        "operationId": op.id,
        "summary": op.summary,
        "parameters": [
            *({"name": n, "in": "path", "required": True, "schema": _TEXT} for n in names),
            *({"name": p.name, "in": "query", "description": p.doc, "schema": p.schema} for p in op.parameters),
        ],
        "responses": {"200": {"description": "as asked", "content": _content(op.answer)}},
    }
    if op.body:
        out["requestBody"] = {"required": True, "content": {**_content(op.body), **_text(op.body_as_text)}}
    for status, what in sorted({**op.problems, 401: "a token is needed"}.items()):
        out["responses"][str(status)] = {
            "description": what,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return out


def _content(name: str) -> Schema:
    if "/" in name:
        return {name: {"schema": _TEXT}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"} if name != "object" else {}}}

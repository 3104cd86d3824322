"""Tables of the state store. Migrations make exactly these; a test holds the two together.

Times are integers: microseconds since the epoch, so that nothing is rounded and both databases sort them alike.
JSON is text with sorted keys, so that the same value is the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    and_,
)

from tocsin.clock import from_micros, micros


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def clean(value: Any) -> Any:
    """``value`` with lone surrogates and NULs replaced in every string: no database keeps these."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {clean(str(k)): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(v) for v in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


_ENCODER = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)


def dumps(value: object) -> str:
    """JSON with sorted keys; what JSON does not know becomes its ``str``, NaN and infinities null."""
    try:
        return _ENCODER.encode(value).decode("utf-8")
    except (UnicodeEncodeError, OverflowError):
        return _ENCODER.encode(clean(value)).decode("utf-8")


def _micros(t: datetime | None) -> int | None:
    return None if t is None else micros(t)


class Micros(TypeDecorator[datetime]):
    """A UTC time as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        return _micros

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


class Json(TypeDecorator[Any]):
    """A JSON value as text with sorted keys."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[object], str]:
        return dumps

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


# SQLite counts a key up by itself only where the column's type is INTEGER.
_SEQ = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _time(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Micros, nullable=nullable)


def _json(name: str) -> Column[Any]:
    return Column(name, Json, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


marks = Table(
    "marks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _text("pair_id"),
    _number("row_cursor"),
    _time("timer_t", nullable=True),
    _number("mirror_seq"),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row: what the store as a whole remembers."""

small_values = Table("small_values", metadata, Column("key", Text, primary_key=True), _text("value"))

rules = Table(
    "rules",
    metadata,
    Column("name", Text, primary_key=True),
    _text("meaning"),
    _number("start_seq"),
    _time("cursor_at", nullable=True),
    Column("cursor_timer", Boolean),
    Column("cursor_seq", BigInteger),
)

occurrences = Table(
    "occurrences",
    metadata,
    _text("run_id"),
    _text("rule"),
    _text("source"),
    _text("event_id"),
    _number("time_us"),
    _text("phase"),
    _time("at"),
    _number("commit_seq"),
    PrimaryKeyConstraint("run_id", "rule", "source", "event_id", "time_us"),
    sqlite_with_rowid=False,
)
"""What event rules notified. The key begins with the run: both questions about it are asked by run."""

conditions = Table(
    "conditions",
    metadata,
    _text("rule"),
    _text("instance"),  # model.alert.instance_key, which is JSON
    _text("phase"),
    _time("since"),
    Column("severity", SmallInteger, nullable=False),
    Column("value", Float),
    _json("data"),
    PrimaryKeyConstraint("rule", "instance"),
    sqlite_with_rowid=False,
)

timers = Table(
    "timers",
    metadata,
    _text("rule"),
    _text("kind"),
    _text("key"),
    _time("due"),
    _json("consumers"),
    _json("data"),
    PrimaryKeyConstraint("rule", "kind", "key"),
    sqlite_with_rowid=False,
)

backfills = Table(
    "backfills",
    metadata,
    _text("rule"),
    _text("consumer"),
    _number("count"),
    _time("oldest"),
    _time("newest"),
    _time("began"),
    PrimaryKeyConstraint("rule", "consumer"),
    sqlite_with_rowid=False,
)

rule_infos = Table("rule_infos", metadata, Column("version", Text, primary_key=True), _json("body"))

intents = Table(
    "intents",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _text("rule"),
    _text("rule_version"),
    _text("instance"),  # model.alert.instance_key, which is JSON
    _text("occurrence"),
    _text("kind"),
    Column("ordinal", Integer, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    _text("why"),
    Column("value", Float),
    _text("run_id"),
    _text("root_run_id"),
    _number("commit_seq"),
    _time("at"),
    _time("event_time", nullable=True),
    _time("consumed_at", nullable=True),
    _json("labels"),
    _json("fields"),
    _json("event"),
    _json("rows"),
    _json("data"),
    sqlite_autoincrement=True,
)
_OPEN = intents.c.consumed_at.is_(None)
Index("intents_open", intents.c.seq, sqlite_where=_OPEN)
Index("intents_open_of_run", intents.c.run_id, sqlite_where=_OPEN)
_URGENT = and_(_OPEN, intents.c.severity == 0, intents.c.kind == "fired")
Index("intents_urgent", intents.c.severity, intents.c.seq, sqlite_where=_URGENT)  # severity, or SQLite takes the other
Index("intents_of_alert", intents.c.rule, intents.c.occurrence)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _text("channel"),
    _text("address"),
    _text("receiver"),
    _text("group_key"),
    _json("rules"),
    _text("severity"),
    _text("subject"),
    _text("message_id"),
    _text("state"),
    Column("attempt", Integer, nullable=False),
    _time("created_at"),
    _time("next_at"),
    _time("deadline"),
    _time("changed_at"),
    _text("reply"),
    _text("handle"),
    _text("run_id"),
    _time("event_time", nullable=True),
    _time("ingested_at", nullable=True),
    Column("covers", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("deliveries_due", deliveries.c.state, deliveries.c.channel, deliveries.c.next_at)
Index("deliveries_newest", deliveries.c.created_at)
Index("deliveries_by_state", deliveries.c.state, deliveries.c.created_at)
Index("deliveries_by_address", deliveries.c.address, deliveries.c.created_at)
Index("deliveries_by_group", deliveries.c.group_key, deliveries.c.address)

messages = Table(
    "messages",
    metadata,
    Column("delivery", Text, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("message", LargeBinary, nullable=False),
)
"""What a delivery sends, apart from it: SQLite writes a whole row again for every change in it."""

delivery_intents = Table(
    "delivery_intents",
    metadata,
    _text("intent"),
    Column("delivery", Text, ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("intent", "delivery"),
    Index("delivery_intents_by_delivery", "delivery"),
    sqlite_with_rowid=False,
)
"""Which delivery notifies of which intent: a resolved mail goes to those who got the firing one."""

alerts = Table(
    "alerts",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _text("rule"),
    _text("instance"),  # model.alert.instance_key, which is JSON
    _text("occurrence"),
    _text("run_id"),
    Column("severity", Integer, nullable=False),
    _time("fired_at"),
    _time("ended_at", nullable=True),
    _text("ended_why"),
    Column("settled", Boolean, nullable=False),
    _json("body"),
    sqlite_autoincrement=True,
)
"""Alerts from firing to end. Evaluations write rows and ends; notify writes ``body``, and ``settled`` once nothing is
left to do about an end.
"""
Index("alerts_open", alerts.c.seq, sqlite_where=alerts.c.settled.is_(False))
Index("alerts_by_instance", alerts.c.rule, alerts.c.instance, sqlite_where=alerts.c.ended_at.is_(None))
Index("alerts_worst", alerts.c.severity, alerts.c.fired_at, sqlite_where=alerts.c.ended_at.is_(None))

alert_actions = Table(
    "alert_actions",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    _text("alert"),
    _text("kind"),
    _text("by"),
    _time("at"),
    _time("until", nullable=True),
    _text("text"),
    _text("via"),
    Column("applied", Boolean, nullable=False),
    sqlite_autoincrement=True,
)
"""What people did, for ever; ``applied`` once notify has taken it up."""
Index("alert_actions_new", alert_actions.c.seq, sqlite_where=alert_actions.c.applied.is_(False))
Index("alert_actions_of_alert", alert_actions.c.alert)

silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    _text("matchers"),
    _time("start"),
    _time("end"),
    _text("by"),
    _text("comment"),
    _time("created_at"),
)

preferences = Table(
    "preferences",
    metadata,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("address"),
    _text("matchers"),
    _time("at"),
    _time("until", nullable=True),
    _text("by"),
    _text("via"),
    _time("ended_at", nullable=True),
)
"""What people want for themselves: subscriptions, and mutes."""

notify_states = Table(
    "notify_states",
    metadata,
    _text("kind"),  # group, escalation, critical
    _text("key"),
    _json("body"),
    PrimaryKeyConstraint("kind", "key"),
    sqlite_with_rowid=False,
)
"""What groups, escalations and caps remember, one value each."""

mirror = Table(
    "mirror",
    metadata,
    Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    _text("table_name"),
    _json("row"),
)
"""Rows for the log store's Alerts and Notifications, until they are copied."""

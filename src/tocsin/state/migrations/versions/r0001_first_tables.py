"""The first tables.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def upgrade() -> None:
    """Make all tables, and the one row of ``marks``."""
    marks = op.create_table(
        "marks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _text("pair_id"),
        _number("row_cursor"),
        _number("timer_t", nullable=True),
        _number("mirror_seq"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.bulk_insert(marks, [{"id": 1, "pair_id": "", "row_cursor": 0, "timer_t": None, "mirror_seq": 0}])
    op.create_table("small_values", sa.Column("key", sa.Text, primary_key=True), _text("value"))
    _evaluation_tables()
    _intent_tables()
    _delivery_tables()
    _oncall_tables()
    op.create_table(
        "mirror",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=False),
        _text("table_name"),
        _text("row"),
    )


def _evaluation_tables() -> None:
    op.create_table(
        "rules",
        sa.Column("name", sa.Text, primary_key=True),
        _text("meaning"),
        _number("start_seq"),
        _number("cursor_at", nullable=True),
        sa.Column("cursor_timer", sa.Boolean),
        _number("cursor_seq", nullable=True),
    )
    op.create_table(
        "occurrences",
        _text("run_id"),
        _text("rule"),
        _text("source"),
        _text("event_id"),
        _number("time_us"),
        _text("phase"),
        _number("at"),
        _number("commit_seq"),
        sa.PrimaryKeyConstraint("run_id", "rule", "source", "event_id", "time_us"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "conditions",
        _text("rule"),
        _text("instance"),
        _text("phase"),
        _number("since"),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.Float),
        _text("data"),
        sa.PrimaryKeyConstraint("rule", "instance"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "timers",
        _text("rule"),
        _text("kind"),
        _text("key"),
        _number("due"),
        _text("consumers"),
        _text("data"),
        sa.PrimaryKeyConstraint("rule", "kind", "key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "backfills",
        _text("rule"),
        _text("consumer"),
        _number("count"),
        _number("oldest"),
        _number("newest"),
        _number("began"),
        sa.PrimaryKeyConstraint("rule", "consumer"),
        sqlite_with_rowid=False,
    )


def _intent_tables() -> None:
    op.create_table("rule_infos", sa.Column("version", sa.Text, primary_key=True), _text("body"))
    op.create_table(
        "intents",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        _text("rule"),
        _text("rule_version"),
        _text("instance"),
        _text("occurrence"),
        _text("kind"),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        _text("why"),
        sa.Column("value", sa.Float),
        _text("run_id"),
        _text("root_run_id"),
        _number("commit_seq"),
        _number("at"),
        _number("event_time", nullable=True),
        _number("consumed_at", nullable=True),
        _text("labels"),
        _text("fields"),
        _text("event"),
        _text("rows"),
        _text("data"),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("consumed_at IS NULL")
    op.create_index("intents_open", "intents", ["seq"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_index("intents_open_of_run", "intents", ["run_id"], sqlite_where=is_open, postgresql_where=is_open)
    urgent = sa.text("consumed_at IS NULL AND severity = 0 AND kind = 'fired'")
    op.create_index("intents_urgent", "intents", ["severity", "seq"], sqlite_where=urgent, postgresql_where=urgent)
    op.create_index("intents_of_alert", "intents", ["rule", "occurrence"])


def _delivery_tables() -> None:
    op.create_table(
        "deliveries",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        _text("channel"),
        _text("address"),
        _text("receiver"),
        _text("group_key"),
        _text("rules"),
        _text("severity"),
        _text("subject"),
        _text("message_id"),
        _text("state"),
        sa.Column("attempt", sa.Integer, nullable=False),
        _number("created_at"),
        _number("next_at"),
        _number("deadline"),
        _number("changed_at"),
        _text("reply"),
        _text("handle"),
        _text("run_id"),
        _number("event_time", nullable=True),
        _number("ingested_at", nullable=True),
        sa.Column("covers", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_due", "deliveries", ["state", "channel", "next_at"])
    op.create_index("deliveries_newest", "deliveries", ["created_at"])
    op.create_index("deliveries_by_state", "deliveries", ["state", "created_at"])
    op.create_index("deliveries_by_address", "deliveries", ["address", "created_at"])
    op.create_index("deliveries_by_group", "deliveries", ["group_key", "address"])
    op.create_table(
        "messages",
        sa.Column("delivery", sa.Text, sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("message", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "delivery_intents",
        _text("intent"),
        sa.Column("delivery", sa.Text, sa.ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
        sa.PrimaryKeyConstraint("intent", "delivery"),
        sqlite_with_rowid=False,
    )
    op.create_index("delivery_intents_by_delivery", "delivery_intents", ["delivery"])


def _oncall_tables() -> None:
    op.create_table(
        "alerts",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        _text("rule"),
        _text("instance"),
        _text("occurrence"),
        _text("run_id"),
        sa.Column("severity", sa.Integer, nullable=False),
        _number("fired_at"),
        _number("ended_at", nullable=True),
        _text("ended_why"),
        sa.Column("settled", sa.Boolean, nullable=False),
        _text("body"),
        sqlite_autoincrement=True,
    )
    unsettled, active = sa.text("settled IS 0"), sa.text("ended_at IS NULL")
    op.create_index("alerts_open", "alerts", ["seq"], sqlite_where=unsettled)
    op.create_index("alerts_by_instance", "alerts", ["rule", "instance"], sqlite_where=active)
    op.create_index("alerts_worst", "alerts", ["severity", "fired_at"], sqlite_where=active)
    op.create_table(
        "alert_actions",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        _text("alert"),
        _text("kind"),
        _text("by"),
        _number("at"),
        _number("until", nullable=True),
        _text("text"),
        _text("via"),
        sa.Column("applied", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("alert_actions_new", "alert_actions", ["seq"], sqlite_where=sa.text("applied IS 0"))
    op.create_index("alert_actions_of_alert", "alert_actions", ["alert"])
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        _text("matchers"),
        _number("start"),
        _number("end"),
        _text("by"),
        _text("comment"),
        _number("created_at"),
    )
    op.create_table(
        "preferences",
        sa.Column("id", sa.Text(), primary_key=True),
        _text("kind"),
        _text("address"),
        _text("matchers"),
        _number("at"),
        sa.Column("until", sa.BigInteger()),
        _text("by"),
        _text("via"),
        sa.Column("ended_at", sa.BigInteger()),
    )
    op.create_table(
        "notify_states",
        _text("kind"),
        _text("key"),
        _text("body"),
        sa.PrimaryKeyConstraint("kind", "key"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """There is nothing before the first tables."""
    raise NotImplementedError("the first revision cannot be undone: delete the file instead")

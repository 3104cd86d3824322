"""The log of rows for Alerts, Notifications and Actions, numbered without a gap in the order of their transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from tocsin.state.codecs import mirror_of
from tocsin.state.dialects import SqlDialect
from tocsin.state.interface import MirrorRow
from tocsin.state.tables import marks, mirror

ALERTS, NOTIFICATIONS, ACTIONS = "Alerts", "Notifications", "Actions"

_COUNT_UP = update(marks).values(mirror_seq=marks.c.mirror_seq + bindparam("n")).returning(marks.c.mirror_seq)
_AFTER = select(mirror).where(mirror.c.seq > bindparam("after")).order_by(mirror.c.seq).limit(bindparam("most"))
_SEQ = select(marks.c.mirror_seq)
_FORGET = delete(mirror).where(mirror.c.seq <= bindparam("upto"))


class MirrorLog:
    """Statements of the mirror log, each on the caller's transaction."""

    def __init__(self, dialect: SqlDialect) -> None:
        self._put = dialect.bulk(insert(mirror), ["seq", "table_name", "row"])

    def log(self, tx: Connection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows for ``table``."""
        if rows:
            last: int = tx.execute(_COUNT_UP, {"n": len(rows)}).scalar_one()
            first = last - len(rows) + 1
            self._put.run(tx, [{"seq": first + i, "table_name": table, "row": row} for i, row in enumerate(rows)])

    def seq(self, tx: Connection) -> int:
        """The greatest sequence ever given."""
        return int(tx.execute(_SEQ).scalar_one())

    def after(self, tx: Connection, seq: int, limit: int) -> list[MirrorRow]:
        """Rows beyond ``seq``, in order."""
        return [mirror_of(row) for row in tx.execute(_AFTER, {"after": seq, "most": limit})]

    def forget(self, tx: Connection, upto: int) -> None:
        """Delete rows up to ``upto``."""
        tx.execute(_FORGET, {"upto": upto})

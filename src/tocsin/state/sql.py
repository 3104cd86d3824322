"""The state on any database that SQLAlchemy Core reaches; what differs is in ``dialects``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from tocsin.errors import StoreError
from tocsin.model.active import Acted, Action, ActiveAlert, Audited, Deed, OnCallHistory, Preference, StoredSilence
from tocsin.model.alert import Occurrence, Phase
from tocsin.model.delivery import Delivery, DeliveryState, Endpoint, Notified
from tocsin.model.instants import Timer
from tocsin.model.intent import Intent, IntentHead, RuleInfo
from tocsin.model.remembered import ConditionState
from tocsin.state import codecs, schema
from tocsin.state.active import ActiveAlerts
from tocsin.state.dialects import SqlDialect, explain
from tocsin.state.evaluation import Evaluation
from tocsin.state.interface import (
    MAILS,
    NO_CHANGE,
    Attempted,
    Backfill,
    Kept,
    MirrorRow,
    NotifyChange,
    Outcome,
    RuleRecord,
    State,
)
from tocsin.state.mirrorlog import ACTIONS, MirrorLog
from tocsin.state.outbox import Outbox
from tocsin.state.tables import marks, small_values

WRITES = "tocsin_writes"
"""Execution option of connections that are about to write: SQLite takes its write lock at BEGIN for them."""

_MARKS = select(marks)
_SET_PAIR = update(marks).values(pair_id=bindparam("pair"))
_SET_MIRROR = update(marks).where(marks.c.mirror_seq < bindparam("least")).values(mirror_seq=bindparam("least"))
_GET = select(small_values.c.value).where(small_values.c.key == bindparam("k"))
_KNOWN_INFOS = 4096


class SqlState(State):
    """Each method is one transaction on a connection of the engine's pool; writers queue in this process first."""

    def __init__(self, engine: Engine, dialect: SqlDialect, where: str, *, one_connection: bool = False) -> None:
        """Migrate and take over ``engine``. ``where`` names the store in errors. ``one_connection``: readers queue too.

        Raises StoreError; then the engine is disposed of.
        """
        self._engine = engine
        self._where = where
        self._mirror = MirrorLog(dialect)
        self._alerts = ActiveAlerts(dialect, self._mirror)
        self._evaluation = Evaluation(dialect, self._alerts)
        self._outbox = Outbox(dialect, self._mirror)
        self._put_value = dialect.upsert(small_values, ["key"])
        self._writing = Lock()
        self._reading: AbstractContextManager[object] = self._writing if one_connection else nullcontext()
        self._infos: dict[str, RuleInfo] = {}
        self._closed = False
        try:
            with self._write() as tx:
                schema.upgrade(tx)
        except BaseException:
            engine.dispose()
            raise

    def _gone(self) -> bool:
        """Whether the file that is open is not where it was: what is written to it now ends with the process."""
        return False

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing, self._transaction(self._engine.execution_options(**{WRITES: True})) as tx:
            yield tx

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._reading, self._transaction(self._engine) as tx:
            yield tx

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        if self._closed:
            raise StoreError(f"state store {self._where} is closed")
        if self._gone():
            raise StoreError(f"state store {self._where} was deleted or replaced; stop tocsin and bring it back")
        try:
            with engine.begin() as tx:
                yield tx
        except SQLAlchemyError as error:
            raise explain(error, self._where) from error

    # -- pairing -------------------------------------------------------------------------------------------------------

    @property
    def pair_id(self) -> str:
        with self._read() as tx:
            return str(tx.execute(_MARKS).one().pair_id)

    def set_pair_id(self, pair_id: str) -> None:
        with self._write() as tx:
            tx.execute(_SET_PAIR, {"pair": pair_id})

    def adopt(self, head_seq: int, mirror_seq: int, pair_id: str | None = None) -> None:
        with self._write() as tx:
            self._evaluation.adopt(tx, head_seq)
            tx.execute(_SET_MIRROR, {"least": mirror_seq})
            if pair_id is not None:
                tx.execute(_SET_PAIR, {"pair": pair_id})

    def max_cursor(self) -> int:
        with self._read() as tx:
            return self._evaluation.max_cursor(tx)

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def row_cursor(self) -> int:
        with self._read() as tx:
            return int(tx.execute(_MARKS).one().row_cursor)

    def timer_t(self) -> datetime | None:
        with self._read() as tx:
            t: datetime | None = tx.execute(_MARKS).one().timer_t
            return t

    def rules(self) -> Mapping[str, RuleRecord]:
        with self._read() as tx:
            return self._evaluation.rules(tx)

    def notified(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[Occurrence]]:
        with self._read() as tx:
            return self._evaluation.notified(tx, pairs)

    def rules_notified_of(self, run_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        with self._read() as tx:
            return self._evaluation.rules_notified_of(tx, run_ids)

    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        with self._read() as tx:
            return self._evaluation.conditions(tx, rule)

    def phases(self) -> Mapping[str, Mapping[Phase, int]]:
        with self._read() as tx:
            return self._evaluation.phases(tx)

    def timers(self) -> Sequence[Timer]:
        with self._read() as tx:
            return self._evaluation.timers(tx)

    def backfills(self) -> Sequence[Backfill]:
        with self._read() as tx:
            return self._evaluation.backfills(tx)

    def commit(self, outcome: Outcome, now: datetime) -> None:
        with self._write() as tx:
            self._evaluation.commit(tx, outcome, now)

    # -- notify --------------------------------------------------------------------------------------------------------

    def intents(self, limit: int = 1000) -> Sequence[Intent]:
        with self._read() as tx:
            return self._outbox.intents(tx, limit)

    def intent_heads(self, limit: int) -> Sequence[IntentHead]:
        with self._read() as tx:
            return self._outbox.intent_heads(tx, limit)

    def urgent_intents(self, limit: int) -> Sequence[Intent]:
        with self._read() as tx:
            return self._outbox.urgent(tx, limit)

    def info(self, version: str) -> RuleInfo | None:
        known = self._infos.get(version)
        if known is None:
            with self._read() as tx:
                known = self._outbox.info(tx, version)
            if known is not None:
                if len(self._infos) >= _KNOWN_INFOS:
                    self._infos.clear()
                self._infos[version] = known
        return known

    def put_deliveries(
        self,
        deliveries: Sequence[Delivery],
        consumed: Sequence[str],
        now: datetime,
        listed: Sequence[str] = (),
        change: NotifyChange = NO_CHANGE,
    ) -> None:
        with self._write() as tx:
            self._outbox.put(tx, deliveries, consumed, listed, now)
            self._alerts.change(tx, change, now)

    def intents_called(self, ids: Iterable[str]) -> Mapping[str, Intent]:
        if not (called := list(ids)):
            return {}
        with self._read() as tx:
            return self._outbox.intents_called(tx, called)

    def states_of(self, deliveries: Iterable[str]) -> Mapping[str, DeliveryState]:
        with self._read() as tx:
            return self._outbox.states_of(tx, list(deliveries))

    def notified_group(self, group: str) -> Sequence[Notified]:
        with self._read() as tx:
            return self._outbox.notified_group(tx, group)

    # -- active alerts -------------------------------------------------------------------------------------------------

    def unsettled_alerts(self) -> Sequence[ActiveAlert]:
        with self._read() as tx:
            return self._alerts.unsettled(tx)

    def alerts_ended(self) -> Sequence[tuple[str, datetime, str]]:
        with self._read() as tx:
            return self._alerts.ended(tx)

    def actions_new(self) -> Sequence[tuple[int, Action]]:
        with self._read() as tx:
            return self._alerts.actions(tx)

    def kept(self) -> Sequence[Kept]:
        with self._read() as tx:
            return self._alerts.kept(tx)

    def act(self, action: Action) -> Acted | None:
        with self._write() as tx:
            return self._alerts.act(tx, action)

    def alert(self, id: str) -> ActiveAlert | None:
        with self._read() as tx:
            return self._alerts.one(tx, id)

    def alerts(self, *, active: bool = True, limit: int = 1000, worst: bool = False) -> Sequence[ActiveAlert]:
        with self._read() as tx:
            return self._alerts.listed(tx, active=active, limit=limit, worst=worst)

    def active_count(self) -> int:
        with self._read() as tx:
            return self._alerts.count(tx)

    def deliveries_of(self, alert: ActiveAlert) -> Sequence[Delivery]:
        with self._read() as tx:
            return self._outbox.of_alert(tx, *alert.key)

    def actions_of(self, id: str) -> Sequence[Action]:
        with self._read() as tx:
            return self._alerts.actions_of(tx, id)

    def silences(self) -> Sequence[StoredSilence]:
        with self._read() as tx:
            return self._alerts.silences(tx)

    def put_silence(self, silence: StoredSilence, deed: Deed | None = None) -> None:
        with self._write() as tx:
            self._alerts.put_silence(tx, silence, deed)

    def preferences(self) -> Sequence[Preference]:
        with self._read() as tx:
            return self._alerts.preferences(tx)

    def audit(self, done: Sequence[Audited]) -> None:
        with self._write() as tx:
            self._mirror.log(tx, ACTIONS, [codecs.audit_row(each) for each in done])

    def put_preference(self, preference: Preference, deed: Deed | None = None) -> None:
        with self._write() as tx:
            self._alerts.put_preference(tx, preference, deed)

    def oncall_history(self, since: datetime) -> OnCallHistory:
        with self._read() as tx:
            return self._alerts.history(tx, since)

    # -- deliveries ----------------------------------------------------------------------------------------------------

    def endpoints(self) -> Collection[Endpoint]:
        with self._read() as tx:
            return self._outbox.endpoints(tx)

    def due(
        self, now: datetime, limit: int = 100, exclude: Iterable[str] = (), *, to: Endpoint = MAILS
    ) -> Sequence[Delivery]:
        with self._read() as tx:
            return self._outbox.due(tx, now, limit, frozenset(exclude), to)

    def next_due(self, exclude: Iterable[str] = (), *, to: Endpoint = MAILS) -> datetime | None:
        with self._read() as tx:
            return self._outbox.next_due(tx, frozenset(exclude), to)

    def attempted(self, results: Sequence[Attempted]) -> None:
        if results:
            with self._write() as tx:
                self._outbox.attempted(tx, results)

    def delivery(self, id: str) -> Delivery | None:
        with self._read() as tx:
            return self._outbox.one(tx, id)

    def ready_with(self, id: str) -> Sequence[Delivery]:
        with self._read() as tx:
            return self._outbox.ready_with(tx, id)

    def deliveries(
        self, *, state: DeliveryState | None = None, address: str = "", limit: int = 100, before: datetime | None = None
    ) -> Sequence[Delivery]:
        with self._read() as tx:
            return self._outbox.newest(tx, state, address, limit, before)

    def held_until(self) -> Sequence[tuple[str, str, datetime]]:
        with self._read() as tx:
            return self._outbox.held_until(tx)

    def bad_addresses(self) -> Sequence[tuple[str, str, datetime]]:
        with self._read() as tx:
            return self._outbox.bad_addresses(tx)

    def sent_lately(self, since: datetime, most: int) -> Sequence[tuple[str, datetime]]:
        with self._read() as tx:
            return self._outbox.sent_lately(tx, since, most)

    def threads(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[str, str]]:
        with self._read() as tx:
            return self._outbox.threads(tx, frozenset(pairs))

    def notified_addresses(self, rule: str, instance: str, occurrence: str) -> Sequence[Notified]:
        with self._read() as tx:
            return self._outbox.notified_addresses(tx, rule, instance, occurrence)

    def outbox_stats(self) -> Mapping[str, float]:
        with self._read() as tx:
            return self._outbox.stats(tx)

    # -- values of one process or command
    # -------------------------------------------------------------------------------

    def get(self, key: str) -> str | None:
        with self._read() as tx:
            return tx.execute(_GET, {"k": key}).scalar_one_or_none()

    def put(self, key: str, value: str) -> None:
        with self._write() as tx:
            self._put_value.run(tx, [{"key": key, "value": value}])

    # -- mirror --------------------------------------------------------------------------------------------------------

    def mirror_seq(self) -> int:
        with self._read() as tx:
            return self._mirror.seq(tx)

    def mirror_after(self, seq: int, limit: int = 5000) -> Sequence[MirrorRow]:
        with self._read() as tx:
            return self._mirror.after(tx, seq, limit)

    def prune(self, *, mirrored: int, now: datetime, keep: timedelta) -> None:
        with self._write() as tx:
            self._mirror.forget(tx, mirrored)
            self._outbox.prune(tx, now - keep)
            self._alerts.prune(tx, now - keep)

    def close(self) -> None:
        with self._writing:
            self._closed = True
            self._engine.dispose()

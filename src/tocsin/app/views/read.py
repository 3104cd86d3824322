"""What can be asked of a project directory, running or not: runs, alerts, mails, rules, dead letters, KQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tocsin.app.project.content import Content
from tocsin.app.runs.curves import Curve, curves, logged
from tocsin.app.runs.find import RunsAsked
from tocsin.app.runs.find import select as select_runs
from tocsin.app.runs.tree import FAMILY, MOST
from tocsin.app.views import backtest as backtesting
from tocsin.app.views import intake
from tocsin.app.views.acting import Acting
from tocsin.app.views.oncall import calendars, oncall_report
from tocsin.app.views.rules import RuleView
from tocsin.clock import Clock
from tocsin.kql.plan.query import user_query
from tocsin.logstore.interface import Limits, LogReader, LogStore
from tocsin.model.columns import TABLES, KqlType
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import State
from tocsin.turns import step, turn

if TYPE_CHECKING:
    from tocsin.rules.backtest.run import Progress

Row = dict[str, Any]

_LEAST_LEFT = 0.1
"""Seconds that a query may run, however long its translation took."""
_AT_ONCE = 100
"""Rows of an answer that are read between two steps."""
MAX_ROWS = 1000
"""Most rows of one list."""

_ALERTS = """
SELECT * FROM Alerts WHERE ($rule = '' OR Rule = $rule) AND ($run = '' OR RunId = $run)
ORDER BY "Time" DESC, CommitSeq DESC LIMIT $limit
"""
_CHOSEN = ("ExperimentName", "Target", "WorkspaceName")
_CHOICES = "SELECT {0} AS V FROM Runs WHERE {0} <> '' GROUP BY ALL ORDER BY count(*) DESC, V LIMIT $limit"
_EVENTS = """
SELECT * EXCLUDE (Raw) FROM RunStatusChanged
WHERE RunId = $run AND TimeGenerated BETWEEN $first AND $last ORDER BY Attempt, TimeGenerated, CommitSeq LIMIT 1000
"""
_NAMES = "SELECT RunId, DisplayName, ExperimentName FROM Runs WHERE RunId IN (SELECT unnest(($ids::JSON)::VARCHAR[]))"
_MARK = """
SELECT (SELECT md5(CAST(r AS VARCHAR)) FROM Runs r WHERE RunId = $run)
  || '-' || (SELECT count(*) FROM RunMetrics WHERE RunId = $run) || '-' || (SELECT count(*) FROM Alerts WHERE RunId = $run) AS Mark,
  (SELECT Status FROM Runs WHERE RunId = $run) AS Status
"""
_ALERTS_OF_RUN = 'SELECT * FROM Alerts WHERE RunId = $run ORDER BY "Time" LIMIT 1000'

_DYNAMIC = {t: frozenset(c.name for c in cs if c.type is KqlType.DYNAMIC) for t, cs in TABLES.items()}
_ANY_DYNAMIC = frozenset().union(*_DYNAMIC.values())


def rows_of(table: pa.Table | pa.RecordBatch, dynamic: frozenset[str] = _ANY_DYNAMIC) -> list[Row]:
    """Rows as dicts: times aware UTC, dynamic columns as values."""
    rows: list[Row] = table.to_pylist()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, datetime) and value.tzinfo is None:
                row[name] = value.replace(tzinfo=UTC)
            elif name in dynamic and isinstance(value, str):
                row[name] = parsed(value)
    return rows


def parsed(text: str) -> Any:
    """A dynamic value; text that is no JSON stays text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class Reading:
    """Implements the web's ``ReadPorts`` over both stores."""

    def __init__(
        self,
        store: LogStore,
        state: State,
        clock: Clock,
        content: Callable[[], Content | None],
        errors: Callable[[], Mapping[str, str]] = dict,
        deadlines: Callable[[], Mapping[str, datetime]] = dict,
        woken: Callable[[Sequence[Delivery]], None] = lambda made: None,
    ) -> None:
        """``content`` are the files in force; None where they are wrong. ``woken`` is called when a person has done
        something. ``deadlines`` says when the next deadline of a run comes, by rule, where that is known: by who
        evaluates.
        """
        self._store, self._state, self._read_clock = store, state, clock
        self._files, self._rule_errors = content, errors
        self._seen = RuleView(store, state, deadlines)
        self._acting = Acting(state=state, clock=clock, woken=woken, may_mail=self._may_mail)

    def _rules_now(self) -> RuleSet:
        files = self._files()
        return files.rules if files is not None else RuleSet({})

    def _may_mail(self, address: str) -> bool:
        """Whether an address may ask to be mailed: one that events may name, or a person's."""
        files = self._files()
        if files is None:
            return False
        return files.settings.smtp.allows(address) or files.oncall.person_at(address) is not None

    @property
    def acting(self) -> Acting:
        """See ``ReadPorts.acting``."""
        return self._acting

    def query(self, kql: str, limits: Limits) -> tuple[list[Any], list[Row]]:
        """See ``ReadPorts.query``."""
        return run_query(self._store, kql, limits, self._read_clock.now())

    def alerts(self, limit: int = 100, rule: str = "", run: str = "") -> list[Row]:
        """See ``ReadPorts.alerts``."""
        return self._rows(_ALERTS, limit=min(limit, MAX_ROWS), rule=rule, run=run)

    def run_names(self, ids: Sequence[str]) -> Mapping[str, Row]:
        """See ``ReadPorts.run_names``."""
        return {row["RunId"]: row for row in self._rows(_NAMES, ids=json.dumps(list(ids)))}

    def mails(self, limit: int = 100, address: str = "", state: str = "") -> Sequence[Delivery]:
        """See ``ReadPorts.mails``."""
        wanted = DeliveryState(state) if state else None
        return self._state.deliveries(state=wanted, address=address, limit=min(limit, MAX_ROWS))

    def bad_addresses(self) -> Sequence[tuple[str, str, datetime]]:
        """See ``ReadPorts.bad_addresses``."""
        return self._state.bad_addresses()

    def mail(self, id: str) -> Delivery | None:
        """See ``ReadPorts.mail``."""
        return self._state.delivery(id)

    def rules_status(self) -> list[Row]:
        """See ``ReadPorts.rules_status``."""
        return self._seen.status(self._rules_now(), self._rule_errors())

    def rule(self, name: str) -> Row | None:
        """See ``ReadPorts.rule``."""
        rules = self._rules_now()
        rule = rules.rules.get(name)
        if rule is None:
            return self._seen.faulty(name, rules)
        return self._seen.whole(rule, rules, self._rule_errors(), self._read_clock.now())

    def runs(self, asked: RunsAsked) -> list[Row]:
        """See ``ReadPorts.runs``."""
        sql, parameters = select_runs(asked)
        return self._rows(sql, **parameters)

    def choices(self) -> Mapping[str, Sequence[str]]:
        """See ``ReadPorts.choices``."""
        return {name: [row["V"] for row in self._rows(_CHOICES.format(name), limit=200)] for name in _CHOSEN}

    def family(self, root: str) -> list[Row]:
        """See ``ReadPorts.family``."""
        return self._rows(FAMILY, root=root, limit=MOST)

    def logged(self, run: str) -> list[Row]:
        """See ``ReadPorts.logged``."""
        return logged(self._rows, run)

    def curves(self, runs: Sequence[str], names: Sequence[str]) -> list[Curve]:
        """See ``ReadPorts.curves``."""
        return curves(self._rows, runs, names)

    def run(self, id: str) -> Row | None:
        """See ``ReadPorts.run``."""
        runs_sql, params = self._store.runs_of([id])
        found = self._rows(runs_sql, **params)
        if not found:
            return None
        run = found[0]
        events: list[Row] = []
        if run["FirstTime"] is not None:
            events = self._rows(
                _EVENTS, run=id, first=run["FirstTime"].replace(tzinfo=None), last=run["LastTime"].replace(tzinfo=None)
            )
        return {"run": run, "events": events, "alerts": self._rows(_ALERTS_OF_RUN, run=id)}

    def run_mark(self, id: str) -> tuple[str, str]:
        """See ``ReadPorts.run_mark``."""
        (row,) = self._rows(_MARK, run=id)
        return row["Mark"] or "", row["Status"] or ""

    def backtest(
        self, rule: str, since: str = "", until: str = "", as_if_live: bool = False, progress: Progress | None = None
    ) -> Row | None:
        """See ``ReadPorts.backtest``. ``progress`` is notified after each step."""
        chosen = self._rules_now().called(rule)
        if chosen is None:
            return None
        span = backtesting.span_of(self._store, since, until, as_if_live, self._read_clock.now())
        return backtesting.run(
            self._store, chosen, self._read_clock, self._state, span, as_if_live=as_if_live, progress=progress
        )

    def dead_letters(self, consumer: str = "", limit: int = 100, unreplayed: bool = True) -> list[Row]:
        """See ``ReadPorts.dead_letters``."""
        drafts = self._store.dead_letters(consumer=consumer, unreplayed=unreplayed, limit=min(limit, MAX_ROWS))
        return [
            {
                "Id": d.id, "Time": d.time, "Consumer": d.consumer, "Topic": d.topic, "Partition": d.partition,
                "Offset": d.offset, "Reason": d.reason, "Detail": d.detail, "Whole": d.whole,
                "Payload": d.payload.decode("utf-8", "replace"),
            }
            for d in drafts
        ]  # fmt: skip

    def oncall_report(self, weeks: int) -> Row:
        """See ``ReadPorts.oncall_report``."""
        return oncall_report(self._state, self._files(), self._read_clock.now(), weeks)

    def oncall_calendars(self, weeks: int) -> list[Row]:
        """See ``ReadPorts.oncall_calendars``."""
        return calendars(self._files(), self._read_clock.now(), weeks)

    def by_hour(self, hours: int) -> list[Row]:
        """See ``ReadPorts.by_hour``."""
        return intake.by_hour(self._store, self._read_clock.now(), hours)

    def _rows(self, sql: str, **params: object) -> list[Row]:
        return rows_of(self._store.select(sql, params))


def run_query(reader: LogReader, kql: str, limits: Limits, now: datetime) -> tuple[list[Any], list[Row]]:
    """A user's KQL inside the sandbox: its columns with KQL types, its rows. Raises QueryError, QueryTimeout,
    StoreLost.
    """
    began = time.monotonic()
    translation = user_query(kql, reader.schema())
    left = max(_LEAST_LEFT, limits.seconds - (time.monotonic() - began))  # the translation is within the limit
    table = reader.select(translation.sql, translation.parameters(now), replace(limits, seconds=left))
    columns = [{"name": name, "type": type_} for name, type_ in translation.columns.items()]
    dynamic = frozenset(name for name, type_ in translation.columns.items() if type_ == KqlType.DYNAMIC)
    rows: list[Row] = []
    with turn():
        for batch in table.to_batches(_AT_ONCE):
            step()
            rows += rows_of(batch, dynamic)
    return columns, rows

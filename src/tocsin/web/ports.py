"""What web and cli need of the app. ``tocsin.app.App`` and what ``open_offline`` gives both have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypedDict

from starlette.routing import BaseRoute

from tocsin.app.runs.actions import RunActions
from tocsin.app.runs.curves import Curve
from tocsin.app.runs.find import RunsAsked
from tocsin.app.runs.views import Views
from tocsin.app.views.acting import Acting
from tocsin.clock import Clock
from tocsin.config.project.tokens import Tokens
from tocsin.config.settings import Settings
from tocsin.logstore.interface import Limits
from tocsin.metrics.registry import Metrics
from tocsin.model.active import AuditKind
from tocsin.model.delivery import Delivery
from tocsin.model.text.signed import Signer


class ColumnInfo(TypedDict):
    """A column of an answer: its name and KQL type."""

    name: str
    type: str


Row = dict[str, Any]
"""A row by column. Times are datetimes in UTC (naive ones count as UTC), dynamic columns plain JSON values."""


class ReadPorts(Protocol):
    """What can be asked of a project directory, running or not. Every method blocks, and is safe from any thread."""

    @property
    def acting(self) -> Acting:
        """What people do with alerts and silences."""

    def query(self, kql: str, limits: Limits) -> tuple[list[ColumnInfo], list[Row]]:
        """Run a user's KQL. Raises QueryError, QueryTimeout, StoreLost."""

    def alerts(self, limit: int = 100, rule: str = "", run: str = "") -> list[Row]:
        """Rows of ``Alerts``, newest first."""

    def run_names(self, ids: Sequence[str]) -> Mapping[str, Row]:
        """``RunId DisplayName ExperimentName`` of those of these runs that are known, by id."""

    def mails(self, limit: int = 100, address: str = "", state: str = "") -> Sequence[Delivery]:
        """Deliveries, newest first."""

    def bad_addresses(self) -> Sequence[tuple[str, str, datetime]]:
        """Addresses that a mail server says are none: the address, what it said, and when."""

    def mail(self, id: str) -> Delivery | None:
        """One delivery."""

    def rules_status(self) -> list[Row]:
        """A row a rule: ``name kind severity enabled`` and what else is known of it (``file fired notified resolved last_fired
        error``); one that is off and faulty has its ``fault``.
        """

    def rule(self, name: str) -> Row | None:
        """One rule whole: its row of ``rules_status``, and ``explanation tests instances last_rows`` and why there
        are none.
        """

    def runs(self, asked: RunsAsked) -> list[Row]:
        """Rows of ``Runs``. Raises ValueError for a column that nothing is sorted by."""

    def choices(self) -> Mapping[str, Sequence[str]]:
        """Values of ``ExperimentName``, ``Target`` and ``WorkspaceName`` that runs have, the most frequent first."""

    def family(self, root: str) -> list[Row]:
        """Runs of the tree below ``root``: id, parent, name, status, times."""

    def logged(self, run: str) -> list[Row]:
        """What a run logged, a row a metric (``app.runs.curves.logged``)."""

    def curves(self, runs: Sequence[str], names: Sequence[str]) -> list[Curve]:
        """Curves of few points of these metrics of these runs."""

    def run(self, id: str) -> Row | None:
        """``{"run": row of Runs, "events": rows without Raw, "alerts": rows of Alerts}``, oldest first; None:
        unknown.
        """

    def run_mark(self, id: str) -> tuple[str, str]:
        """Text that changes when anything does that a run's page shows, and the run's status; '' of no such run."""

    def backtest(self, rule: str, since: str = "", until: str = "", as_if_live: bool = False) -> Row | None:
        """What a rule would have notified (``rules.backtest_report.as_json``); None: there is no such rule.

        Raises QueryError, StoreError, and TocsinError for what is no range or cannot be backtested.
        """

    def oncall_report(self, weeks: int) -> Row:
        """What being on call was like in the last ``weeks`` weeks (``notify.oncall.report.report``)."""

    def oncall_calendars(self, weeks: int) -> list[Row]:
        """Each schedule: who is on call now, and ``days`` of the next ``weeks`` weeks with their parts."""

    def by_hour(self, hours: int) -> list[Row]:
        """``hour failed completed median p95`` of the last hours, the last of which is not over."""

    def dead_letters(self, consumer: str = "", limit: int = 100, unreplayed: bool = True) -> list[Row]:
        """Rows of ``DeadLetters`` with their ``Id``, oldest first."""


class AppPorts(ReadPorts, Protocol):
    """A running app."""

    @property
    def metrics(self) -> Metrics:
        """The process's metrics."""

    @property
    def clock(self) -> Clock:
        """The clock."""

    @property
    def run_views(self) -> Views:
        """Lists of runs that people saved."""

    @property
    def run_actions(self) -> RunActions:
        """What people do with runs."""

    @property
    def people(self) -> Sequence[str]:
        """Names of on-call people."""

    def address_of(self, who: str) -> str:
        """The mail address of a person by name; else ``who``."""

    @property
    def links(self) -> Signer:
        """What signs and reads the links of messages."""

    @property
    def settings(self) -> Settings:
        """Settings in force."""

    @property
    def tokens(self) -> Tokens:
        """Tokens in force; asked at each request, so that a changed file counts at once."""

    @property
    def kept(self) -> Path:
        """A folder for small files of the server's own."""

    def audit(self, kind: AuditKind, *, by: str, via: str, text: str) -> None:
        """Note in the audit trail that somebody did it now; never blocks."""

    def consumers(self) -> list[Row]:
        """A row a consumer: whether it runs, is connected, its lag and watermark, its last event and dead letters."""

    def replay_dead_letters(self, ids: Sequence[int] = (), consumer: str = "") -> Mapping[str, Any]:
        """Send dead letters through again; counts of what became of them."""

    def back_up(self, directory: str) -> Mapping[str, Any]:
        """Copy both stores into ``directory``; what ``backup.json`` says of them. Raises TocsinError."""

    def export(self, directory: str, tables: Sequence[str] = ()) -> Mapping[str, int]:
        """Write tables as Parquet files into ``directory``; the rows of each. Raises TocsinError."""

    def health(self) -> Mapping[str, Any]:
        """Facts about a living process."""

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether it does its job, and the state of each part."""

    def intake_routes(self) -> list[BaseRoute]:
        """Routes below ``/intake/``."""

"""The files of a project directory, read and checked together: one broken file refuses the whole set, and all faults come at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import structlog

from tocsin.app.project.oncall import Around, read_oncall
from tocsin.app.project.rules import calendars_of, oncall_files_of, schema_with, tables_of, with_maintenance, zone_of
from tocsin.clock import SystemClock
from tocsin.config.content import shipped_files
from tocsin.config.project.home import SHIPPED, Home
from tocsin.config.project.tokens import Tokens
from tocsin.config.settings import Settings, ShippedSettings
from tocsin.errors import ConfigurationError, Problem
from tocsin.intake.consumer import Consumer, active, load_consumers
from tocsin.model.calendars.calendar import Calendar
from tocsin.notify.render.templates import template_names
from tocsin.notify.routing.files import OnCallFiles
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.stages.portions import independent
from tocsin.rules.compile.load import Known, read_rules
from tocsin.rules.kinds.event.kind import KIND as EVENTS
from tocsin.rules.kinds.ruleset import RuleSet

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One good set of files."""

    settings: Settings
    tokens: Tokens
    consumers: Mapping[str, Consumer]  # all, also those that are at rest
    rules: RuleSet
    oncall: OnCallRules
    oncall_files: OnCallFiles  # as they are written
    tables: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def active(self) -> dict[str, Consumer]:
        """Consumers that are to run."""
        return active(self.consumers, kafka=self.settings.kafka is not None)

    @property
    def apart(self) -> bool:
        """Whether alerts of events that come together may be notified one before the other: none is in a group, waits
        for an inhibition, or counts the runs of its parent.
        """
        return independent(self.oncall) and not self.rules.of(EVENTS).collapsing


def load_content(home: Home, settings: Settings | None = None) -> Content:
    """Read everything. Raises ContentError with every fault of every file."""
    problems: list[Problem] = []
    content = gather(home, problems, settings)
    if content is None or any(not p.warning for p in problems):
        raise ConfigurationError([p for p in problems if not p.warning])
    for problem in problems:
        log.warning("content", problem=str(problem))
    return content


def gather(home: Home, problems: list[Problem], settings: Settings | None = None) -> Content | None:
    """As ``load_content``, but faults are added to ``problems``; None where so much is wrong that there is no set."""
    if settings is None:
        try:
            settings = home.settings()
        except ConfigurationError as e:
            problems += e.problems
    tokens, consumers, files, rules = Tokens(), None, None, None
    calendars: Mapping[str, Calendar] | None = None
    tables: Mapping[str, pa.Table] = {}
    if settings is not None:
        try:
            tokens = home.tokens(settings)
        except ConfigurationError as e:
            problems += e.problems
    try:
        tables = tables_of(home)
    except ConfigurationError as e:
        problems += e.problems
    ships = settings.shipped if settings is not None else ShippedSettings()
    try:
        consumers = consumers_of(home, ships)
    except ConfigurationError as e:
        problems += e.problems
    try:
        files = oncall_files_of(home, ships, problems)
        calendars = calendars_of(files, home, problems)
    except ConfigurationError as e:
        problems += e.problems
    shipped = shipped_files("rules/alerts") if ships.rules else []
    paths = home.alert_files()
    directories = home.template_dirs(ships.templates)
    known = Known(
        schema=schema_with(tables), tables=tables, calendars=calendars, templates=template_names(directories),
        timezone=zone_of(settings),
    )  # fmt: skip
    wrong: list[Problem] = []
    rules = read_rules(
        paths, known, wrong, names={f: home.shown(f) for f in (*shipped, *paths)}, shipped=shipped
    )  # fmt: skip
    problems += wrong
    whole = all(problem.warning for problem in wrong)
    oncall = None
    if files is not None:
        around = Around(home=home, calendars=calendars or {}, now=SystemClock().now(), tables=tables)
        oncall = read_oncall(files, around, rules if whole else None, problems)
    if oncall is not None:
        problems += _unknown_targets(rules, oncall)
    if settings is None or consumers is None or files is None or oncall is None or not whole:
        return None
    rules = with_maintenance(rules, files, problems)
    problems += _at_rest(consumers, settings)
    return Content(
        settings=settings, tokens=tokens, consumers=consumers, rules=rules, oncall=oncall, oncall_files=files,
        tables=tables,
    )  # fmt: skip


def _at_rest(consumers: Mapping[str, Consumer], settings: Settings) -> list[Problem]:
    """Consumers of the project that read Kafka, where nothing says where it is."""
    running = active(consumers, kafka=settings.kafka is not None)
    message = "reads nothing: tocsin.yaml does not say where Kafka is"
    hint = 'write there kafka: {bootstrap_servers: ["127.0.0.1:9092"]}, or enabled: false here'
    return [
        Problem(file=consumer.shown, line=1, key="connector", message=message, hint=hint, warning=True)
        for name, consumer in consumers.items()
        if consumer.file.enabled and name not in running and not consumer.shown.startswith(SHIPPED)
    ]


def _unknown_targets(rules: RuleSet, oncall: OnCallRules) -> list[Problem]:
    """Names that rules notify and nobody declares."""
    return [
        Problem(file=target.place.file, line=target.place.line, key="notify.to", message=wrong[0], hint=wrong[1])
        for target in rules.notify_targets
        if (wrong := oncall.wrong(target.name)) is not None
    ]


def consumers_of(home: Home, ships: ShippedSettings) -> dict[str, Consumer]:
    """All consumers, also those that are off. Raises ContentError with every fault of theirs."""
    files = home.consumer_files(ships.consumers)
    shipped = home.shipped_consumers() if ships.consumers else {}
    return load_consumers(files, {f: home.shown(f) for f in files}, shipped)

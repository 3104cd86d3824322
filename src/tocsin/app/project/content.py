"""The files of a project directory, read and checked together: one broken file refuses the whole set, and all faults come at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import structlog

from tocsin.app.project.calendars import calendars_of, with_maintenance
from tocsin.app.project.oncall import Around, read_oncall
from tocsin.clock import SystemClock
from tocsin.config.content import shipped_files
from tocsin.config.project.home import SHIPPED, Home
from tocsin.config.project.tables import load_tables
from tocsin.config.project.tokens import Tokens
from tocsin.config.settings import Settings, ShippedSettings
from tocsin.errors import ConfigurationError, Problem
from tocsin.intake.consumer import Consumer, active, load_consumers
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.columns import TABLES, KqlType
from tocsin.notify.render.templates import template_names
from tocsin.notify.routing.files import OnCallFiles, read_oncall_files
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
        tables = load_tables(home.table_files(), home.shown)
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
        timezone=_zone(settings),
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


def rules_of(home: Home, files: Sequence[Path] | None = None, problems: list[Problem] | None = None) -> RuleSet:
    """The rules of ``files``, or of ``home``, whatever else is wrong there. Those that are right where faults are added
    to ``problems``; without it raises ConfigurationError with every fault of theirs.
    """
    tables = load_tables(home.table_files(), home.shown)
    chosen = files if files else home.alert_files()
    ships = shipped_of(home)
    shipped = shipped_files("rules/alerts") if ships.rules else []
    if files:  # a file by itself changes shipped rules of its names, and brings no others
        shipped = [path for path in shipped if path not in files]
    names = {path: home.shown(path.absolute()) for path in (*shipped, *chosen)}
    oncall, calendars = None, None
    try:
        oncall = oncall_files_of(home, ships)
        calendars = calendars_of(oncall, home, [])
    except ConfigurationError:
        pass  # who asks for rules is notified of them alone
    try:
        settings = home.settings()
    except ConfigurationError:
        settings = None
    wrong: list[Problem] = []
    known = Known(schema=schema_with(tables), tables=tables, calendars=calendars, timezone=_zone(settings))
    rules = read_rules(chosen, known, wrong, names=names, shipped=shipped)
    if problems is not None:
        problems += wrong
    elif any(not problem.warning for problem in wrong):
        raise ConfigurationError(wrong)
    if files:
        rules = _within(rules, {names[path] for path in files})
    return rules if oncall is None else with_maintenance(rules, oncall, [])


def consumers_of(home: Home, ships: ShippedSettings) -> dict[str, Consumer]:
    """All consumers, also those that are off. Raises ContentError with every fault of theirs."""
    files = home.consumer_files(ships.consumers)
    shipped = home.shipped_consumers() if ships.consumers else {}
    return load_consumers(files, {f: home.shown(f) for f in files}, shipped)


def oncall_files_of(home: Home, ships: ShippedSettings, unknown: list[Problem] | None = None) -> OnCallFiles:
    """The on-call files as they are written. Raises ConfigurationError with every fault of theirs, but for unknown keys
    where ``unknown`` takes them.
    """
    shipped = shipped_files("rules/oncall") if ships.oncall else []
    return read_oncall_files(home.oncall_files(), home.path, shipped, unknown)


def own(rules: RuleSet) -> RuleSet:
    """The rules that the project's files give or change; all where they give none. Shipped ones are tested here, not there."""
    places = {rule.place.file for rule in rules.rules.values()}
    found = _within(rules, {file for file in places if not file.startswith(SHIPPED)})
    return found if found.rules else rules


def _within(rules: RuleSet, files: Collection[str]) -> RuleSet:
    return RuleSet(
        {name: rule for name, rule in rules.rules.items() if rule.place.file in files},
        {name: rule for name, rule in rules.faulty.items() if rule.place.file in files},
    )


def shipped_of(home: Home) -> ShippedSettings:
    """Which shipped files are in force; all where the settings are broken."""
    try:
        return home.settings().shipped
    except ConfigurationError:
        return ShippedSettings()


def _zone(settings: Settings | None) -> str:
    """The time zone that tocsin.yaml names; '' where it names none."""
    return settings.timezone if settings is not None and "timezone" in settings.model_fields_set else ""


def schema_with(tables: Mapping[str, pa.Table]) -> dict[str, dict[str, str]]:
    """What KQL may name: our tables and these reference tables."""
    schema: dict[str, dict[str, str]] = {name: {c.name: c.type.value for c in cols} for name, cols in TABLES.items()}
    for name, table in tables.items():
        schema[name] = {field.name: kql_type(field.type).value for field in table.schema}
    return schema


def kql_type(arrow: pa.DataType) -> KqlType:
    """The KQL type of a reference table's column."""
    types = pa.types
    if types.is_boolean(arrow):
        return KqlType.BOOL
    if types.is_integer(arrow):
        return KqlType.INT if arrow.bit_width <= 32 else KqlType.LONG
    if types.is_floating(arrow) or types.is_decimal(arrow):
        return KqlType.REAL
    if types.is_temporal(arrow):
        return KqlType.DATETIME
    return KqlType.DYNAMIC if types.is_nested(arrow) else KqlType.STRING

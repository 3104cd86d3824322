"""The rules of a project directory alone: what lists, tests and explains them need, and no more is imported for that."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.clock import Clock, SystemClock
from tocsin.config.content import shipped_files
from tocsin.config.project.home import SHIPPED, Home
from tocsin.config.project.overlay import RULES
from tocsin.config.settings import Settings, ShippedSettings
from tocsin.config.yaml.document import Document, load_file
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.columns import TABLES, KqlType
from tocsin.rules.compile.load import Known, read_rules
from tocsin.rules.kinds.ruleset import RuleSet

if TYPE_CHECKING:
    import pyarrow as pa

    from tocsin.notify.routing.files import OnCallFiles


def rules_of(home: Home, files: Sequence[Path] | None = None, problems: list[Problem] | None = None) -> RuleSet:
    """The rules of ``files``, or of ``home``, whatever else is wrong there. Those that are right where faults are added
    to ``problems``; without it raises ConfigurationError with every fault of theirs.
    """
    chosen = files if files else home.alert_files()
    ships = shipped_of(home)
    shipped = shipped_files("rules/alerts") if ships.rules else []
    if files:  # a file by itself changes shipped rules of its names, and brings no others
        shipped = [path for path in shipped if path not in files]
    names = {path: home.shown(path.absolute()) for path in (*shipped, *chosen)}
    known, oncall = _known(home, ships)
    wrong: list[Problem] = []
    rules = read_rules(chosen, known, wrong, names=names, shipped=shipped)
    if problems is not None:
        problems += wrong
    elif any(not problem.warning for problem in wrong):
        raise ConfigurationError(wrong)
    if files:
        rules = _within(rules, {names[path] for path in files})
    return rules if oncall is None else with_maintenance(rules, oncall, [])


def written_in(home: Home, path: Path) -> tuple[Document, Known]:
    """The rule file at ``path`` as it is written, laid over the shipped rules, and what its rules may name."""
    ships = shipped_of(home)
    shipped = [load_file(file) for file in (shipped_files("rules/alerts") if ships.rules else []) if file != path]
    *_, own = RULES.apply(shipped, [load_file(path, home.shown(path.absolute()))], [])
    return own, _known(home, ships)[0]


def _known(home: Home, ships: ShippedSettings) -> tuple[Known, OnCallFiles | None]:
    tables = tables_of(home)
    oncall: OnCallFiles | None = None
    calendars: Mapping[str, Calendar] | None = {}
    try:
        if _declare_days(home, ships):
            oncall = oncall_files_of(home, ships)
            calendars = calendars_of(oncall, home, [])
    except ConfigurationError:
        calendars = None  # who asks for rules is notified of them alone
    try:
        settings = home.settings()
    except ConfigurationError:
        settings = None
    known = Known(schema=schema_with(tables), tables=tables, calendars=calendars, timezone=zone_of(settings))
    return known, oncall


def _declare_days(home: Home, ships: ShippedSettings) -> bool:
    """Whether an on-call file has calendars or maintenances. To read such a file whole takes all channels; most have none."""
    shipped = shipped_files("rules/oncall") if ships.oncall else []
    found = (load_file(path).data for path in (*shipped, *home.oncall_files()))
    return any(isinstance(data, Mapping) and not {"calendars", "maintenance"}.isdisjoint(data) for data in found)


def tables_of(home: Home) -> Mapping[str, pa.Table]:
    """The reference tables. Raises ConfigurationError with the faults of all of them."""
    files = home.table_files()
    if not files:
        return {}
    from tocsin.config.project.tables import load_tables

    return load_tables(files, home.shown)


def oncall_files_of(home: Home, ships: ShippedSettings, unknown: list[Problem] | None = None) -> OnCallFiles:
    """The on-call files as they are written. Raises ConfigurationError with every fault of theirs, but for unknown keys
    where ``unknown`` takes them.
    """
    from tocsin.notify.routing.files import read_oncall_files

    shipped = shipped_files("rules/oncall") if ships.oncall else []
    return read_oncall_files(home.oncall_files(), home.path, shipped, unknown)


def calendars_of(oncall: OnCallFiles, home: Home, problems: list[Problem]) -> dict[str, Calendar]:
    """The calendars that ``oncall`` declares, read; faults and warnings go to ``problems``."""
    from tocsin.config.calendars.named import read_calendars

    return read_calendars(oncall.calendars, home.path, home.calendar_cache, SystemClock().now(), problems)


def with_maintenance(rules: RuleSet, oncall: OnCallFiles, problems: list[Problem]) -> RuleSet:
    """``rules`` under the maintenances that ``oncall`` announces; faults go to ``problems``."""
    from tocsin.config.calendars.maintenance import read_maintenance
    from tocsin.rules.kinds.pausing import under

    labels = {label for rule in rules.rules.values() for label in rule.labels}
    columns = {name for rule in rules.rules.values() for table in rule.reference.values() for name in table}
    return under(rules, read_maintenance(oncall.maintenance, labels | columns, problems))


def refresh_calendars(oncall: OnCallFiles, home: Home, clock: Clock) -> bool:
    """Fetch calendars again whose copies are older than a day; whether one says something else now."""
    from tocsin.config.calendars.named import refresh

    return refresh(oncall.calendars, home.calendar_cache, clock.now())


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


def zone_of(settings: Settings | None) -> str:
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
    import pyarrow as pa

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

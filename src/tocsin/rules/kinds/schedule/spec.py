"""What ought to come by a schedule: a rule of it, or one for each row of a reference table, all of one shape.

    for_each: {table: nightlies}                        experiment, cron, grace
    when: {absent: {status: Completed, where: "ExperimentName == experiment"}, cron: "{{ cron }}", grace: "{{ grace }}"}

A row's columns are constants in the predicate, and fill the templates of ``cron``, ``grace`` and ``timezone``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, NamedTuple, TypeAlias

from tocsin.alerts.conditions import Terms
from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration, parse_duration
from tocsin.errors import QueryError
from tocsin.kql.plan.rowplan import RowPlan, row_plan
from tocsin.model.alert import fingerprint, instance_key
from tocsin.model.calendars.calendar import Calendar, Maintenance
from tocsin.rules.kinds.schedule.cron import Schedule
from tocsin.rules.kinds.schedule.keys import ScheduleWhen
from tocsin.rules.language.literals import extension
from tocsin.rules.language.templates import TemplateFault, TemplateText, checked
from tocsin.rules.spec.rule import RuleOf, WaitSpec

Fault = tuple[KeyPath, str, str]
TableRow = Mapping[str, object]
_TEMPLATES = ("cron", "grace", "early", "timezone")
"""Keys of `when:` that a table's row fills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that is expected."""

    instance: Mapping[str, object]
    fields: Mapping[str, object]  # of the table's row: what its alerts may carry
    schedule: Schedule
    plan: RowPlan
    query: str

    @property
    def key(self) -> str:
        """Name of the instance within its rule."""
        return instance_key(self.instance)

    @property
    def meaning(self) -> str:
        """Hash of what is expected when. Days that do not count are no part of it: they move a deadline, and no more."""
        s = self.schedule
        return fingerprint(self.query, s.cron, str(s.grace), str(s.early), s.zone)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScheduleSpec(WaitSpec):
    """What ought to come by a schedule."""

    kind: ClassVar[str] = "schedule"
    word: ClassVar[str] = "absence"

    plan: RowPlan  # of the rule as such, or of one item
    when: ScheduleWhen
    by: tuple[str, ...]
    table: str  # '' where it is not for each row of one
    schema: Mapping[str, Mapping[str, str]] = field(repr=False)
    calendar: Calendar
    zone: str = ""  # where neither the rule nor its row names one; '': UTC
    items: tuple[Item, ...]
    terms: Terms = field(default_factory=Terms)
    pauses: tuple[Maintenance, ...] = ()  # that may stop its clocks

    @property
    def words(self) -> tuple[str, ...]:
        return self.when.cron, self.when.grace, self.when.early, self.when.timezone or self.zone

    @property
    def consumer(self) -> str:
        """The one consumer that would bring it; '': any."""
        return self.when.consumer

    def over(self, rows: Sequence[TableRow]) -> tuple[Item, ...]:
        """What is expected for other rows of the table. Raises ValueError that says what is wrong with them."""
        items, faults = items_of(Expected(self.when, self.by, self.schema, self.calendar, self.zone), rows)
        if faults:
            raise ValueError("; ".join(f"{message}" for _, message, _ in faults))
        return items


ScheduleRule: TypeAlias = RuleOf[ScheduleSpec]


class Expected(NamedTuple):
    """What a rule says of all that it expects."""

    when: ScheduleWhen
    by: Sequence[str]
    schema: Mapping[str, Mapping[str, str]]
    calendar: Calendar
    zone: str


def items_of(rule: Expected, rows: Sequence[TableRow]) -> tuple[tuple[Item, ...], list[Fault]]:
    """What is expected for each of ``rows`` ({} alone where there is no table), and what is wrong."""
    faults: list[Fault] = []
    items: dict[str, Item] = {}
    for number, row in enumerate(rows, 1):
        said = f"row {number} of the table: " if row else ""
        found = _item(rule, row, said, faults)
        if found is None:
            continue
        if found.key in items:
            faults.append((("for_each",), f"{said}is a second one for {found.key}", "its columns name the instance"))
        items[found.key] = found
    return tuple(items.values()), faults


def _item(rule: Expected, row: TableRow, said: str, faults: list[Fault]) -> Item | None:
    when = rule.when
    texts: dict[str, str] = {}
    for key in _TEMPLATES:
        try:
            texts[key] = checked(getattr(when, key))[0].render(row).strip()
        except TemplateFault as e:
            faults.append((("when", key), f"{said}is no template: {e}", "write for example {{ cron }}"))
    if len(texts) < len(_TEMPLATES):
        return None
    lengths: dict[str, timedelta] = {}
    for key in ("grace", "early"):
        try:
            lengths[key] = parse_duration(texts[key] or "0")
        except ValueError as e:
            faults.append((("when", key), f"{said}{e}", ""))
            return None
    zone = texts["timezone"] or rule.zone or "UTC"
    try:
        schedule = Schedule(cron=texts["cron"], zone=zone, skip=rule.calendar, **lengths)
    except ValueError as e:
        faults.append((("when", "timezone" if "time zone" in str(e) else "cron"), f"{said}{e}", ""))
        return None
    if (shortest := schedule.overlap()) is not None:
        key = "early" if lengths["early"] > lengths["grace"] else "grace"
        message = f"{said}an event could meet two scheduled times, which are {format_duration(shortest)} apart"
        faults.append((("when", key), message, "`early` and `grace` together must be shorter"))
        return None
    query, _ = schedule_query(when, row)
    try:
        plan = row_plan(query, rule.schema)
    except QueryError as e:
        faults.append((("when", "absent", "where"), f"{said}{e.message}", e.hint))
        return None
    return Item(
        instance={name: row.get(name) for name in rule.by}, fields=dict(row), schedule=schedule, plan=plan, query=query
    )


def schedule_query(when: ScheduleWhen, row: TableRow) -> tuple[str, int]:
    """The expected events as KQL, and the line on which the text of ``where:`` begins."""
    lines = ["RunStatusChanged"]
    if row:
        lines.append(extension(row).strip())
    absent = when.absent
    assert absent is not None
    if absent.status:
        lines.append("| where Status in (" + ", ".join(f"'{status}'" for status in absent.status) + ")")
    begins = len(lines) + 2
    if absent.where:
        lines += ["| where (", absent.where, ")"]
    return "\n".join(lines), begins


def columns_of(when: ScheduleWhen, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns of the table that name an instance: all but those that only fill the schedule's templates."""
    filled: set[str] = set()
    for text in _templates(when):
        filled |= text.names
    return tuple(name for name in columns if name not in filled) or tuple(columns)


def _templates(when: ScheduleWhen) -> Iterator[TemplateText]:
    for key in _TEMPLATES:
        try:
            yield checked(getattr(when, key))[0]
        except TemplateFault:
            continue


def faults(when: ScheduleWhen) -> Iterator[Fault]:
    """What is wrong with a schedule's rule as such."""
    for key, said in (("status", bool(when.status)), ("where", bool(when.where))):
        if said:
            yield ("when", key), "stands beside absent", "what is expected stands under absent"
    assert when.absent is not None
    if not when.absent.status and not when.absent.where:
        yield ("when", "absent"), "says nothing of what is expected", "say which status: or where:"
    if not when.cron:
        yield ("when", "absent"), "does not say when it ought to come", 'write for example cron: "0 2 * * *"'


def subject(when: ScheduleWhen, by: Sequence[str]) -> str:
    """The mail's subject where the rule has none: ``churn: not Completed by 06:00``."""
    named = " ".join(f"{{{{ {name} }}}}" for name in by) or "{{ Rule }}"
    statuses = " or ".join((when.absent and when.absent.status) or ())
    return f"{named}: {f'not {statuses}' if statuses else 'nothing came'} by {{{{ Due }}}}"

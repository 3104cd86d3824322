"""From a letter and what is known of its run to what a template sees. Everything that came from outside is cleaned
here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from jinja2 import TemplateError

from tocsin.model.active import ActionKind, alert_id
from tocsin.model.alert import instance_key
from tocsin.model.columns import RUN_STATUS_CHANGED
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import TERMINAL
from tocsin.model.text.causes import cause_of, cut, one_line
from tocsin.model.text.redact import redact
from tocsin.model.text.sandbox import TooMuch, Words
from tocsin.model.text.signed import LASTS, UNSUBSCRIBES, Permit, Signer, Unsubscribe
from tocsin.model.text.tails import LARGEST, last_lines
from tocsin.model.text.timespans import read_kql_text, spoken
from tocsin.notify import context as c
from tocsin.notify.render import absence as waiting
from tocsin.notify.render import parents as sweeps
from tocsin.notify.render.links import as_text, is_allowed, rule_page, run_page, web_link
from tocsin.notify.routing.pipeline import fields_of
from tocsin.notify.text import at_day_time, day_time, default_subject, did, isolate, length, moment, shown, zone_name
from tocsin.notify.values import NotificationDraft, RunFacts

LATE = timedelta(minutes=5)
ROWS = 10
LISTED = 10
"""Runs of each cause that a backfill's summary lists."""
LOG_LINES = 20
TEMPLATE_FAULTS = (
    TemplateError,
    TooMuch,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
)
"""What a template of a user can raise."""

_UTC = ZoneInfo("UTC")
_COLUMNS = frozenset(column.name for column in RUN_STATUS_CHANGED)
"""What events say is shown as they say it; only what a query computed is put in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """What settings say of every mail."""

    base_url: str = ""  # '' makes no link of tocsin's own
    zone: ZoneInfo = _UTC
    links: Signer | None = None  # signs what a reader may do
    allowed_hosts: tuple[str, ...] = ()  # hosts to which addresses of events may lead


def _text(event: Mapping[str, object], name: str, size: int = 300) -> str:
    value = event.get(name)
    return one_line(str(value), size) if value not in (None, "") else ""


def _body(event: Mapping[str, object], name: str, size: int) -> str:
    value = event.get(name)
    return shown(redact(str(value)[: size * 4]), size).strip() if value not in (None, "") else ""


def _tail(event: Mapping[str, object]) -> tuple[str, ...]:
    """The last lines of a log, the end of its traceback before others; redacted before they are cut."""
    value = event.get("LogTail")
    if not value:
        return ()
    lines = last_lines(redact(str(value)[-LARGEST:]), LOG_LINES, 20_000)
    return tuple(cut(shown(line), 400) for line in lines)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def ran(event: Mapping[str, object]) -> timedelta | None:
    """How long the run went: as given, else from its start to its end or to this event."""
    given = event.get("DurationMs")
    if isinstance(given, int | float) and 0 <= given < 10**13:
        return timedelta(milliseconds=given)
    start, end = moment(event.get("StartTime")), moment(event.get("EndTime")) or moment(event.get("TimeGenerated"))
    return end - start if start and end and end >= start else None


def run_name(event: Mapping[str, object]) -> str:
    """What people call it: the experiment, else the display name, else the run's id."""
    return _text(event, "ExperimentName") or _text(event, "DisplayName") or _text(event, "RunId")


def summary_fields(intent: Intent, why: str) -> dict[str, object]:
    """Variables of a rule's `summary` and `annotations`: columns, `by`, `keep`, `labels`, and a few in words."""
    fields = {n: v if n in _COLUMNS else _said(v) for n, v in fields_of(intent).items()}
    for name in ("Message", "LogTail"):
        if isinstance(fields.get(name), str):
            fields[name] = redact(str(fields[name])[:20_000])
    fields.setdefault("Duration", length(ran(intent.event)))
    fields.setdefault("Cause", why)
    fields.setdefault("Rule", intent.rule)
    fields.setdefault("Severity", intent.severity.word)
    fields.setdefault("Value", intent.value)
    for name, value in {**sweeps.fields(sweeps.parent_group_of(intent)), **waiting.fields(intent)}.items():
        fields.setdefault(name, value)
    return fields


def title(intent: Intent, info: RuleInfo, words: Words, why: str) -> tuple[str, str]:
    """(the subject's text, what was wrong with the rule's summary or ''). ``why`` is the alert's cause."""
    problem = ""
    if intent.kind is IntentKind.ADMIN:
        health = intent.details.health
        return one_line(health.title if health is not None else intent.rule), ""
    if intent.kind is IntentKind.SUMMARY:
        count = intent.details.expired.count if intent.details.expired is not None else 0
        return one_line(
            f"{intent.rule}: {count} older {'alert' if count == 1 else 'alerts'} not notified one by one"
        ), ""
    if info.summary:
        try:
            made = one_line(words.render(info.summary, summary_fields(intent, why)))
            if made:
                return made, ""
            problem = "its summary came to nothing"
        except TEMPLATE_FAULTS as e:
            problem = f"its summary could not be made: {one_line(str(e), 160)}"
    event = intent.event
    if not event:
        named = ", ".join(one_line(str(v), 60) for v in intent.instance.values())
        return one_line(f"{intent.rule}: {named}" if named else intent.rule), problem
    swept = sweeps.parent_group_of(intent) if sweeps.whole_group(intent) else None
    if swept is not None:
        return sweeps.subject(swept, run_name(event)), problem
    subject = default_subject(
        name=run_name(event), status=_text(event, "Status"), ran=ran(event), why=why, rule=intent.rule
    )
    return subject, problem


def _annotations(intent: Intent, info: RuleInfo, words: Words, notes: list[str]) -> Mapping[str, str]:
    made: dict[str, str] = {}
    fields = summary_fields(intent, cause_of(intent.event)) if info.annotations else {}
    for name, source in info.annotations.items():
        try:
            made[name] = shown(words.render(source, fields), 2000)
        except TEMPLATE_FAULTS as e:
            notes.append(f"The rule's annotation '{name}' could not be made: {one_line(str(e), 160)}.")
    return made


def _run(intent: Intent, facts: RunFacts) -> c.Run | None:
    event = intent.event
    if not intent.run_id:
        return None
    reason = _text(event, "Reason")
    attempt = _whole(event.get("Attempt"))
    return c.Run(
        id=one_line(intent.run_id, 300), name=_text(event, "DisplayName") or one_line(intent.run_id, 300),
        experiment=_text(event, "ExperimentName"), workspace=_text(event, "WorkspaceName"), type=_text(event, "RunType"),
        target=_text(event, "Target"), owner=_text(event, "TriggeringUserName"), owner_email=_text(event, "OwnerEmail"),
        status=_text(event, "Status"), said=_text(event, "OriginalStatus"),
        reason="" if reason == "unknown" else reason.replace("_", " "), message=_body(event, "Message", 1500),
        code=_text(event, "ErrorCode"), log=_tail(event), url=web_link(event.get("Url")),
        attempt=attempt, attempts_known=max(attempt, facts.attempts_known), retry=event.get("WillRetry") is True,
        started=moment(event.get("StartTime")), ended=moment(event.get("EndTime")), ran=ran(event),
        tags=_mapping(event.get("Tags")), properties=_mapping(event.get("Properties")),
        history=facts.history, more_history=facts.more_history, attempts=facts.attempts, last_success=facts.last_success,
        nearby=facts.nearby,
    )  # fmt: skip


def _rows(intent: Intent) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], int]:
    rows = intent.rows[:ROWS]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))[:8]
    cells = tuple(tuple(one_line(_cell(row.get(name)), 60) for name in columns) for row in rows)
    total = max(intent.details.rows, len(intent.rows))
    return tuple(one_line(n, 40) for n in columns), cells, total - len(rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(_said(value))


def _said(value: object) -> object:
    """A timespan of a query in words; it is stored as KQL's text."""
    length = read_kql_text(value) if isinstance(value, str) else None
    return spoken(length) if length is not None else value


def bunched(lines: Sequence[c.Line], examples: int = 3) -> tuple[tuple[c.Bunch, ...], int]:
    """Lines by their cause, the ten most frequent, and how many are in none of them."""
    top = Counter(line.cause for line in lines).most_common(10)
    bunches = tuple(
        c.Bunch(cause=cause, count=n, examples=tuple([line for line in lines if line.cause == cause][:examples]))
        for cause, n in top
    )
    return bunches, len(lines) - sum(n for _, n in top)


def _backfill(intent: Intent, facts: RunFacts) -> c.Summary | None:
    expired = intent.details.expired
    if intent.kind is not IntentKind.SUMMARY or expired is None:
        return None
    bunches, more = bunched(facts.expired, LISTED)
    return c.Summary(
        kind="backfill", count=expired.count, experiments=0, since=expired.oldest, until=expired.newest,
        window=None, mails=0, bunches=bunches, more=more,
    )  # fmt: skip


def links(intent: Intent, presentation: Presentation) -> c.Links:
    """Links of a mail: the run's own, and tocsin's pages."""
    base, history = presentation.base_url, run_page(presentation.base_url, intent.run_id)
    own = {"notifications": f"{base}/notifications", "tocsin": f"{base}/"} if base else {}
    if base and intent.kind is not IntentKind.ADMIN:
        own["rule"] = rule_page(base, intent.rule)
    link = web_link(intent.event.get("Url"))
    if link and not is_allowed(link, presentation.allowed_hosts):
        own["elsewhere"] = as_text(link)
        link = ""
    return c.Links(run=link or history, history=history, **own)


def _acknowledge(intent: Intent, address: str, presentation: Presentation, now: datetime) -> str:
    """The link by which the reader takes the alert; '' where there is none, or nothing to take."""
    open_ = intent.kind in (IntentKind.FIRED, IntentKind.REPEATED, IntentKind.ESCALATED)
    if presentation.links is None or not presentation.base_url or not open_:
        return ""
    alert = alert_id(intent.rule, instance_key(intent.instance), intent.occurrence)
    permit = Permit(alert=alert, kind=ActionKind.ACKNOWLEDGE, by=address, expires=now + LASTS)
    return f"{presentation.base_url}/do/{presentation.links.sign(permit)}"


def _mute(draft: NotificationDraft, presentation: Presentation, now: datetime) -> str:
    """The link by which the reader unsubscribes from the rule; '' where she may not, or there is none."""
    if presentation.links is None or not presentation.base_url or not draft.recipient.personal:
        return ""
    experiment = str(draft.intent.event.get("ExperimentName") or "")[:200]
    permit = Unsubscribe(
        rule=draft.intent.rule, by=draft.recipient.address, expires=now + UNSUBSCRIBES, experiment=experiment
    )
    return f"{presentation.base_url}/do/{presentation.links.sign(permit)}"


def late_by(intent: Intent) -> timedelta | None:
    """How late it is notified, where that is more than 5 min."""
    if intent.kind is not IntentKind.FIRED:
        return None
    since = intent.event_time
    if waiting.form_of(intent):
        since = waiting.due_of(intent)
    late = intent.at - (since or intent.at)
    return late if late > LATE else None


def says(
    run: c.Run | None, final: bool, late: timedelta | None, happened: datetime | None, zone: ZoneInfo, now: datetime
) -> c.Says:
    """What a mail says of its run in phrases."""
    notified_late = f"notified {length(late)} late" if late else ""
    at = "" if happened is None else f"{at_day_time(happened, now, zone)} ({zone_name(zone)})"
    if run is None:
        return c.Says(
            preheader=" · ".join(filter(None, [at and f"seen {at}", notified_late])), happened=f"seen {at}" if at else "",
            attempt="", where="", nearby="", last_success="", late=notified_late,
        )  # fmt: skip
    after = f" after {length(run.ran)}" if run.ran is not None and run.status in TERMINAL else ""
    notified = f"{did(run.status)}{f' {at}' if at else ''}{after}" if run.status else ""
    attempts = _attempts(run, final)
    where = " · ".join(isolate(x) for x in (run.owner or run.owner_email, run.target, run.workspace) if x)
    last = f"last success {day_time(run.last_success, now, zone)}" if run.last_success else ""
    nearby = _nearby(run)
    short = _only(run)
    on = f"on {isolate(run.target)}" if run.target else ""
    return c.Says(
        preheader=" · ".join(filter(None, [notified_late, attempts, on, last, short])), happened=notified, attempt=attempts,
        where=where, nearby=nearby, last_success=last, late=notified_late,
    )  # fmt: skip


def _attempts(run: c.Run, final: bool) -> str:
    if run.attempt <= 0 or (run.attempt == 1 and run.attempts_known <= 1 and not run.retry):
        return ""
    if run.retry:
        return f"try {run.attempt}, another one follows"
    if run.attempt == run.attempts_known and run.status == "Failed" and (final or run.attempt > 1):
        return f"{run.attempt} of {run.attempts_known} attempts failed"
    return f"try {run.attempt} of {run.attempts_known}"


def _only(run: c.Run) -> str:
    if run.nearby is None:
        return ""
    if run.nearby.everywhere == 0:
        return "only you"
    return f"{run.nearby.target} others there" if run.nearby.target else f"{run.nearby.everywhere} others elsewhere"


def _nearby(run: c.Run) -> str:
    """Whether others failed too."""
    if run.nearby is None:
        return ""
    target, everywhere = run.nearby.target, run.nearby.everywhere
    if everywhere == 0:
        return "Only this run: no other failed in the last 30 min"
    if run.target and target:
        other = f"{target} {'other' if target == 1 else 'others'} failed on {isolate(run.target)} in the last 30 min"
        return f"{other}, {everywhere} in all" if everywhere > target else other
    other = f"{everywhere} {'other' if everywhere == 1 else 'others'} failed in the last 30 min"
    return f"{other}, none on {isolate(run.target)}" if run.target else other


def mail(draft: NotificationDraft, facts: RunFacts, presentation: Presentation, now: datetime, words: Words) -> c.Mail:
    """Everything that the letter's template sees."""
    intent, info, reader = draft.intent, draft.info, draft.recipient
    why = cause_of(intent.event)
    subject, problem = title(intent, info, words, why)
    notes = [reader.note] if reader.note else []
    if problem:
        notes.append(f"Rule {intent.rule}: {problem}.")
    late = late_by(intent)
    rule = c.Rule(
        name=intent.rule, description=shown(info.description, 2000), runbook=web_link(info.runbook),
        owner=one_line(info.owner), annotations=_annotations(intent, info, words, notes),
    )  # fmt: skip
    columns, rows, more = _rows(intent)
    run = _run(intent, facts)
    zone = waiting.zone_of(intent) or reader.zone or presentation.zone
    swept = sweeps.parent_group_of(intent, presentation.base_url, presentation.allowed_hosts)
    spoken = says(run, info.final, late, intent.event_time or intent.at, zone, now)
    if swept is not None and sweeps.whole_group(intent):
        spoken = sweeps.says(swept, spoken, intent.event_time or intent.at, zone, now)
    if waiting.form_of(intent):
        spoken = waiting.says(intent, run, spoken, zone, now)
    elif ended := _ended(intent):
        spoken = replace(spoken, ended=ended)
    spoken = replace(spoken, since=_ended_since(intent, facts, zone, now))
    return c.Mail(
        alert=c.Alert(
            rule=intent.rule, kind=intent.kind.value, severity=intent.severity.word, title=subject,
            cause=why, why=intent.why.value, value=intent.value, at=intent.at,
            happened=intent.event_time, late=late, labels=intent.labels, fields=intent.fields, instance=intent.instance,
            details=intent.details,
        ),
        run=run, rule=rule, event=intent.event, columns=columns, rows=rows, more_rows=more,
        others=_others(draft.notified[1:], words), summary=_backfill(intent, facts), links=replace(
            links(intent, presentation), acknowledge=_acknowledge(intent, reader.address, presentation, now), mute=_mute(draft, presentation, now)
        ),
        reader=c.Reader(
            address=reader.address, name=reader.name, receiver=reader.receiver, zone=zone,
            because=because(draft),
        ),
        says=spoken, parent_group=swept, whole_group=sweeps.whole_group(intent),
        notes=tuple(notes), now=now, lines=_lines(intent),
    )  # fmt: skip


def _ended(intent: Intent) -> str:
    """How the alert about an event ended, where another event ended it."""
    by = intent.details.ended_by
    return one_line(redact(by.text), 300) if intent.kind is IntentKind.RESOLVED and by is not None else ""


def _ended_since(intent: Intent, facts: RunFacts, zone: ZoneInfo, now: datetime) -> str:
    """That the run has ended otherwise since the event of which a late notification is: a Failed can arrive after the
    run's Completed.
    """
    if intent.kind is not IntentKind.FIRED or intent.event_time is None or not facts.history:
        return ""
    last = facts.history[-1]
    if last.status not in TERMINAL or last.status == _text(intent.event, "Status") or last.at <= intent.event_time:
        return ""
    return f"The run has {did(last.status)} since, {at_day_time(last.at, now, zone)} ({zone_name(zone)})."


def _lines(intent: Intent) -> tuple[str, ...]:
    health = intent.details.health
    return tuple(shown(redact(line), 1000) for line in (health.lines if health is not None else ())[:50])


def _others(notified: Sequence[tuple[Intent, RuleInfo]], words: Words) -> tuple[c.Other, ...]:
    return tuple(
        c.Other(rule=i.rule, severity=i.severity.word, title=title(i, info, words, cause_of(i.event))[0])
        for i, info in notified
    )


def because(draft: NotificationDraft) -> str:
    """Why the reader gets it, one sentence."""
    intent, how = draft.intent, draft.recipient.because
    if intent.kind is IntentKind.ADMIN:
        return f"You get this because tocsin's own health {how}."
    return f"You get this because rule {intent.rule} {how}."

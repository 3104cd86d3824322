"""Values that notify's tests share."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from tocsin.config.yaml.document import load, parse
from tocsin.errors import Problem
from tocsin.model.alert import Why
from tocsin.model.details import NONE, Details
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify.context import Mail
from tocsin.notify.render.mail import MailRenderer
from tocsin.notify.render.templates import Templates
from tocsin.notify.render.views import Presentation, mail
from tocsin.notify.routing.models import ReceiverModel
from tocsin.notify.routing.oncall_file import Context, OnCallFile, OnCallRules, read_files
from tocsin.notify.routing.tree import Route
from tocsin.notify.values import NO_FACTS, NotificationDraft, Recipient, RunFacts

TEMPLATES = Path(__file__).parents[3] / "templates"
NOW = datetime(2026, 11, 24, 7, 15, 3, tzinfo=UTC)
HAPPENED = datetime(2026, 11, 24, 7, 15, tzinfo=UTC)
INFO = RuleInfo(name="run-failed", version="v1", summary="")
BUDAPEST = ZoneInfo("Europe/Budapest")

EVENT: Mapping[str, object] = {
    "EventId": "e1",
    "Source": "tests",
    "TimeGenerated": HAPPENED.isoformat(),
    "IngestedAt": HAPPENED.isoformat(),
    "RunId": "sweep-42",
    "JobKey": "sweep-42",
    "Attempt": 0,
    "WillRetry": False,
    "Status": "Failed",
    "OriginalStatus": "Failed",
    "Reason": "out_of_memory",
    "Message": "CUDA out of memory",
    "ErrorCode": "",
    "LogTail": "epoch 17\nepoch 18",
    "ExperimentName": "churn",
    "WorkspaceName": "",
    "RunType": "",
    "DisplayName": "",
    "Target": "aks-eu",
    "TriggeringUserName": "Ágnes",
    "OwnerEmail": "agnes@example.org",
    "Tags": {},
    "Properties": {},
    "StartTime": "2026-11-24T01:03:00Z",
    "EndTime": HAPPENED.isoformat(),
    "DurationMs": 22_320_000,
    "Url": "https://ml.example.org/runs/sweep-42",
}


def oncall(text: str = "", context: Context = Context()) -> OnCallRules:  # noqa: B008 - it is frozen
    """What an on-call file of this text says, at which nothing may be wrong."""
    document = load(text, "oncall.yaml")
    problems: list[Problem] = []
    files = [(document, parse(OnCallFile, document))] if document.data is not None else []
    found = read_files(files, context, problems)
    assert found is not None, [str(p) for p in problems]
    return found


def routed(
    receiver: str, *, always: tuple[str, ...] = (), receivers: Mapping[str, ReceiverModel] | None = None
) -> OnCallRules:
    """Rules whose route is one receiver, and whom it always notifies."""
    return OnCallRules(root=Route(receivers=(receiver,)), always=always, receivers=receivers or {})


def intent(
    rule: str = "run-failed",
    *,
    kind: IntentKind = IntentKind.FIRED,
    severity: Severity = Severity.ERROR,
    run: str = "sweep-42",
    at: datetime = NOW,
    seq: int = 4,
    occurrence: str = "o1",
    details: Details = NONE,
    labels: Mapping[str, object] | None = None,
    event_time: datetime | None = HAPPENED,
    **columns: object,
) -> Intent:
    """An intent about a failed run, or with ``run=''`` about none."""
    event = {**EVENT, "RunId": run, **columns} if run else {}
    return Intent(
        rule=rule,
        rule_version="v1",
        instance={"RunId": run} if run else {"ExperimentName": "churn"},
        occurrence=occurrence,
        kind=kind,
        severity=severity,
        why=Why.FIRST,
        labels=labels or {},
        run_id=run,
        event=event,
        details=details,
        commit_seq=seq,
        at=at,
        event_time=event_time,
    )


def recipient(address: str = "agnes@example.org", **more: object) -> Recipient:
    """Somebody in Budapest."""
    values: dict[str, object] = {"receiver": "owner", "because": "notifies the run’s owner", "zone": BUDAPEST, **more}
    return Recipient(address=address, **values)  # type: ignore[arg-type]


def draft(*notified: Intent, to: str = "agnes@example.org", info: RuleInfo = INFO) -> NotificationDraft:
    """A letter about these intents."""
    return NotificationDraft(recipient=recipient(to), notified=tuple((i, info) for i in notified or (intent(),)))


@lru_cache
def renderer(*directories: Path) -> MailRenderer:
    """The packaged templates, after these directories."""
    return MailRenderer(
        templates=Templates([*directories, TEMPLATES]),
        presentation=Presentation(base_url="https://tocsin.example.org", allowed_hosts=("ml.example.org",)),
        sender="tocsin <tocsin@example.org>",
        keep_trying=timedelta(hours=24),
    )


def seen(notified: Intent | None = None, facts: RunFacts = NO_FACTS, info: RuleInfo = INFO) -> Mail:
    """What a template sees of ``notified``."""
    made = renderer()
    return mail(draft(notified or intent(), info=info), facts, made.presentation, NOW, made.templates.words)

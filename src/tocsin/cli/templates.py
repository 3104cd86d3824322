"""templates: how mails look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, fail, open_home, print_json, say, show, visible

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.notify.render.templates import Rendered

templates = typer.Typer(no_args_is_help=True, help="Mail templates.")

EXAMPLE: dict[str, Any] = {
    "RunId": "churn-2041", "RootRunId": "churn-2041", "JobKey": "churn-nightly", "Attempt": 3, "WillRetry": False,
    "Status": "Failed", "OriginalStatus": "FAILED", "Reason": "out_of_memory", "Message": "CUDA out of memory",
    "LogTail": "epoch 11/40  loss 0.312\nepoch 12/40  loss 0.309\ntorch.OutOfMemoryError: CUDA out of memory",
    "ExperimentName": "churn", "WorkspaceName": "ranking", "Target": "aks-eu", "TriggeringUserName": "Anna",
    "OwnerEmail": "anna@example.org", "Tags": {"team": "ranking"}, "Properties": {}, "DurationMs": 22_320_000,
    "Url": "https://runs.example.org/churn-2041", "Source": "example", "EventId": "example", "Consumer": "events",
}  # fmt: skip
"""The run of a preview where the project directory has none."""


@templates.command("list")
def templates_list(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """List templates and where each comes from."""
    from tocsin.notify.render.templates import Templates

    place = open_home(home)
    directories = place.template_dirs()
    rows = []
    for name in Templates(directories).names():
        files = sorted({p.name for d in directories for p in d.glob(f"{name}.*") if p.suffix == ".j2"})
        first = [place.shown(next(d / f for d in directories if (d / f).is_file())) for f in files]
        rows.append({"Template": name, "Files": first})
    show([{**r, "Files": ", ".join(r["Files"])} for r in rows] if not as_json else rows, ("Template", "Files"), as_json,
         "No templates.")  # fmt: skip


@templates.command("preview")
def templates_preview(
    name: Annotated[str, typer.Argument(help="The template, or '' for the default one.")] = "",
    html: Annotated[bool, typer.Option("--html", help="Print the HTML instead of the text.")] = False,
    run: Annotated[str, typer.Option(help="The run that the mail is about; default the last failed one.")] = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Render a template with a real stored run."""
    place = open_home(home)
    from tocsin.notify.render.templates import Templates

    known = Templates(place.template_dirs()).names()
    if name and name not in known:
        fail(f"there is no template '{name}'", f"known are {', '.join(known)}")
    made = _rendered(place, name, run)
    if as_json:
        print_json({"Subject": made.subject, "Text": made.text, "Html": made.html, "Problem": made.problem})
    elif html:
        print(made.html)
    else:
        print(f"Subject: {visible(made.subject)}\n\n{visible(made.text)}")
    if made.problem:
        fail(made.problem)


def _rendered(place: Home, name: str, run: str) -> Rendered:
    from zoneinfo import ZoneInfo

    from tocsin.clock import SystemClock
    from tocsin.model.alert import Why
    from tocsin.model.intent import Intent, IntentKind, RuleInfo
    from tocsin.model.statuses import Severity
    from tocsin.notify.context import Change
    from tocsin.notify.render.templates import Templates
    from tocsin.notify.render.views import Presentation, mail
    from tocsin.notify.text import moment
    from tocsin.notify.values import NotificationDraft, Recipient, RunFacts

    settings = place.settings()
    now = SystemClock().now()
    event, events = _stored(place, run)
    if event is None:
        say("No run has failed here yet: this is an example.")
        event = {**EXAMPLE, "TimeGenerated": now, "IngestedAt": now}
    at = moment(event.get("TimeGenerated")) or now
    info = RuleInfo(name="preview", version="preview", summary="", template=name)
    intent = Intent(
        rule="preview", rule_version="preview", instance={"RunId": event["RunId"]}, occurrence="preview",
        kind=IntentKind.FIRED, severity=Severity.ERROR, why=Why.FIRST, run_id=str(event["RunId"]),
        root_run_id=str(event.get("RootRunId") or event["RunId"]), event=event, commit_seq=0, at=now, event_time=at,
    )  # fmt: skip
    reader = Recipient(address="you@localhost", receiver="preview", because="asked for a preview")
    history = tuple(
        Change(status=e["Status"], at=when, attempt=e.get("Attempt") or 0)
        for e in events
        if (when := moment(e.get("TimeGenerated"))) is not None
    )
    look = Presentation(base_url=settings.http.url, zone=ZoneInfo(settings.timezone))
    made = Templates(place.template_dirs())
    seen = mail(
        NotificationDraft(recipient=reader, notified=((intent, info),)),
        RunFacts(history=history),
        look,
        now,
        made.words,
    )
    return made.render(name, seen)


def _stored(place: Home, run: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The event to notify of and the events of its run."""
    from tocsin.app.runs.find import RunsAsked
    from tocsin.cli.client import asking

    with asking(place) as asked:
        if not run:
            failed = asked.runs(RunsAsked(limit=1, status="Failed"))
            if not failed:
                return None, []
            run = failed[0]["RunId"]
        found = asked.run(run)
    if found is None or not found["events"]:
        fail(f"there is no run '{run}'", "tocsin runs list")
    return found["events"][-1], found["events"]

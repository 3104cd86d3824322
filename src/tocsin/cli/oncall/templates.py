"""templates: how mails look."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, fail, open_home, print_json, say, show, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tocsin.config.project.home import Home
    from tocsin.notify.render.templates import Rendered
    from tocsin.notify.values import NotificationDraft

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
LISTED = 10
"""Runs of the digest in the gallery."""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>tocsin: messages</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body{font:1rem system-ui;margin:1rem auto;max-width:44rem;padding:0 1rem}iframe{width:100%;height:36rem;border:1px solid
#8888}pre{white-space:pre-wrap}</style><h1>Messages of this project</h1>
"""


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
    gallery: Annotated[bool, typer.Option("--gallery", help="Print one HTML page of several messages.")] = False,
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
    preview = _Preview(place, run)
    if gallery:
        print(_page(preview, [name] if name else known))
        return
    made = preview.rendered(name)
    if as_json:
        print_json({"Subject": made.subject, "Text": made.text, "Html": made.html, "Problem": made.problem})
    elif html:
        print(made.html)
    else:
        print(f"Subject: {visible(made.subject)}\n\n{visible(made.text)}")
    if made.problem:
        fail(made.problem)


class _Preview:
    """Messages about one run, by the templates of a project directory."""

    def __init__(self, place: Home, run: str) -> None:
        from zoneinfo import ZoneInfo

        from tocsin.clock import SystemClock
        from tocsin.notify.render.mail import MailRenderer
        from tocsin.notify.render.templates import Templates
        from tocsin.notify.render.views import Presentation

        settings = place.settings()
        self._place, self._now = place, SystemClock().now()
        look = Presentation(base_url=settings.http.url, zone=ZoneInfo(settings.timezone))
        self._renderer = MailRenderer(
            templates=Templates(place.template_dirs()), presentation=look, sender="tocsin <tocsin@localhost>",
            keep_trying=timedelta(hours=24),
        )  # fmt: skip
        event, self._events = _stored(place, run)
        if event is None:
            say("No run has failed here yet: this is an example.")
            event = {**EXAMPLE, "TimeGenerated": self._now, "IngestedAt": self._now}
        self._event = event

    def rendered(self, name: str, kind: str = "fired", severity: str = "error") -> Rendered:
        """One alert, by template ``name``."""
        from tocsin.notify.context import Change
        from tocsin.notify.render.mail import notification_of
        from tocsin.notify.text import moment
        from tocsin.notify.values import RunFacts

        history = tuple(
            Change(status=e["Status"], at=when, attempt=e.get("Attempt") or 0)
            for e in self._events
            if (when := moment(e.get("TimeGenerated"))) is not None
        )
        draft = self._draft(self._event, name, kind, severity)
        notification = notification_of(draft, RunFacts(history=history), None, self._renderer, self._now)
        made = self._renderer.templates.render(notification.template, notification.seen)
        return replace(made, subject=notification.prefix + (notification.subject or made.subject))

    def digest(self) -> Rendered:
        """The last failed runs in one message."""
        from tocsin.notify.notifier import BASELINE_CAP
        from tocsin.notify.render.mail import by_cap, hold, sum_up

        drafts = [self._draft(event, "summary") for event in _failed(self._place, LISTED) or [self._event]]
        held = [hold(draft, self._now, self._renderer, self._now) for draft in drafts]
        made = sum_up(held, drafts[0].recipient, by_cap(BASELINE_CAP), self._renderer, self._now)
        return self._renderer.templates.render("summary", made.seen)

    def _draft(
        self, event: dict[str, Any], name: str, kind: str = "fired", severity: str = "error"
    ) -> NotificationDraft:
        from tocsin.model.alert import Why
        from tocsin.model.intent import Intent, IntentKind, RuleInfo
        from tocsin.model.statuses import Severity
        from tocsin.notify.text import moment
        from tocsin.notify.values import NotificationDraft, Recipient

        run = str(event["RunId"])
        intent = Intent(
            rule="preview", rule_version="preview", instance={"RunId": run}, occurrence="preview", kind=IntentKind(kind),
            severity=Severity.of(severity), why=Why.RECOVERED if kind == "resolved" else Why.FIRST, run_id=run,
            root_run_id=str(event.get("RootRunId") or run), event=event, commit_seq=0, at=self._now,
            event_time=moment(event.get("TimeGenerated")) or self._now,
        )  # fmt: skip
        reader = Recipient(address="you@localhost", receiver="preview", because="asked for a preview")
        info = RuleInfo(name="preview", version="preview", summary="", template=name)
        return NotificationDraft(recipient=reader, notified=((intent, info),))


def _page(preview: _Preview, names: Sequence[str]) -> str:
    """Every kind of message by the template of alerts, the digest, and templates of the project's own."""
    shown = [
        ("It fires", preview.rendered("")),
        ("It fires, critical", preview.rendered("", severity="critical")),
        ("It is over", preview.rendered("", "resolved")),
        ("A digest", preview.digest()),
    ]
    shown += [(f"Template {name}", preview.rendered(name)) for name in names if name not in ("run", "summary", "admin")]
    parts = [
        f"<h2>{escape(title)}</h2><p>Subject: <b>{escape(made.subject)}</b></p>"
        + (f"<p role=alert>{escape(made.problem)}</p>" if made.problem else "")
        + f'<iframe sandbox title="{escape(title)}" srcdoc="{escape(made.html)}"></iframe>'
        f"<details><summary>As text</summary><pre>{escape(made.text)}</pre></details>"
        for title, made in shown
    ]
    return _PAGE + "\n".join(parts)


def _failed(place: Home, most: int) -> list[dict[str, Any]]:
    """The last events of the runs that failed last."""
    from tocsin.app.runs.find import RunsAsked
    from tocsin.cli.client import asking

    with asking(place) as asked:
        found = [asked.run(row["RunId"]) for row in asked.runs(RunsAsked(limit=most, status=("Failed",)))]
    return [each["events"][-1] for each in found if each is not None and each["events"]]


def _stored(place: Home, run: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The event to notify of and the events of its run."""
    from tocsin.app.runs.find import RunsAsked
    from tocsin.cli.client import asking

    with asking(place) as asked:
        if not run:
            failed = asked.runs(RunsAsked(limit=1, status=("Failed",)))
            if not failed:
                return None, []
            run = failed[0]["RunId"]
        found = asked.run(run)
    if found is None or not found["events"]:
        fail(f"there is no run '{run}'", "tocsin runs list")
    return found["events"][-1], found["events"]

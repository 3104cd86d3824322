"""Writes docs/images/mail.png: a mail as a phone shows it, from the real templates. Needs Chromium.

python -m docs.make_mail_picture [--dark] [--html FILE]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tocsin.config.content import packaged
from tocsin.model.alert import Why
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify.context import Change, Nearby, RunAttempt
from tocsin.notify.render.templates import Templates
from tocsin.notify.render.views import Presentation, mail
from tocsin.notify.values import NotificationDraft, Recipient, RunFacts

PICTURE = Path(__file__).parent / "images" / "mail.png"
WIDTH, HEIGHT, SCALE = 360, 880, 2
FAILED = datetime(2026, 11, 24, 7, 15, tzinfo=UTC)
LOG = """\
epoch 18/40 | loss 0.1821 | 1.91 it/s
saving checkpoint ckpt-18.pt
Traceback (most recent call last):
  File "/app/train.py", line 214, in step
    loss.backward()
torch.cuda.OutOfMemoryError: CUDA out of memory.
Tried to allocate 2.50 GiB"""


def example() -> str:
    """The HTML of the mail in the picture."""
    event = {
        "RunId": "sweep-42", "JobKey": "churn", "Attempt": 3, "WillRetry": False, "Status": "Failed",
        "Reason": "out_of_memory", "Message": "CUDA out of memory", "LogTail": LOG, "ExperimentName": "churn",
        "DisplayName": "run sweep-42", "Target": "aks-eu", "TriggeringUserName": "Ágnes",
        "OwnerEmail": "agnes@example.org", "StartTime": (FAILED - timedelta(hours=6, minutes=12)).isoformat(),
        "EndTime": FAILED.isoformat(), "Url": "https://ml.example.org/runs/sweep-42",
    }  # fmt: skip
    intent = Intent(
        rule="run-failed", rule_version="1", instance={"RunId": "sweep-42"}, occurrence="1", kind=IntentKind.FIRED,
        severity=Severity.ERROR, why=Why.FIRST, run_id="sweep-42", event=event, commit_seq=1, at=FAILED,
        event_time=FAILED,
    )  # fmt: skip
    starts = [FAILED - timedelta(hours=h) for h in (20, 14, 6.2)]
    ends = [FAILED - timedelta(hours=18), FAILED - timedelta(hours=7), FAILED]
    facts = RunFacts(
        history=tuple(
            Change(status=s, at=FAILED - timedelta(minutes=m), attempt=3)
            for s, m in (("Queued", 374), ("Running", 372), ("Failed", 0))
        ),
        attempts=tuple(
            RunAttempt(run="sweep-42", attempt=n + 1, status="Failed", started=starts[n], ended=ends[n])
            for n in range(3)
        ),
        attempts_known=3,
        last_success=FAILED - timedelta(hours=29),
        nearby=Nearby(target=0, everywhere=0),
    )
    reader = Recipient(
        address="agnes@example.org",
        receiver="owner",
        because="notifies the run’s owner",
        zone=ZoneInfo("Europe/Budapest"),
    )
    info = RuleInfo(name="run-failed", version="1", summary="", final=True, runbook="https://wiki.example.org/training")
    templates = Templates([packaged() / "templates"])
    look = Presentation(base_url="https://tocsin.example.org", allowed_hosts=("ml.example.org",))
    seen = mail(NotificationDraft(recipient=reader, notified=((intent, info),)), facts, look, FAILED, templates.words)
    return templates.render("", seen).html


def main() -> int:
    """Write the picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dark", action="store_true", help="as a dark phone shows it")
    options.add_argument("--html", type=Path, help="write the HTML there, too")
    given = options.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("no Chromium here; Debian and Ubuntu: apt-get install chromium", file=sys.stderr)
        return 1
    html = example()
    if given.html:
        given.html.write_text(html, encoding="utf-8")
    PICTURE.parent.mkdir(exist_ok=True)
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if given.dark else []
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "mail.html"
        page.write_text(html, encoding="utf-8")
        subprocess.run([
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *dark,
            f"--force-device-scale-factor={SCALE}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={PICTURE}",
            page.as_uri(),
        ], check=True, capture_output=True)  # fmt: skip
    print(f"written: {PICTURE.relative_to(Path.cwd()) if PICTURE.is_relative_to(Path.cwd()) else PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

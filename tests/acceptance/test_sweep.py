"""A sweep, from a webhook to its mails: one for all of its runs, again as it gets worse, and in full; over kill -9s
in between.
"""

import json
from datetime import UTC, datetime

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Tocsin
from tests.servers.smtp import SmtpServer

RULES = """\
rules:
  - name: sweep-failing
    when: {status: Failed}
    collapse: {to: root, when: {failed: 20%, at_least: 3}, update: [50%, end]}
    notify: {to: [ops@example.org], only: true}
"""
TO = "ops@example.org"


def post(tocsin: Tocsin, run: str, status: str, **data: str) -> None:
    """POST one event; a run of the sweep is named t0, t1, …"""
    root = {"RootRunId": "sweep"} if run.startswith("t") else {}
    event = {
        "specversion": "1.0", "type": "tocsin.run.status", "source": "/trainer", "id": f"{run}-{status}",
        "time": datetime.now(UTC).isoformat(), "data": {"RunId": run, "Status": status, **root, **data},
    }  # fmt: skip
    answer = tocsin.send(json.dumps(event).encode())
    assert answer.status == 202, answer


def test_a_sweep_is_mailed_as_one_and_a_kill_neither_loses_nor_repeats(
    make_tocsin: MakeTocsin, smtp: SmtpServer
) -> None:
    tocsin = make_tocsin(smtp=smtp, rules=RULES).start()
    post(tocsin, "sweep", "Running", ExperimentName="churn")
    for n in range(10):
        post(tocsin, f"t{n}", "Running")
    for n in range(2):
        post(tocsin, f"t{n}", "Failed", Message="CUDA out of memory")
    tocsin.idle()
    tocsin.kill()
    tocsin.start()
    assert [] == smtp.messages(TO)
    post(tocsin, "t2", "Failed", Message="CUDA out of memory")
    smtp.wait_for(1, to=TO)
    tocsin.idle()  # a mail whose answer is on its way may repeat
    tocsin.kill()
    tocsin.start()
    post(tocsin, "t2", "Failed", Message="CUDA out of memory")  # the same event again
    post(tocsin, "t3", "Failed", Reason="timeout")
    post(tocsin, "t4", "Failed", Reason="timeout", Url="https://ml.example.org/t4")
    smtp.wait_for(2, to=TO)
    post(tocsin, "sweep", "Failed", Message="too many trials failed")
    post(tocsin, "lone", "Failed", ExperimentName="fraud", Message="boom")
    mails = smtp.wait_for(4, to=TO)
    tocsin.idle()
    assert 4 == len(smtp.messages(TO))
    assert {
        "sweep churn: 3 of 10 runs failed: CUDA out of memory (3)",
        "sweep churn: 5 of 10 runs failed: CUDA out of memory (3), timeout (2)",
        "sweep churn failed: 5 of 10 runs failed: CUDA out of memory (3), timeout (2)",
        "fraud failed: boom",
    } == {mail.subject.strip() for mail in mails}
    assert any("https://ml.example.org/t4" in mail.text for mail in mails)
    alerts = tocsin.query("Alerts | summarize n = count() by To, RunId | order by RunId asc, To asc")
    assert [("fired", "lone"), ("closed", "sweep"), ("collapsed", "sweep"), ("fired", "sweep")] == [
        (row["To"], row["RunId"]) for row in alerts if not row["RunId"].startswith("t")
    ]
    assert ["collapsed"] * 5 == [row["To"] for row in alerts if row["RunId"].startswith("t")]

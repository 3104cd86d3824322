"""On call through the whole program and a real SMTP server: groups, an inhibition, an escalation that is killed with -9
in mid-step, and an acknowledgement by the link of a mail.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Tocsin
from tests.servers.eventually import eventually
from tests.servers.recording import RecordingServer
from tests.servers.smtp import Received, SmtpServer

RULES = """
rules:
  - name: run-failed
    when: {status: Failed, where: "ExperimentName !in ('cluster', 'serving')"}
    fields: [ExperimentName, Target]
    severity: error
    summary: "{{ ExperimentName }} failed"
  - name: cluster-down
    when: {status: Failed, where: "ExperimentName == 'cluster'"}
    fields: [ExperimentName, Target]
    severity: error
    summary: "{{ Target }} is down"
  - name: serving-failed
    when: {status: Failed, where: "ExperimentName == 'serving'"}
    fields: [ExperimentName, Target]
    severity: critical
    summary: "serving failed"
"""
ONCALL = """
people:
  - {name: anna, email: anna@example.org}
  - {name: bela, email: bela@example.org}
receivers:
  - {name: leads, email: leads@example.org}
  - {name: on-call, schedule: primary}
  - {name: owner, email: leads@example.org}
schedules:
  - {name: primary, timezone: UTC, rotation: {members: anna}}
route:
  receiver: leads
  group_by: [rule, ExperimentName]
  group_interval: 2s
  routes: [{match: {severity: ">= critical"}, escalation: page}]
inhibit:
  - {source: {rule: cluster-down}, target: {rule: run-failed}, equal: [Target], hold: 3s}
escalations:
  - name: page
    steps:
      - {notify: on-call}
      - {after: 3s, notify: bela}
      - {after: 10h, notify: head@example.org}
"""
LEADS, ANNA, BELA = "leads@example.org", "anna@example.org", "bela@example.org"


@pytest.fixture
def tocsin(make_tocsin: MakeTocsin, smtp: SmtpServer) -> Tocsin:
    made = make_tocsin(smtp=smtp, rules=RULES)
    made.write("rules/oncall/team.yaml", ONCALL)
    checked = made.run("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return made.start()


def fail(tocsin: Tocsin, *runs: str, experiment: str = "churn", target: str = "gpu-1", status: str = "Failed") -> None:
    now = datetime.now(UTC).isoformat()
    events = [
        {
            "specversion": "1.0", "type": "tocsin.run.status", "id": f"{status}-{run}", "source": "/trainer", "time": now,
            "data": {
                "RunId": run, "Status": status, "ExperimentName": experiment, "Target": target,
                "Message": "out of memory",
            },
        }
        for run in runs
    ]  # fmt: skip
    answer = tocsin.send(json.dumps(events).encode())
    assert answer.status == 202, answer


def subjects(mails: Sequence[Received]) -> list[str]:
    return [mail.subject for mail in mails]


def sent_once(smtp: SmtpServer) -> None:
    """No Message-ID came twice."""
    assert [] == [name for name, n in Counter(str(m.message["Message-ID"]) for m in smtp.messages()).items() if n > 1]


def link_of(mail: Received) -> str:
    found = re.search(r'href="[^"]*?(/do/[^"]+)"', mail.html)
    assert found is not None, mail.html
    return found[1]


def test_a_group_is_one_mail_and_then_one_list(tocsin: Tocsin, smtp: SmtpServer) -> None:
    """The hold of the inhibition that may yet come is over first."""
    fail(tocsin, "r1")
    smtp.wait_for(1, to=LEADS)
    fail(tocsin, "r2", "r3", "r4")
    first, rest = smtp.wait_for(2, to=LEADS)
    assert ["churn failed", "3 alerts of 3 runs: out of memory"] == subjects([first, rest])
    tocsin.idle()
    assert 2 == len(smtp.messages())


def test_a_cluster_that_is_down_overtakes_its_consequences_and_what_is_left_is_one_list(
    tocsin: Tocsin, smtp: SmtpServer
) -> None:
    """One message for 300 consequences; when it ends one says how many of them are still wrong, and lists these."""
    fail(tocsin, *(f"r{n}" for n in range(300)))
    fail(tocsin, "node", experiment="cluster")
    assert ["gpu-1 is down"] == subjects(smtp.wait_for(1))
    (source,) = [a for a in tocsin.get("/api/v1/alerts/active").body["alerts"] if a["Rule"] == "cluster-down"]

    def suppressed() -> bool:
        shown = tocsin.get("/api/v1/alerts/active?limit=1000").body["alerts"]
        return {"inhibited"} == {a["Suppressed"] for a in shown if a["Rule"] == "run-failed"}

    eventually(suppressed, within=15)
    tocsin.kill()
    tocsin.start()
    tocsin.idle()
    assert 1 == len(smtp.messages()), subjects(smtp.messages())
    fail(tocsin, *(f"r{n}" for n in range(41, 300)), status="Running")
    with httpx.Client(base_url=tocsin.url, trust_env=False) as client:
        assert 200 == client.post(f"/api/v1/alerts/{source['AlertId']}/close", json={"by": "anna"}).status_code
    (_, rest) = smtp.wait_for(2)
    assert "41 of 300 still failed: out of memory" == rest.subject
    sent_once(smtp)


def test_an_escalation_outlives_kill_9_in_mid_step_and_a_link_ends_it(tocsin: Tocsin, smtp: SmtpServer) -> None:
    fail(tocsin, "r1", experiment="serving")
    (first,) = smtp.wait_for(1)
    assert ((ANNA,), True) == (first.rcpt_tos, "step 1" in first.text)
    eventually(lambda: tocsin.get("/api/v1/notifications?state=sent").body["notifications"])  # its 250 is written down
    for point in ("before_deliveries", "after_deliveries"):
        tocsin.kill()
        tocsin.begin(crash_at=f"{point}:1")  # the second step is due, or will be in seconds
        assert tocsin.died(within=60), f"{point} was not passed\n{tocsin.said()}"
    tocsin.start()
    (second,) = smtp.wait_for(1, to=BELA)
    sent_once(smtp)

    with httpx.Client(base_url=tocsin.url, trust_env=False) as client:
        page = client.get(link_of(second))
        assert (200, True) == (page.status_code, f"Acknowledge as {BELA}" in page.text)
        (alert,) = tocsin.get("/api/v1/alerts/active").body["alerts"]
        assert alert["AcknowledgedBy"] is None  # a scanner of links acknowledges nothing
        assert "Done:" in client.post(link_of(second)).text
        assert f"{BELA} has it already" in client.get(link_of(first)).text

    ended = [*smtp.wait_for(2, to=ANNA)[1:], *smtp.wait_for(2, to=BELA)[1:]]
    assert {f"acknowledged by {BELA}: Critical: serving failed"} == set(subjects(ended))
    tocsin.idle()
    assert 4 == len(smtp.messages()), subjects(smtp.messages())
    sent_once(smtp)
    rows = tocsin.query("Alerts | where Rule == 'serving-failed' | sort by T asc | project To, Reason")
    assert "acknowledged" in {row["To"] for row in rows}, rows


def test_a_url_elsewhere_is_pinged_while_tocsin_works(make_tocsin: MakeTocsin, smtp: SmtpServer) -> None:
    """A probe goes through the whole program; it leaves no rows."""
    with RecordingServer() as elsewhere:
        made = make_tocsin(smtp=smtp, rules=RULES, dead_man={"url": f"{elsewhere.url}/uuid", "every": "1s"})
        made.start()
        eventually(lambda: len(elsewhere.asked) >= 2, within=20)
        assert {("/uuid", b"")} == {(asked.path, asked.body) for asked in elsewhere.asked}
        assert 0 == made.count("RunStatusChanged")
        made.kill()

"""The log leads from an event to its message by ids, and says nothing that they say."""

import json

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run


def test_an_event_is_followed_to_its_message(run: Run, lived: Tocsin) -> None:
    lines = [json.loads(line) for line in lived.log.read_text().splitlines() if line.startswith("{")]
    (alert,) = [line for line in lines if line["event"] == "alert" and line["run_id"] == "r1"]
    assert ("run-failed", "fired", "3") == (alert["rule"], alert["kind"], alert["event_id"])
    assert [{"n": 1}] == lived.query(
        f"RunStatusChanged | where EventId == '3' and CommitSeq == {alert['commit_seq']} | summarize n = count()"
    )
    (sent,) = [line for line in lines if line["event"] == "delivery_sent" and alert["intent"] in line["intents"]]
    (mail,) = [
        mail
        for mail in json.loads(run("notifications", "list", "--json", "--home", lived.home).stdout)
        if mail["Delivery"] == sent["delivery"]
    ]
    assert mail["MessageId"] == sent["message_id"]
    assert "alert(1)" not in lived.log.read_text()

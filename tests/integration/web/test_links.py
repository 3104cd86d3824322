"""Links of mails: a GET shows and changes nothing, a POST acts, also where tokens lock everything else."""

import re
from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.lived import live
from tests.servers.eventually import eventually


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """Of a tocsin of its own: in the session's somebody may have every alert."""
    tocsin = live(tmp_path / "home")
    with httpx.Client(base_url=tocsin.url, timeout=30, trust_env=False) as made:
        yield made
    tocsin.kill()


def link_and_alert(client: httpx.Client) -> tuple[str, str]:
    """The link of a mail about an alert that nobody has."""
    free = [a for a in client.get("/api/v1/alerts/active?limit=1000").json()["alerts"] if a["AcknowledgedBy"] is None]
    runs = {a["RunId"]: a["AlertId"] for a in free if a["RunId"]}
    for row in client.get("/api/v1/notifications?limit=1000").json()["notifications"]:
        whole = client.get(f"/api/v1/notifications/{row['Delivery']}").json()
        found = re.search(r"Acknowledge: \S+?(/do/\S+)", re.sub(r"\n(?=\S{60})", "", whole["Text"]))
        if found is not None and whole.get("RunId", row.get("RunId")) in runs:
            return found[1], runs[whole.get("RunId", row.get("RunId"))]
    pytest.fail("no mail has a link to acknowledge an alert that nobody has")


def test_a_get_shows_and_a_post_acknowledges(client: httpx.Client) -> None:
    """Whatever scans mails and fetches links acknowledges nothing."""
    link, alert = link_and_alert(client)
    page = client.get(link)
    assert (200, True) == (page.status_code, "Acknowledge as" in page.text)
    assert client.get(f"/api/v1/alerts/{alert}").json()["AcknowledgedBy"] is None
    done = client.post(link)
    assert "Done:" in done.text
    whole = client.get(f"/api/v1/alerts/{alert}").json()
    assert whole["AcknowledgedBy"] is not None
    assert ["link"] == [a["Via"] for a in whole["Actions"]]
    assert "has it already" in client.get(link).text


def test_a_link_snoozes_assigns_comments_and_silences_as_its_reader(client: httpx.Client) -> None:
    link, alert = link_and_alert(client)
    for form, word in (
        ({"verb": "comment", "text": "known, disk"}, "commented on"),
        ({"verb": "assign", "text": "bela"}, "assigned"),
        ({"verb": "snooze", "for": "1h"}, "snoozed"),
        ({"verb": "silence", "for": "30m", "text": "repair"}, "silenced"),
    ):
        assert f"Done:</strong> {word} by" in client.post(link, data=form).text, form
    whole = client.get(f"/api/v1/alerts/{alert}").json()
    assert {("comment", "link"), ("assign", "link"), ("snooze", "link")} <= {
        (a["Kind"], a["Via"]) for a in whole["Actions"]
    }
    assert whole["AssignedTo"] == "bela"
    (silence,) = client.get("/api/v1/silences").json()["silences"]
    assert (whole["Rule"] in silence["Matchers"], silence["Comment"]) == (True, "repair")
    odd: list[dict[str, str]] = [
        {"verb": "close"},
        {"verb": "assign"},
        {"verb": "snooze", "for": "3d"},
        {"verb": "silence", "for": "x"},
    ]
    assert [client.post(link, data=form).status_code for form in odd] == [400] * 4


def headers_of(client: httpx.Client, row: Mapping[str, Any]) -> Message:
    return message_from_bytes(client.get(f"/api/v1/notifications/{row['Delivery']}/eml").content, policy=policy.default)


def mails_to(client: httpx.Client, address: str, run: str) -> list[Mapping[str, Any]]:
    rows = client.get("/api/v1/notifications?limit=1000").json()["notifications"]
    return [row for row in rows if row["Address"] == address and run in row["Subject"]]


def mailed(client: httpx.Client, address: str, run: str) -> Mapping[str, Any]:
    def found() -> Mapping[str, Any]:
        mails = mails_to(client, address, run)
        assert mails, f"no mail about {run}"
        return mails[0]

    return eventually(found, within=30)


def test_an_owner_unsubscribes_from_a_rule_by_one_click_and_may_come_back(client: httpx.Client) -> None:
    """RFC 8058's POST is enough; a GET changes nothing. Others are mailed, and so is she once it is undone."""

    def fail(run: str, owner: str) -> None:
        data = {"RunId": run, "Status": "Failed", "OwnerEmail": owner, "ExperimentName": run}
        event = {"specversion": "1.0", "type": "tocsin.run.status", "source": "lab", "id": run, "data": data}
        assert 202 == client.post("/intake/events", json=event).status_code

    fail("gets-it", anna := "anna@example.org")
    first = mailed(client, anna, "gets-it")
    headers = headers_of(client, first)
    by_link, by_mail = (part.strip(" <>") for part in str(headers["List-Unsubscribe"]).split(","))
    assert by_mail.startswith("mailto:")
    assert "tocsin" in str(headers["List-Id"])
    link = by_link[by_link.index("/do/") :]
    assert "Do not mail anna@example.org" in client.get(link).text
    fail("still", anna)
    mailed(client, anna, "still")
    assert 200 == client.post(link, data={"List-Unsubscribe": "One-Click"}).status_code
    fail("hers", anna)
    fail("others", "ben@example.org")
    mailed(client, "ben@example.org", "others")
    assert "any more" in client.get(link).text
    assert "Do not mail" in client.post(link, data={"undo": "1"}).text
    fail("back", anna)
    mailed(client, anna, "back")
    assert [] == mails_to(client, anna, "hers")


def test_an_owner_mutes_an_experiment_by_the_link_of_a_mail(client: httpx.Client) -> None:
    """Other experiments of the same rule are mailed as before."""
    cleo = "cleo@example.org"

    def fail(run: str, experiment: str) -> None:
        data = {"RunId": run, "Status": "Failed", "OwnerEmail": cleo, "ExperimentName": experiment}
        event = {"specversion": "1.0", "type": "tocsin.run.status", "source": "lab", "id": run, "data": data}
        assert 202 == client.post("/intake/events", json=event).status_code

    fail("cleo-1", "noisy")
    first = mailed(client, cleo, "noisy")
    by_link = str(headers_of(client, first)["List-Unsubscribe"]).split(",")[0].strip(" <>")
    link = by_link[by_link.index("/do/") :]
    assert "runs of noisy" in client.get(link).text
    assert "gets no mails of runs of noisy any more" in client.post(link, data={"what": "experiment"}).text
    fail("cleo-2", "noisy")
    fail("cleo-3", "calm")
    mailed(client, cleo, "calm")
    assert 1 == len(mails_to(client, cleo, "noisy"))
    (kept,) = [
        p for p in client.get("/api/v1/subscriptions").json()["subscriptions"] if p["Address"] == "cleo@example.org"
    ]
    assert ("mute", 'ExperimentName="noisy"', "link", "cleo@example.org") == (
        kept["Kind"], kept["Matchers"], kept["Via"], kept["By"]
    )  # fmt: skip


def test_what_was_not_signed_does_nothing(client: httpx.Client) -> None:
    assert 404 == client.get("/do/x.y").status_code
    assert 404 == client.post("/do/x.y").status_code

"""Links of mails: a GET shows and changes nothing, a POST acts, also where tokens lock everything else."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.lived import live


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """Of a tocsin of its own: in the session's somebody may have every alert."""
    tocsin = live(tmp_path / "home")
    with httpx.Client(base_url=tocsin.url, timeout=30, trust_env=False) as made:
        yield made
    tocsin.kill()


def link_and_alert(client: httpx.Client) -> tuple[str, str]:
    """The link of a mail about an alert that nobody has."""
    free = [a for a in client.get("/api/v1/alerts/active?limit=1000").json()["alerts"] if a["acknowledged_by"] is None]
    runs = {a["run"]: a["id"] for a in free if a["run"]}
    for row in client.get("/api/v1/mails?limit=1000").json()["mails"]:
        whole = client.get(f"/api/v1/mails/{row['Delivery']}").json()
        found = re.search(r"Acknowledge: \S+?(/do/\S+)", re.sub(r"\n(?=\S{60})", "", whole["Text"]))
        if found is not None and whole.get("RunId", row.get("RunId")) in runs:
            return found[1], runs[whole.get("RunId", row.get("RunId"))]
    pytest.fail("no mail has a link to acknowledge an alert that nobody has")


def test_a_get_shows_and_a_post_acknowledges(client: httpx.Client) -> None:
    """Whatever scans mails and fetches links acknowledges nothing."""
    link, alert = link_and_alert(client)
    page = client.get(link)
    assert (200, True) == (page.status_code, "Acknowledge as" in page.text)
    assert client.get(f"/api/v1/alerts/{alert}").json()["acknowledged_by"] is None
    done = client.post(link)
    assert "Done:" in done.text
    whole = client.get(f"/api/v1/alerts/{alert}").json()
    assert whole["acknowledged_by"] is not None
    assert ["link"] == [a["via"] for a in whole["actions"]]
    assert "has it already" in client.get(link).text


def test_what_was_not_signed_does_nothing(client: httpx.Client) -> None:
    assert 404 == client.get("/do/x.y").status_code
    assert 404 == client.post("/do/x.y").status_code

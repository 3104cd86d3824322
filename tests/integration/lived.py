"""A running tocsin with a little history, for tests of what can be seen of it: two failed runs with hostile texts,
one that
is fine, a message that could not be read, the mails of both failures."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.servers.eventually import eventually

ODD_RUN = "run/with space?#%&\"'<b>é"
"""A run id that every page and path must carry unharmed."""
HOSTILE = "</td><script>alert(1)</script> \x1b[31mred\u202e {{ 7*7 }}"


def event(id: str, **data: Any) -> dict[str, Any]:
    """A canonical event that happened just now, later than those with a smaller id."""
    at = datetime.now(UTC) - timedelta(seconds=30) + timedelta(seconds=int(id))
    return {
        "specversion": "1.0", "type": "tocsin.run.status", "source": "lab", "id": id, "time": at.isoformat(), "data": data,
    }  # fmt: skip


HISTORY = [
    event("1", RunId="r1", Status="Queued", ExperimentName="churn", OwnerEmail="anna@example.org"),
    event("2", RunId="r1", Status="Running", ExperimentName="churn", OwnerEmail="anna@example.org"),
    event(
        "3", RunId="r1", Status="Failed", ExperimentName="churn", OwnerEmail="anna@example.org", Message=HOSTILE,
        DisplayName="<img src=x onerror=alert(1)>", Tags={"env": "<b>prod</b>"}, Url="javascript:alert(1)", LogTail="line 1\n" + HOSTILE,
    ),
    event("4", RunId=ODD_RUN, Status="Failed", ExperimentName="<i>odd</i>", Message="broken", Url="https://runs.example.org/1"),
    event("5", RunId="r3", Status="Completed", ExperimentName="churn", Progress=1.0, DurationMs=61_000),
    event("6", Status="Failed"),
]  # fmt: skip

OFF_AND_FAULTY = """
rules:
  - name: off-and-faulty
    enabled: false
    query: RunStatusChanged | extend x = parse_xml(Message)
"""


def live(home: Path) -> Tocsin:
    """Start a tocsin on ``home`` and give it its history."""
    home.mkdir(parents=True, exist_ok=True)
    here = Here(program=PROGRAM, home=home)
    here.write("rules/alerts/imported.yaml", OFF_AND_FAULTY)
    tocsin = here.start(within=60)
    answer = tocsin.send(json.dumps(HISTORY).encode())
    assert 202 == answer.status, answer
    assert (5, 1) == (answer.body["accepted"], answer.body["dead"]), answer

    def notified() -> bool:
        mails = tocsin.get("/api/v1/notifications").body["notifications"]
        assert 2 == len([m for m in mails if m["State"] == "sent"]), mails
        alerts = tocsin.get("/api/v1/alerts").body["alerts"]
        assert 2 == len(alerts), alerts
        return True

    eventually(notified, within=30, every=0.1)
    return tocsin

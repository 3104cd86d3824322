"""People who are paged: by their own ways for a severity, by a receiver's ways to who is on call, and by a step."""

from collections.abc import Callable, Iterator

import pytest

from tests.integration.notify.channels.conftest import Serve
from tests.servers.recording import RecordingServer
from tests.unit.notify.conftest import House, Wire
from tests.unit.notify.make import intent, oncall
from tocsin.model.statuses import Severity

PEOPLE = """
people:
  - {{name: anna, email: anna@example.org, page: "ntfy://127.0.0.1:{port}/anna", how: {{critical: [page, email], default: email}}}}
  - {{name: bela, email: bela@example.org, page: "ntfy://127.0.0.1:{port}/bela"}}
receivers: [{{name: on-call, schedule: primary, how: [email, page]}}]
schedules: [{{name: primary, timezone: UTC, rotation: {{members: bela}}}}]
"""
STEPS = """
route: {receiver: anna, routes: [{match: {severity: critical}, escalation: page}]}
escalations: [{name: page, steps: [{notify: on-call}]}]
"""


class Paged:
    def __init__(self, server: RecordingServer, route: str) -> None:
        self.server, self.wire = server, Wire()
        port = server.url.rpartition(":")[2].strip("/")
        self.house = House(self.wire, oncall=oncall(PEOPLE.format(port=port) + route))

    def notify(self, severity: Severity) -> tuple[list[str], list[str]]:
        """(topics that were paged, addresses that were mailed)."""
        self.house.notify(intent(severity=severity))
        self.house.drain()
        return [asked.json["topic"] for asked in self.server.asked], [d.address for d in self.wire.sent]


Make = Callable[[str], Paged]


@pytest.fixture
def paged(serve: Serve) -> Iterator[Make]:
    made: list[Paged] = []

    def make(route: str) -> Paged:
        made.append(Paged(serve(), route))
        return made[-1]

    yield make
    for each in made:
        each.house.notifier.close()
        each.house.state.close()


@pytest.mark.parametrize(
    ("severity", "topics"), [(Severity.CRITICAL, ["anna"]), (Severity.ERROR, [])], ids=["critical", "error"]
)
def test_a_person_is_paged_for_what_the_person_says(paged: Make, severity: Severity, topics: list[str]) -> None:
    assert (topics, ["anna@example.org"]) == paged("route: {receiver: anna}").notify(severity)


def test_a_receiver_pages_who_is_on_call(paged: Make) -> None:
    """Though bela's own ways are mails alone."""
    assert (["bela"], ["bela@example.org"]) == paged("route: {receiver: on-call}").notify(Severity.ERROR)


def test_a_step_pages_who_is_on_call(paged: Make) -> None:
    here = paged(STEPS)
    assert (["bela"], ["bela@example.org"]) == here.notify(Severity.CRITICAL)
    assert [("apprise", "bela"), ("email", "page")] == sorted((d.channel, d.receiver) for d in here.house.mails())


def test_a_page_address_of_another_scheme_is_a_fault() -> None:
    with pytest.raises(Exception, match="'file' is no scheme of Apprise that is allowed here"):
        oncall("people: [{name: a, email: a@example.org, page: 'file:///etc/passwd'}]")

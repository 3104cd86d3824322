"""Mails of absence rules, from events to a real SMTP server: what a reader sees on a phone."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.notify.house import notifier
from tests.servers.smtp import Received, SmtpServer
from tocsin.clock import EPOCH, ManualClock
from tocsin.config.yaml.document import load
from tocsin.errors import Problem
from tocsin.kql.schema import schema_with
from tocsin.model.calendars.calendar import Maintenance
from tocsin.rules.compile.load import load_documents
from tocsin.rules.kinds.pausing import under
from tocsin.rules.testing.simulator import Simulator
from tocsin.state.sqlite import SqliteState

EVENING = datetime(2026, 11, 24, 18, tzinfo=UTC)
NIGHTLIES = """
rules:
  - name: nightly-missing
    for_each: {table: nightlies}
    when:
      absent: {status: Completed, where: "ExperimentName == experiment"}
      cron: "{{ cron }}"
      grace: "{{ grace }}"
      timezone: Europe/Budapest
"""
ROWS = [
    {"experiment": "churn", "cron": "0 2 * * *", "grace": "4h"},
    {"experiment": "ranking", "cron": "0 2 * * *", "grace": "4h"},
]
SCHEMA = schema_with({"nightlies": {"experiment": "string", "cron": "string", "grace": "string"}})
Event = Mapping[str, object]


class Night:
    """A tocsin in memory whose mails go over the wire. Times are minutes after 18:00 UTC."""

    def __init__(self, path: Path, server: SmtpServer) -> None:
        self.clock, self.server = ManualClock(EPOCH), server
        self.state = SqliteState.open(path, clock=self.clock)

    def notify(
        self, text: str, events: Sequence[tuple[int, Event]], until: int, *pauses: Maintenance
    ) -> list[Received]:
        problems: list[Problem] = []
        rules = under(load_documents([load(text, "rules.yaml")], SCHEMA, problems, timezone="UTC"), pauses)
        assert [] == problems
        with Simulator(rules, EVENING, {"nightlies": ROWS} if "for_each" in text else {}, self.state) as night:
            made = notifier(self.state, self.clock, host=self.server.host, port=self.server.port)

            def passes(minute: int) -> None:
                """Time passes, and every half hour at least mails go out."""
                at = EVENING + timedelta(minutes=minute)
                while night.clock.now() < at:
                    night.advance(min(at, night.clock.now() + timedelta(minutes=30)))
                    sends()

            def sends() -> None:
                self.clock.set(max(self.clock.now(), night.clock.now()))
                asyncio.run(made.drain())

            for n, (minute, event) in enumerate(events):
                passes(minute)
                at = EVENING + timedelta(minutes=minute)
                night.arrive([{"RunId": "r1", "EventId": f"e{n}", "TimeGenerated": at, **event}])
                sends()
            passes(until)
            made.close()
        return self.server.messages()


@pytest.fixture
def night(tmp_path: Path, smtp: SmtpServer) -> Iterator[Night]:
    made = Night(tmp_path / "state.sqlite", smtp)
    with closing(made.state):
        yield made


def of(mails: Sequence[Received], start: str) -> Received:
    """The one whose subject begins so."""
    (found,) = [m for m in mails if m.subject.startswith(start)]
    return found


def facts(mail: Received) -> list[str]:
    """The lines of its first screen."""
    return [line for line in mail.text.split("\n--")[0].splitlines() if line][:6]


def test_what_came_late_says_how_late_in_subject_and_body(night: Night) -> None:
    """Each row of the table by its name; the end answers the mail that notified of it, though it brings a run."""
    start = EVENING + timedelta(hours=7, minutes=38)
    mails = night.notify(
        NIGHTLIES,
        [
            (9 * 60, {"RunId": "a", "Status": "Completed", "ExperimentName": "ranking"}),
            (13 * 60, {"RunId": "b", "Status": "Completed", "ExperimentName": "churn", "StartTime": start}),
        ],
        14 * 60,
    )
    assert 2 == len(mails)
    fired, ended = of(mails, "churn"), of(mails, "recovered")
    assert "churn: not Completed by 06:00" == fired.subject
    assert "expected at 02:00, by 06:00 at the latest (Budapest)" in fired.text
    assert f"recovered, started 38 min late: {fired.subject}" == ended.subject
    assert "Recovered: started 38 min late" in ended.text
    assert "Recovered: started 38 min late" in ended.html
    assert ended.message["In-Reply-To"] == fired.message["Message-ID"]
    assert "value" not in ended.text


def test_a_miss_that_ends_by_itself_names_its_row(night: Night) -> None:
    """Two rows that are missing are two mails, distinguished by their subjects."""
    mails = night.notify(NIGHTLIES, [], 12 * 60)
    assert {"churn: not Completed by 06:00", "ranking: not Completed by 06:00"} == {m.subject for m in mails}


RUN: Event = {"ExperimentName": "ranking", "Target": "aks-eu", "Url": "https://ml.example.org/r1"}
FORMS: dict[str, tuple[str, Sequence[tuple[int, Event]], list[str], list[str]]] = {
    "stuck": (
        "{status: [Queued, Preparing], in_status_for: 45m}",
        [(0, {"Status": "Queued", **RUN}), (30, {"Status": "Preparing", **RUN}), (50, {"Status": "Running", **RUN})],
        ["ranking: Queued or Preparing for 45 min", "since 18:00 (UTC)", "last event 18:30 (Preparing)", "aks-eu"],
        ["Recovered: Running after 50 min", "from 18:00 to 18:50"],
    ),
    "silent": (
        "{status: Running, silent_for: 10m}",
        [
            (0, {"Status": "Running", **RUN}),
            (8, {"heartbeat": True, "Progress": 0.4}),
            (30, {"heartbeat": True, "Progress": 0.5}),
            (31, {"Status": "Completed", **RUN}),
        ],
        ["ranking: silent for 10 min", "nothing received for 10 min, since 18:08 (UTC)", "last event 18:00 (Running)",
         "progress 40 %"],
        ["Recovered: received again after 22 min", "from 18:08 to 18:30"],
    ),
    "still": (
        "{status: Running, unchanged: Progress, for: 1h}",
        [
            (0, {"Status": "Running", "Progress": 0.1, **RUN}),
            (20, {"heartbeat": True, "Progress": 0.2}),
            (70, {"heartbeat": True, "Progress": 0.2}),
            (90, {"Status": "Failed", **RUN}),
        ],
        ["ranking: no progress for 1 h", "no progress for 1 h, since 18:20", "last received 19:10", "progress 20 %"],
        ["Recovered: failed after 1 h 10", "from 18:20 to 19:30"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_wait_says_how_long_since_when_and_what_reported_last(night: Night, form: str) -> None:
    """On the first screen, with the link; and its end says after how long."""
    when, events, fires, ends = FORMS[form]
    mails = night.notify(f"rules:\n  - name: waits\n    when: {when}\n", events, 100)
    fired, ended = of(mails, "ranking"), of(mails, "recovered")
    assert fires[0] == fired.subject
    assert f"recovered: {fired.subject}" == ended.subject
    for words in fires:
        assert words in fired.text, fired.text
        assert words in fired.html
    for words in ends:
        assert words in ended.text, ended.text
        assert words in ended.html
    for mail in (fired, ended):
        assert "https://ml.example.org/r1" in mail.html
        assert "no reason was given" not in mail.text + mail.html
        assert "value" not in mail.text
        assert "notified " not in mail.text.split("You get this")[0]


def test_maintenance_is_said_to_be_left_out(night: Night) -> None:
    """Else the reader counts and wonders."""
    pause = Maintenance(begin=EVENING + timedelta(minutes=5), end=EVENING + timedelta(hours=3))
    text = "rules:\n  - {name: waits, when: {status: Running, silent_for: 10m}}\n"
    (mail,) = night.notify(text, [(0, {"Status": "Running", **RUN})], 200, pause)
    assert "nothing received for 3 h 05, since 18:00 (UTC); 2 h 55 of maintenance not counted" in " ".join(
        mail.text.split()
    )


def test_what_is_notified_again_has_the_words_of_the_first(night: Night) -> None:
    """Also where another rule notified of the run before."""
    text = """
rules:
  - {name: queued, when: {status: Queued, in_status_for: 5m}}
  - {name: waits, when: {status: Running, silent_for: 10m}}
"""
    mails = night.notify(text, [(0, {"Status": "Queued", **RUN}), (7, {"Status": "Running", **RUN})], 300)
    subjects = [m.subject for m in mails]
    assert {
        "ranking: Queued for 5 min": 1,
        "recovered: ranking: Queued for 5 min": 1,
        "ranking: silent for 10 min": 2,
    } == {subject: subjects.count(subject) for subject in subjects}
    again = [m for m in mails if m.subject == "ranking: silent for 10 min"][1]
    assert any("nothing received for 4 h 10" in line for line in facts(again)), again.text


def test_the_history_says_how_late(night: Night) -> None:
    """`alerts list` and the page show the reason of an end."""
    night.notify(
        NIGHTLIES,
        [
            (9 * 60, {"RunId": "a", "Status": "Completed", "ExperimentName": "ranking"}),
            (13 * 60, {"RunId": "b", "Status": "Completed", "ExperimentName": "churn"}),
        ],
        14 * 60,
    )
    reasons = [row.row["Reason"] for row in night.state.mirror_after(0) if row.table == "Alerts"]
    assert ["deadline passed", "recovered, came 6 h late"] == reasons

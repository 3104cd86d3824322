"""However events arrive, the same occurrences are notified: the oracle says which."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Tocsin
from tests.oracle.events import Event, Histories, parts, sent_twice, shuffled
from tests.oracle.oracle import differences, occurrences, status_is, stored
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import SmtpServer

RULES = """\
rules:
  - name: run-failed
    when: {status: Failed, final: true}
    notify: {to: [ops@example.org], only: true}
  - name: any-failure
    when: {status: [Failed, Canceled]}
    notify: {to: [any@example.org], only: true}
  - name: not-responding
    query: RunStatusChanged | where Status == 'NotResponding'
    notify: {to: [silent@example.org], only: true}
"""
MATCHES = {
    "run-failed": status_is("Failed", final=True),
    "any-failure": status_is("Failed", "Canceled"),
    "not-responding": status_is("NotResponding"),
}


def check(tocsin: Tocsin, sent: Sequence[Event]) -> None:
    """Everything sent is stored once, and each rule has notified each segment once."""
    rows = len(stored(sent))
    eventually(lambda: tocsin.count("RunStatusChanged") >= rows, within=60)
    assert rows == tocsin.count("RunStatusChanged")
    tocsin.idle()
    wrong = {rule: differences(occurrences(sent, m), tocsin.notified(rule)) for rule, m in MATCHES.items()}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 2, 3))])
def test_duplicates_any_order_and_any_split(
    make_tocsin: MakeTocsin, smtp: SmtpServer, kafka: KafkaServer, seed: int
) -> None:
    """A history sent in any order, with duplicates, in pieces of any size, half by HTTP and half by Kafka."""
    topic = kafka.new_topic(partitions=3)
    tocsin = make_tocsin(smtp=smtp, kafka=kafka, topic=topic, rules=RULES).start()
    history = Histories(seed, datetime.now(UTC)).runs(80)
    sent = shuffled(sent_twice(history, seed), seed)
    for number, piece in enumerate(parts(sent, seed, most=60)):
        if number % 2:
            tocsin.post(piece)
        else:
            kafka.produce(topic, [event.bytes() for event in piece])
    check(tocsin, sent)


def test_in_order_one_by_one(make_tocsin: MakeTocsin, smtp: SmtpServer) -> None:
    """The same history as it happened, an event a request: the same is notified, and each run has mails of its own."""
    tocsin = make_tocsin(smtp=smtp, rules=RULES).start()
    history = Histories(0, datetime.now(UTC)).runs(40)
    for event in history:
        tocsin.post([event])
    check(tocsin, history)
    for to, rule in (("ops@example.org", "run-failed"), ("silent@example.org", "not-responding")):
        due = {run: len(lives) for run, lives in occurrences(history, MATCHES[rule]).items()}
        got: dict[str, int] = {}
        for mail in smtp.messages(to):
            run = str(mail.message["X-Tocsin-Run"])
            got[run] = got.get(run, 0) + 1
        assert due.keys() == got.keys()
        assert all(got[run] <= due[run] for run in due)


def test_the_latest_first(make_tocsin: MakeTocsin, smtp: SmtpServer) -> None:
    """Each run's events backwards, the runs interleaved: the worst order for anything that goes by arrival."""
    tocsin = make_tocsin(smtp=smtp, rules=RULES).start()
    maker = Histories(11, datetime.now(UTC))
    backwards = [list(reversed(maker.run())) for _ in range(40)]
    sent = [event for step in zip_longest(*backwards) for event in step if event is not None]
    for piece in parts(sent, 11, most=7):
        tocsin.post(piece)
    check(tocsin, sent)


def test_a_clock_far_ahead(make_tocsin: MakeTocsin) -> None:
    """A Running stamped in two years does not hide the Failed that follows: its time is its receipt."""
    tocsin = make_tocsin(intake={"max_clock_skew": "1h"}).start()
    now = datetime.now(UTC)
    for number, (run, status, at) in enumerate((
        ("r1", "Running", now + timedelta(days=730)), ("r1", "Failed", now), ("r2", "Running", now + timedelta(minutes=50)),
    )):  # fmt: skip
        event: dict[str, object] = {"specversion": "1.0", "id": str(number), "source": "s", "type": "tocsin.run.status"}
        event |= {"time": at.isoformat(), "data": {"RunId": run, "Status": status}}
        assert 202 == tocsin.send(json.dumps(event).encode()).status
    assert ["Failed", "Running"] == [row["Status"] for row in tocsin.query("Runs | order by RunId asc")]
    (kept,) = tocsin.query("RunStatusChanged | where isnotnull(GivenTime) | project RunId, TimeGenerated, GivenTime")
    assert ("r1", (now + timedelta(days=730)).date().isoformat()) == (kept["RunId"], kept["GivenTime"][:10])
    assert timedelta(minutes=1) > datetime.fromisoformat(kept["TimeGenerated"]) - now
    assert 1 == tocsin.metrics()['tocsin_intake_clock_skew_total{consumer="events"}']

"""What is expired: a topic that holds a year, a new rule, an hour down."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import RUN_FAILED
from tests.oracle.events import Event, Histories
from tests.oracle.oracle import differences, occurrences, status_is, stored
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import SmtpServer

TWO_RULES = (
    RUN_FAILED
    + """\
  - name: not-responding
    when: {status: NotResponding}
    notify: {to: [silent@example.org], only: true}
"""
)
A_THIRD = """\
  - name: any-end
    when: {status: [Completed, Failed, Canceled]}
    notify: {to: [new@example.org], only: true}
"""


def failed(run: str, time: datetime, number: int = 0) -> Event:
    return Event(run=run, status="Failed", id=f"{run}-f{number}", time=time, message="out of memory")


def test_a_topic_that_holds_a_year(make_tocsin: MakeTocsin, smtp: SmtpServer, kafka: KafkaServer) -> None:
    """First start on it: one summary mail a rule. Then it lives on: a fresh failure is notified, a new rule notifies
    nothing old.
    """
    topic = kafka.new_topic(partitions=2)
    now = datetime.now(UTC)
    year = [
        event
        for month in range(12)
        for event in Histories(month, now - timedelta(days=365 - month * 30), f"m{month}-").runs(60)
    ]
    assert max(event.time for event in year) < now - timedelta(days=20)
    kafka.produce(topic, [event.bytes() for event in year])

    tocsin = make_tocsin(smtp=smtp, kafka=kafka, topic=topic, rules=TWO_RULES).start()
    eventually(lambda: tocsin.count("RunStatusChanged") >= len(year), within=60)
    smtp.wait_for(2)
    tocsin.idle()
    old = {
        "run-failed": occurrences(year, status_is("Failed", final=True)),
        "not-responding": occurrences(year, status_is("NotResponding")),
    }
    for rule, expected in old.items():
        assert [] == differences(expected, tocsin.expired(rule)), rule
        assert [] == tocsin.notified(rule)
    summaries = {str(mail.message["X-Tocsin-Rule"]): mail for mail in smtp.messages()}
    assert sorted(old) == sorted(summaries)
    assert {"ops@example.org": 1, "silent@example.org": 1} == Counter(a for m in smtp.messages() for a in m.rcpt_tos)
    for rule, expected in old.items():
        count = sum(map(len, expected.values()))
        text = (summaries[rule].subject + summaries[rule].text).replace(",", "").replace(" ", "")
        assert str(count) in text, f"{rule}: {count} is not in {summaries[rule].text}"

    fresh = failed("fresh", datetime.now(UTC))
    kafka.produce(topic, [fresh.bytes()])
    smtp.wait_for(3)
    tocsin.idle()
    assert ["fresh"] == tocsin.notified()

    tocsin.write("rules/alerts/rules.yaml", TWO_RULES + A_THIRD)
    eventually(lambda: "any-end" in {rule["Rule"] for rule in tocsin.get("/api/v1/rules").body["rules"]}, within=15)
    tocsin.post([failed("newer", datetime.now(UTC))])
    (mail,) = smtp.wait_for(1, to="new@example.org")
    assert "newer" == mail.message["X-Tocsin-Run"]
    tocsin.idle()
    assert ["newer"] == tocsin.notified("any-end")
    assert [] == tocsin.expired("any-end")
    assert ["fresh", "newer"] == sorted(tocsin.notified())
    assert 5 == len(smtp.messages()), [mail.subject for mail in smtp.messages()]


def test_an_hour_down_then_an_hour_of_events(make_tocsin: MakeTocsin, smtp: SmtpServer, kafka: KafkaServer) -> None:
    """What is due within `max_event_age` is notified once, and says that it is late; what is older is not."""
    topic = kafka.new_topic(partitions=2)
    tocsin = make_tocsin(smtp=smtp, kafka=kafka, topic=topic)
    hour = timedelta(hours=1)
    tocsin.start(clock=-2 * hour)
    before = failed("before", datetime.now(UTC) - 2 * hour)
    kafka.produce(topic, [before.bytes()])
    smtp.wait_for(1)
    tocsin.idle()
    assert 0 == tocsin.stop()

    now = datetime.now(UTC)
    waiting = [failed(f"w{minute}", now - timedelta(minutes=minute)) for minute in range(59, 6, -4)]
    waiting += [Event(run=e.run, status="Running", id=f"{e.run}-r", time=e.time - hour / 2) for e in waiting]
    just_now = failed("just-now", now - timedelta(minutes=1))
    ancient = failed("ancient", now - timedelta(hours=30))
    kafka.produce(topic, [event.bytes() for event in [*waiting, just_now]])
    tocsin.start()
    tocsin.post([ancient, waiting[0]])
    smtp.wait_for(1 + 14 + 1)
    eventually(lambda: tocsin.count("RunStatusChanged") == len(stored([before, *waiting, just_now, ancient])))
    tocsin.idle()

    assert [] == differences(
        occurrences([before, *waiting, just_now], status_is("Failed", final=True)), tocsin.notified()
    )
    assert ["ancient"] == tocsin.expired()
    mails = {str(mail.message["X-Tocsin-Run"]): mail for mail in smtp.messages("ops@example.org")}
    assert 16 == len(mails) == len(smtp.messages("ops@example.org"))
    late = {run for run, mail in mails.items() if "min late)" in mail.text}
    assert late == {event.run for event in waiting}, json.dumps(
        {run: mail.text for run, mail in mails.items()}, indent=1
    )

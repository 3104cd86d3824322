"""Absence rules, from a topic to a mail: notified when the time is up, over when the run moves on, never falsely
after an outage.
"""

from datetime import UTC, datetime, timedelta

from tests.acceptance.conftest import MakeTocsin
from tests.oracle.events import Event
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import SmtpServer

RULES = """\
rules:
  - name: run-stuck
    when: {status: [Queued, Preparing], in_status_for: 45m}
    notify: {to: [ops@example.org], only: true}
"""


def test_a_stuck_run_is_mailed_and_its_end_too_and_an_outage_notifies_nothing_false(
    make_tocsin: MakeTocsin, smtp: SmtpServer, kafka: KafkaServer
) -> None:
    topic = kafka.new_topic()
    tocsin = make_tocsin(smtp=smtp, kafka=kafka, topic=topic, rules=RULES).start()

    def event(run: str, status: str, ago: timedelta) -> None:
        time = datetime.now(UTC) - ago
        kafka.produce(topic, [Event(run=run, status=status, id=f"{run}-{status}", time=time, experiment=run).bytes()])

    event("slow", "Queued", timedelta(minutes=45) - timedelta(seconds=4))
    event("fine", "Running", timedelta(minutes=40))  # first: between the two, "fine" would be Queued for 50 min
    event("fine", "Queued", timedelta(minutes=50))
    (mail,) = smtp.wait_for(1, within=30, to="ops@example.org")
    assert "slow: Queued or Preparing for 45 min" in mail.subject
    event("slow", "Running", timedelta(0))
    ended = smtp.wait_for(2, within=30, to="ops@example.org")[1]
    assert ended.subject.startswith("recovered: slow")

    event("later", "Queued", timedelta(minutes=45) - timedelta(seconds=8))
    eventually(lambda: tocsin.count("Runs | where RunId == 'later'") == 1, within=20)
    assert tocsin.stop() == 0
    event("later", "Running", timedelta(0))
    event("last", "Queued", timedelta(minutes=46))
    tocsin.start()
    (_, _, third) = smtp.wait_for(3, within=40, to="ops@example.org")
    assert "last" in third.subject
    tocsin.idle()
    assert len(smtp.messages(to="ops@example.org")) == 3

"""The test servers are what they claim to be: other tests lean on every one of these behaviours."""

import asyncio
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from kafka.errors import UnknownTopicOrPartitionError
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer, keep_classes
from tests.servers.kafka_jars import classes_archive
from tests.servers.prometheus import PrometheusServer, promtool
from tests.servers.smtp import Script, SmtpServer

ROOT = Path(__file__).parents[2]


def mail(to: str, subject: str = "run r1 failed", text: str = "It broke.\n.\nA dot alone.\n") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "tocsin@example.org", to, subject
    made.set_content(text)
    made.add_alternative(f"<p>{text}</p>", subtype="html")
    return made


def send(server: SmtpServer, message: EmailMessage, **settings: Any) -> str:
    """Send one mail and return the reply's text."""
    options: dict[str, Any] = {
        "hostname": server.host,
        "port": server.port,
        "start_tls": False,
        "timeout": 5,
    } | settings
    _, text = asyncio.run(aiosmtplib.send(message, **options))
    return str(text)


# --- Kafka -----------------------------------------------------------------------------------------


def test_what_is_produced_is_consumed(kafka: KafkaServer) -> None:
    """Offsets, keys, headers and CreateTime come back; the group's offsets are kept by the broker."""
    topic = kafka.new_topic(partitions=2)
    stored = kafka.produce(topic, [b"a", b"b"], partition=1, key=b"k", headers=[("h", b"v")], timestamp_ms=1234)
    assert [(1, 0), (1, 1)] == stored
    assert {0: 0, 1: 2} == kafka.end_offsets(topic)
    first = kafka.consume(topic, 2)[0]
    assert (b"a", b"k", 1234, [("h", b"v")]) == (first.value, first.key, first.timestamp, list(first.headers))

    with closing(kafka.consumer(topic, group="readers")) as reader:
        read = eventually(lambda: sum(len(batch) for batch in reader.poll(timeout_ms=200).values()))
        assert read == 2
        reader.commit()
    assert {0: 0, 1: 2} == kafka.committed("readers", topic)


def test_a_restarted_broker_keeps_its_port_and_data(kafka: KafkaServer) -> None:
    """Stopped in order or killed, the broker comes back with the records and the topic's id."""
    topic = kafka.new_topic()
    kafka.produce(topic, [b"before"])
    topic_id, pid = kafka.topic_id(topic), kafka.pid
    kafka.stop()
    kafka.start()
    assert kafka.pid != pid
    assert topic_id == kafka.topic_id(topic)
    kafka.produce(topic, [b"between"])
    kafka.kill()
    kafka.start()
    kafka.produce(topic, [b"after"])
    assert [b"before", b"between", b"after"] == [record.value for record in kafka.consume(topic, 3)]


def test_a_topic_recreated_has_another_id(kafka: KafkaServer) -> None:
    """Deleting a topic frees its name; the next one of that name starts empty under a new id."""
    topic = kafka.new_topic()
    kafka.produce(topic, [b"old"] * 3)
    old = kafka.topic_id(topic)
    kafka.delete_topic(topic)
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka.topic_id(topic)
    kafka.new_topic(name=topic)
    assert old != kafka.topic_id(topic)
    assert {0: 0} == kafka.end_offsets(topic)


def test_retention_and_transactions_leave_holes_in_the_offsets(kafka: KafkaServer) -> None:
    """Dropped records move the start; a transaction's end takes an offset; aborted records are nobody's."""
    topic = kafka.new_topic()
    kafka.produce(topic, [b"0", b"1", b"2"])
    kafka.delete_records(topic, {0: 2})
    assert {0: 2} == kafka.start_offsets(topic)
    kafka.produce_in_transaction(topic, [b"3"], commit=True)
    eventually(
        lambda: kafka.end_offsets(topic) == {0: 5}
    )  # the broker writes a transaction's end after it has answered
    kafka.produce_in_transaction(topic, [b"5"], commit=False)
    eventually(lambda: kafka.end_offsets(topic) == {0: 7})
    kafka.produce(topic, [b"7"])
    assert {0: 8} == kafka.end_offsets(topic)
    with closing(kafka.consumer(topic, isolation_level="read_committed")) as reader:
        seen: list[int] = []

        def all_seen() -> bool:
            seen.extend(record.offset for batch in reader.poll(timeout_ms=200).values() for record in batch)
            return len(seen) >= 3

        eventually(all_seen)
    assert [2, 3, 7] == seen


# --- SMTP ------------------------------------------------------------------------------------------


def test_an_accepted_mail_is_in_the_mailbox(smtp: SmtpServer) -> None:
    """The content comes as it was sent, lone dots included, and is there as soon as the client has its 250."""
    send(smtp, mail("ops@example.org", "läuft nicht"))
    (got,) = smtp.messages()
    assert ("tocsin@example.org", ("ops@example.org",), "läuft nicht") == (got.mail_from, got.rcpt_tos, got.subject)
    assert "It broke.\n.\nA dot alone.\n" == got.text.replace("\r\n", "\n")
    assert "<p>It broke." in got.html
    assert [] == smtp.messages(to="other@example.org")
    assert [] == smtp.fresh().messages()


def test_refusals_by_recipient_stage_and_number(smtp: SmtpServer) -> None:
    """A 4xx goes away after `times`, a 5xx stays; others are not touched; each refusal is on record."""
    smtp.control(
        Script(to="busy", reply="451 4.3.0 try later", times=2),
        Script(to="gone@example.org", at="data", reply="550 5.1.1 no such user"),
    )
    for _ in range(2):
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            send(smtp, mail("busy@example.org"))
        assert refused.value.recipients[0].code == 451
    send(smtp, mail("busy@example.org"))
    with pytest.raises(aiosmtplib.SMTPDataError) as failed:
        send(smtp, mail("gone@example.org"))
    assert failed.value.code == 550
    assert [("busy@example.org",)] == [got.rcpt_tos for got in smtp.messages()]
    assert ["rcpt", "rcpt", "data"] == [refusal.stage for refusal in smtp.refused()]


def test_a_connection_dropped_around_the_250(smtp: SmtpServer) -> None:
    """Before acceptance nothing is in the mailbox; after it the mail is there though the client saw an error."""
    smtp.control(Script(at="data", drop=True, times=1), Script(at="reply", drop=True, times=1))
    for accepted in (0, 1):
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            send(smtp, mail("ops@example.org"))
        assert accepted == len(smtp.messages())
    send(smtp, mail("ops@example.org"))
    assert [False, True] == [got.notified for got in smtp.wait_for(2)]


def test_a_slow_reply_runs_into_the_clients_timeout(smtp: SmtpServer) -> None:
    """The delay comes after the mail was accepted; meanwhile others are served."""
    smtp.control(Script(at="reply", to="slow", delay=3, times=1))
    with pytest.raises(aiosmtplib.SMTPReadTimeoutError):
        send(smtp, mail("slow@example.org"), timeout=0.3)
    send(smtp, mail("quick@example.org"))
    assert {"slow@example.org", "quick@example.org"} == {got.rcpt_tos[0] for got in smtp.wait_for(2)}


def test_a_killed_server_keeps_its_mailbox(smtp: SmtpServer) -> None:
    """Same port, same mails after a crash; while it is down nobody listens."""
    send(smtp, mail("ops@example.org", "one"))
    smtp.kill()
    with pytest.raises(aiosmtplib.SMTPConnectError):
        send(smtp, mail("ops@example.org"))
    smtp.start()
    send(smtp, mail("ops@example.org", "two"))
    assert ["one", "two"] == [got.subject for got in smtp.wait_for(2)]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_encrypted_with_login(smtp_server: Callable[..., SmtpServer], security: str) -> None:
    """TLS verifies against the self-made certificate; a wrong password, no login and no TLS are refused."""
    server = smtp_server(security=security, auth=("tocsin", "word"), fsync=True)
    assert server.certificate is not None
    context = ssl.create_default_context(cafile=str(server.certificate.certificate))
    how: dict[str, Any] = {"start_tls": security == "starttls", "use_tls": security == "tls", "tls_context": context}
    send(server, mail("ops@example.org"), username="tocsin", password="word", **how)
    (got,) = server.messages()
    assert (True, "tocsin") == (got.tls, got.user)
    with pytest.raises(aiosmtplib.SMTPAuthenticationError):
        send(server, mail("ops@example.org"), username="tocsin", password="wrong", **how)
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        send(server, mail("ops@example.org"), **how)
    assert refused.value.code == 530
    with pytest.raises(aiosmtplib.SMTPException):
        send(server, mail("ops@example.org"), username="tocsin", password="word", timeout=1)
    with pytest.raises((aiosmtplib.SMTPException, ssl.SSLError)):
        strangers = how | {"tls_context": ssl.create_default_context()}
        send(server, mail("ops@example.org"), username="tocsin", password="word", **strangers)
    assert len(server.messages()) == 1


def test_smtputf8_only_where_it_is_offered(smtp: SmtpServer, smtp_server: Callable[..., SmtpServer]) -> None:
    """The usual server takes an address beyond ASCII; one without the extension does not announce it."""
    send(smtp, mail("jörg@example.org"))
    assert ("jörg@example.org",) == smtp.messages()[0].rcpt_tos
    with pytest.raises(aiosmtplib.SMTPNotSupported):
        send(smtp_server(smtputf8=False), mail("jörg@example.org"))


# --- Prometheus ------------------------------------------------------------------------------------


@contextmanager
def exporter(registry: CollectorRegistry, port: int) -> Iterator[None]:
    server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_prometheus_scrapes_and_answers(prometheus: Callable[[str], PrometheusServer], free_port: int) -> None:
    """A gauge that prometheus-client shows is what PromQL gives back; promtool finds no fault in its text."""
    registry = CollectorRegistry()
    Gauge("answer", "What it is.", ["of"], registry=registry).labels(of="everything").set(42)
    with exporter(registry, free_port):
        server = prometheus(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            f"scrape_configs: [{{job_name: t, static_configs: [{{targets: ['127.0.0.1:{free_port}']}}]}}]\n"
        )
        assert eventually(lambda: server.value("answer")) == 42
        ((labels, value),) = server.query("answer * 2")
        assert ("everything", "t", 84) == (labels["of"], labels["job"], value)
        assert server.value("absent_metric") is None
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics") as page:
            checked = promtool("check", "metrics", stdin=page.read().decode())
    assert (0, "") == (checked.returncode, checked.stderr)


def test_a_bad_configuration_says_what_prometheus_said(prometheus: Callable[[str], PrometheusServer]) -> None:
    """Nobody waits for a server that gave up."""
    with pytest.raises(RuntimeError, match="no_such_key"):
        prometheus("no_such_key: 1\n")


def test_a_broker_starts_from_the_classes_that_were_kept(kafka: KafkaServer) -> None:
    """Half of the CPU time of a start was reading and checking classes, in each process of tests and after each kill."""
    keep_classes()
    kafka.stop()
    kafka.start()
    assert str(classes_archive()) in Path(f"/proc/{kafka.pid}/maps").read_text()

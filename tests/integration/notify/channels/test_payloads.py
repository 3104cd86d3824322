"""What receivers are sent, field by field: beside what a real Alertmanager sends of the same alert where it can."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _without
from tests.integration.notify.channels.conftest import BASE, MakeFar, Serve
from tests.servers.alertmanager import AlertmanagerServer
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing
from tests.servers.recording import Said
from tests.unit.notify.make import EVENT, INFO, NOW, draft, intent, renderer
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import Severity
from tocsin.notify.channels.base import Notification
from tocsin.notify.render import alerts
from tocsin.notify.render.mail import notification_of
from tocsin.notify.values import NO_FACTS

SUBJECT = "churn failed after 6 h 12: CUDA out of memory"


def shape(value: Any) -> Any:
    """Names and types of a JSON value."""
    if isinstance(value, Mapping):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value).__name__


def notified(found: Intent) -> Notification:
    return notification_of(draft(found), NO_FACTS, None, renderer(), NOW)


def alertmanager(directory: Path, receiver: dict[str, Any], found: Intent, base_url: str) -> None:
    """Has a real one notify its receiver of this alert."""
    route = {"receiver": "chat", "group_wait": "0s", "group_by": ["alertname", "team", "absent"]}
    config = {"route": route, "receivers": [{"name": "chat", **receiver}]}
    try:
        server = AlertmanagerServer(directory, json.dumps(config))
    except ServerMissing as why:
        _without(why)
    server.start()
    try:
        alert = alerts.alerts_v2(notified(found), base_url)[0]
        server.post("alerts", [{**alert, "endsAt": alerts.rfc3339(datetime.now(UTC) + timedelta(hours=1))}])
        eventually(lambda: CALLED[0]() > 0, 20)
    finally:
        server.stop()


CALLED: list[Any] = [None]


@pytest.fixture
def recent() -> Intent:
    """An alert that began just now: Alertmanager forgets older ones."""
    now = datetime.now(UTC).replace(microsecond=120_000)
    return intent(event_time=now, at=now, labels={"team": "ranking"}, occurrence="o1")


def test_the_alertmanager_form_is_what_alertmanager_sends(
    far: MakeFar, serve: Serve, tmp_path: Path, recent: Intent
) -> None:
    theirs, ours = serve(), serve()
    CALLED[0] = lambda: len(theirs.asked)
    alertmanager(tmp_path / "am", {"webhook_configs": [{"url": theirs.url}]}, recent, "https://tocsin.example.org")
    by = ("rule", "team", "absent")
    here = far("webhook", group_by=by, url=ours.url, allow_private=True, format="alertmanager")
    here.notify(recent)
    here.drain()
    expected, sent = theirs.asked[0].json, ours.asked[0].json
    assert shape(expected) == shape(sent)
    assert list(expected) == list(sent)
    same = ("receiver", "status", "version", "commonLabels", "groupLabels", "truncatedAlerts")
    assert {name: expected[name] for name in same} == {name: sent[name] for name in same}
    assert expected["alerts"] == sent["alerts"]
    assert expected["groupKey"] == sent["groupKey"] and "ranking" in sent["groupLabels"].values()


def test_an_end_has_its_time_and_status(far: MakeFar, serve: Serve, recent: Intent) -> None:
    ours = serve()
    here = far("webhook", url=ours.url, allow_private=True, format="alertmanager")
    here.notify(recent)
    here.drain()
    ended = intent(
        event_time=recent.event_time, at=recent.at + timedelta(minutes=5), labels=dict(recent.labels), seq=9,
        occurrence="o1", kind=IntentKind.RESOLVED,
    )  # fmt: skip
    here.notify(ended)
    here.drain()
    first, second = (asked.json for asked in ours.asked)
    assert (second["status"], second["alerts"][0]["status"]) == ("resolved", "resolved")
    assert second["alerts"][0]["endsAt"] == alerts.rfc3339(ended.at)
    for name in ("labels", "startsAt", "fingerprint"):
        assert first["alerts"][0][name] == second["alerts"][0][name]


@pytest.mark.parametrize("severity", list(Severity))
def test_pagerduty_is_triggered_and_resolved_by_one_key(far: MakeFar, serve: Serve, severity: Severity) -> None:
    server = serve(Said(status=202, body='{"status":"success"}'))
    here = far("pagerduty", url=server.url, routing_key_file="k" * 32)
    here.notify(intent(severity=severity))
    here.drain()
    here.notify(intent(kind=IntentKind.RESOLVED, severity=severity, seq=9))
    here.drain()
    trigger, resolve = (asked.json for asked in server.asked)
    assert (trigger["routing_key"], trigger["event_action"]) == ("k" * 32, "trigger")
    assert resolve == {"routing_key": "k" * 32, "event_action": "resolve", "dedup_key": trigger["dedup_key"]}
    assert trigger["payload"]["summary"] == SUBJECT
    words = {"informational": "info", "verbose": "info"}
    assert trigger["payload"]["severity"] == words.get(severity.word, severity.word)
    assert "k" * 32 not in here.mails()[0].message.decode()


def test_pagerduty_has_the_fields_that_alertmanager_sends(
    far: MakeFar, serve: Serve, tmp_path: Path, recent: Intent
) -> None:
    theirs, ours = serve(Said(status=202, body="{}")), serve(Said(status=202))
    CALLED[0] = lambda: len(theirs.asked)
    config = {
        "routing_key": "k" * 32, "url": theirs.url, "severity": "error", "class": "run-failed", "component": "aks-eu",
        "group": "churn", "client": "tocsin", "client_url": BASE, "links": [{"href": BASE, "text": "Rule"}],
    }  # fmt: skip
    alertmanager(tmp_path / "am", {"pagerduty_configs": [config]}, recent, BASE)
    here = far("pagerduty", url=ours.url, routing_key_file="k" * 32)
    here.notify(recent)
    here.drain()
    expected, sent = shape(theirs.asked[0].json), shape(ours.asked[0].json)
    custom, _ = expected["payload"].pop("custom_details"), sent["payload"].pop("custom_details")
    assert custom
    missing = {"payload": expected["payload"].keys() - sent["payload"].keys(), "event": expected.keys() - sent.keys()}
    assert missing == {"payload": set(), "event": set()}
    assert {name: sent[name] for name in expected if name != "payload"} == {
        n: v for n, v in expected.items() if n != "payload"
    }


def test_two_alerts_of_one_run_are_two_incidents(far: MakeFar, serve: Serve) -> None:
    """Each must be resolved by itself."""
    server = serve(Said(status=202))
    here = far("pagerduty", url=server.url, routing_key_file="k")
    here.notify(intent("a"), intent("b"))
    here.drain()
    assert len({asked.json["dedup_key"] for asked in server.asked}) == 2


def test_a_resolve_waits_for_its_trigger(far: MakeFar, serve: Serve) -> None:
    """The trigger is deferred: a resolve before it would be dropped, and the incident never end. Also after a restart."""
    server = serve(Said(status=500), Said(status=202))
    here = far("pagerduty", url=server.url, routing_key_file="k")
    here.notify(intent())
    here.drain()
    here.notify(intent(kind=IntentKind.RESOLVED, seq=9))
    here.drain()
    assert [asked.json["event_action"] for asked in server.asked] == ["trigger"]
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert [asked.json["event_action"] for asked in server.asked] == ["trigger", "trigger", "resolve"]
    assert [state for state, _, _ in here.replies] == ["sent", "sent"]


def test_what_was_over_before_it_could_be_sent_pages_nobody(far: MakeFar, serve: Serve, tmp_path: Path) -> None:
    """The key cannot be read, so nothing is attempted; then the alert ends."""
    server = serve(Said(status=202))
    here = far("pagerduty", url=server.url, routing_key_file="k")
    key = tmp_path / "routing_key_file"
    key.unlink()
    here.notify(intent())

    async def until_tried() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(here.notifier.run(stop))
        async with asyncio.timeout(10):
            while not here.count("tocsin_notify_attempts_total", outcome="network"):
                await asyncio.sleep(0.005)
        stop.set()
        await task

    asyncio.run(until_tried())
    here.notify(intent(kind=IntentKind.RESOLVED, seq=9), intent("other"))
    key.write_text("k")
    here.drain()
    assert [asked.json["payload"]["class"] for asked in server.asked] == ["other"]
    assert [state for state, _, _ in here.replies] == ["dropped", "dropped", "sent"]


def test_pagerduty_gets_no_more_than_it_takes(far: MakeFar, serve: Serve) -> None:
    server = serve(Said(status=202))
    here = far("pagerduty", url=server.url, routing_key_file="k")
    here.notify(intent(labels={f"l{n}": "x" * 1000 for n in range(600)}))
    here.drain()
    (asked,) = server.asked
    assert len(asked.body) < 512 * 1024 and asked.json["payload"]["summary"] == SUBJECT


def test_slack_by_an_incoming_webhook_has_the_fields_that_alertmanager_sends(
    far: MakeFar, serve: Serve, tmp_path: Path, recent: Intent
) -> None:
    theirs, ours = serve(), serve()
    CALLED[0] = lambda: len(theirs.asked)
    config = {"api_url": theirs.url, "channel": "#x", "title": "{{ .CommonAnnotations.summary }}", "footer": "f"}
    alertmanager(tmp_path / "am", {"slack_configs": [config]}, recent, BASE)
    here = far("slack", url_file=f"{ours.url}/services/T/B/x")
    here.notify(recent)
    here.drain()
    (expected,) = theirs.asked[0].json["attachments"]
    (sent,) = ours.asked[0].json["attachments"]
    assert ours.asked[0].path == "/services/T/B/x"
    known = {name for name, value in expected.items() if value}
    assert known <= sent.keys(), known - sent.keys()
    assert shape({name: expected[name] for name in known}) == shape({name: sent[name] for name in known})
    assert expected["title"] == sent["title"] == SUBJECT
    assert b"services" not in here.mails()[0].message


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_slacks_refusals_are_final(far: MakeFar, serve: Serve, status: int) -> None:
    here = far("slack", url_file=serve(Said(status=status, body="invalid_payload")).url)
    here.notify(intent())
    here.drain()
    assert here.replies == [("failed", 1, f"{status} invalid_payload")]


def test_slack_by_a_token_edits_what_ends_and_answers_in_its_thread(far: MakeFar, serve: Serve) -> None:
    server = serve(Said(body='{"ok": true, "channel": "C1", "ts": "17.5"}'))
    here = far("slack", api=server.url, token_file="xoxb-1", channel="#training")
    here.notify(intent())
    here.drain()
    here.notify(intent(kind=IntentKind.RESOLVED, seq=9))
    here.drain()
    first, edit, answer = server.asked
    assert [a.path for a in server.asked] == ["/chat.postMessage", "/chat.update", "/chat.postMessage"]
    assert {a.headers["authorization"] for a in server.asked} == {"Bearer xoxb-1"}
    assert first.json["channel"] == "#training" and "thread_ts" not in first.json
    assert (edit.json["channel"], edit.json["ts"]) == ("C1", "17.5")
    assert (answer.json["channel"], answer.json["thread_ts"]) == ("C1", "17.5")
    assert edit.json["attachments"][0]["color"] != first.json["attachments"][0]["color"]
    assert answer.json["attachments"][0]["title"] == f"recovered: {SUBJECT}"


@pytest.mark.parametrize(
    ("body", "state"),
    [('{"ok": false, "error": "channel_not_found"}', "failed"), ('{"ok": false, "error": "ratelimited"}', "ready"), ("<html>", "ready")],
)  # fmt: skip
def test_slacks_api_answers_200_also_where_it_refuses(far: MakeFar, serve: Serve, body: str, state: str) -> None:
    here = far("slack", api=serve(Said(body=body)).url, token_file="xoxb-1", channel="#training")
    here.notify(intent())
    here.drain()
    assert [s for s, _, _ in here.replies] == [state]


def test_slack_reads_no_markup_out_of_payloads(far: MakeFar, serve: Serve) -> None:
    server = serve()
    here = far("slack", url_file=server.url)
    here.notify(intent(Message="<!channel> & <https://evil.example|click>", LogTail="```\n<!here>"))
    here.drain()
    text = server.asked[0].body.decode()
    assert "<!" not in text and "<https" not in text


def test_teams_gets_an_adaptive_card_that_fits(far: MakeFar, serve: Serve) -> None:
    server = serve(Said(status=202))
    here = far("teams", url_file=f"{server.url}/workflows/x?sig=y")
    here.notify(intent(LogTail="\n".join(f"line {n} {'é' * 390}" for n in range(40))))
    here.drain()
    (asked,) = server.asked
    assert len(asked.body) <= 28 * 1024 and asked.path == "/workflows/x?sig=y"
    (card,) = asked.json["attachments"]
    assert asked.json["type"] == "message"
    assert (card["contentType"], card["contentUrl"]) == ("application/vnd.microsoft.card.adaptive", None)
    assert (card["content"]["type"], card["content"]["version"]) == ("AdaptiveCard", "1.4")
    texts = [block["text"] for block in card["content"]["body"]]
    assert texts[:2] == ["Error", SUBJECT]
    assert {action["type"] for action in card["content"]["actions"]} == {"Action.OpenUrl"}


def test_ntfy_gets_its_topic_only_when_it_is_sent(far: MakeFar, serve: Serve) -> None:
    server = serve()
    here = far("ntfy", url=server.url, topic_file="s3cret-topic", token_file="tk_1")
    here.notify(intent(severity=Severity.CRITICAL))
    here.drain()
    (asked,) = server.asked
    sent = asked.json
    assert (asked.path, sent["topic"], sent["title"], sent["priority"]) == ("/", "s3cret-topic", SUBJECT, 5)
    assert asked.headers["authorization"] == "Bearer tk_1"
    assert len(sent["actions"]) <= 3 and sent["click"].startswith("https://")
    assert "s3cret" not in here.mails()[0].message.decode()


def test_the_common_alert_schema_is_azures(far: MakeFar, serve: Serve) -> None:
    server = serve()
    here = far("webhook", url=server.url, allow_private=True, format="common-alert-schema")
    here.notify(intent(severity=Severity.ERROR))
    here.drain()
    sent = server.asked[0].json
    essentials, context = sent["data"]["essentials"], sent["data"]["alertContext"]
    assert sent["schemaId"] == "azureMonitorCommonAlertSchema"
    assert {name: essentials[name] for name in ("severity", "signalType", "monitorCondition", "monitoringService", "alertRule")} == {
        "severity": "Sev1", "signalType": "Log", "monitorCondition": "Fired", "monitoringService": "Log Alerts V2",
        "alertRule": "run-failed",
    }  # fmt: skip
    assert "resolvedDateTime" not in essentials and context["conditionType"] == "LogQueryCriteria"


def test_the_plain_form_says_what_a_program_needs(far: MakeFar, serve: Serve) -> None:
    server = serve()
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent(labels={"team": "ranking"}))
    here.drain()
    sent = server.asked[0].json
    assert (sent["version"], sent["kind"], sent["status"], sent["severity"]) == ("1", "fired", "firing", "error")
    (alert,) = sent["alerts"]
    assert alert["rule"] == INFO.name and alert["labels"] == {"team": "ranking"} and alert["run_id"] == "sweep-42"
    assert sent["run"]["experiment"] == EVENT["ExperimentName"]
    assert sent["links"]["run"] == EVENT["Url"]


def test_apprise_sends_to_each_address_and_only_again_to_who_refused(far: MakeFar, serve: Serve) -> None:
    """By two gotify servers, one of which is down at first."""
    good, bad = serve(Said(body="{}")), serve(Said(status=500), Said(body="{}"))
    urls = tuple(f"gotify://127.0.0.1:{server.port}/token{n}" for n, server in enumerate((good, bad)))
    here = far("apprise", urls)
    here.notify(intent())
    here.drain()
    assert here.replies == [("ready", 1, "Apprise says that gotify did not take it")]
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert here.replies == [("sent", 2, "Apprise says it is sent")]
    assert (len(good.asked), len(bad.asked)) == (1, 2)
    assert good.asked[0].json["title"] == SUBJECT


def test_apprise_gives_up_after_five_attempts(far: MakeFar, serve: Serve) -> None:
    here = far("apprise", (f"gotify://127.0.0.1:{serve(Said(status=500)).port}/token",))
    here.notify(intent())
    for _ in range(6):
        here.drain()
        here.clock.advance(timedelta(hours=1))
    assert [(state, attempts) for state, attempts, _ in here.replies] == [("failed", 5)]
    assert len(here.wire.sent) == 1

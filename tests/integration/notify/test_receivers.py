"""Receivers end to end: a project directory, `tocsin up`, an event by HTTP, and who got what; and `notify test`."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import _without
from tests.integration.commands import PROGRAM, Here, command
from tests.integration.lived import event
from tests.servers.alertmanager import AlertmanagerServer
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing, free_port
from tests.servers.recording import RecordingServer, Said

RULES = """\
rules:
  - name: run-failed
    when: {status: Failed}
    summary: "{{ ExperimentName }} failed: {{ Message }}"
    severity: critical
    fields: [ExperimentName]
    notify: {to: [hook]}
"""
ROOT = Path(__file__).parents[3]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[AlertmanagerServer]:
    config = {"route": {"receiver": "r"}, "receivers": [{"name": "r"}]}
    try:
        server = AlertmanagerServer(tmp_path / "am", json.dumps(config))
    except ServerMissing as why:
        _without(why)
    server.start()
    yield server
    server.stop()


def project(directory: Path, oncall: str) -> Path:
    for name, text in {"rules/alerts/r.yaml": RULES, "rules/oncall/o.yaml": oncall, "tocsin.yaml": "{}\n"}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    (directory / "hook.secret").write_text("s3cret\n")
    return directory


def test_a_receiver_that_a_rule_names_and_one_that_the_route_finds(
    tmp_path: Path, alertmanager: AlertmanagerServer
) -> None:
    """The webhook's first answer is 500: it is tried again. Nothing of it holds the mail back."""
    with RecordingServer(lambda _, number: Said(status=500) if number == 0 else Said(status=202)) as hook:
        home = project(
            tmp_path / "home",
            f"""\
receivers:
  - {{name: hook, webhook: {{url: "{hook.url}/x", secret_file: hook.secret, allow_private: true}}, email: ops@example.org}}
  - {{name: am, alertmanager: {{urls: ["{alertmanager.url}"]}}}}
route: {{receiver: am}}
""",
        )
        tocsin = Here(program=PROGRAM, home=home).start(within=60)
        try:
            failed = event("3", RunId="r1", Status="Failed", ExperimentName="churn", Message="CUDA out of memory")
            assert tocsin.send(json.dumps([failed]).encode()).status == 202
            eventually(lambda: len(hook.asked) == 2, 60)
            eventually(lambda: alertmanager.alerts(), 20)

            def shown() -> bool:
                rows = tocsin.query("Notifications | where State == 'sent' | project Channel, Address, Receiver")
                assert sorted(tuple(row.values()) for row in rows) == [
                    ("alertmanager", "alertmanager:am", "am"),
                    ("email", "ops@example.org", "hook"),
                    ("webhook", "webhook:hook", "hook"),
                ]
                return True

            eventually(shown, 20)
            page = tocsin.get("/notifications")
            assert page.status == 200 and "webhook:hook" in page.body
        finally:
            tocsin.stop()
        first, second = hook.asked
        assert first.body == second.body and first.path == "/x"
        assert first.json["title"] == "churn failed: CUDA out of memory"
        (alert,) = alertmanager.alerts() or []
        assert alert["labels"]["alertname"] == "run-failed" and alert["labels"]["experiment_name"] == "churn"


TOKENS = """\
tokens:
  - {name: sender, token: a-token-of-the-sender, roles: [producer, responder]}
  - {name: pager, token: secret-of-the-pager, roles: [responder], signature: pagerduty}
"""
WEBHOOK: dict[str, Any] = {
    "event": {
        "id": "01CNBR4LHQX4P7Z9QAGIZBLD7Q",
        "event_type": "incident.acknowledged",
        "resource_type": "incident",
        "occurred_at": "2026-11-29T18:30:00.000Z",
        "agent": {"id": "PABC123", "type": "user_reference", "summary": "Noor Haddad"},
        "client": None,
        "data": {"id": "Q1", "type": "incident", "number": 7, "status": "acknowledged", "title": "churn failed"},
    }
}
"""As PagerDuty's webhooks v3 are documented, but for the key of the incident."""


def test_who_acknowledges_in_pagerduty_acknowledges_here(tmp_path: Path) -> None:
    """Only a body that PagerDuty signed does, of an incident that is ours."""
    with RecordingServer(lambda _, __: Said(status=202)) as far:
        home = project(
            tmp_path / "home",
            f"""\
receivers:
  - {{name: hook, pagerduty: {{routing_key_file: hook.secret, url: "{far.url}/each"}}}}
  - {{name: whole, pagerduty: {{routing_key_file: hook.secret, url: "{far.url}/groups", group: true}}}}
route: {{receiver: whole}}
""",
        )
        (home / "tokens.yaml").write_text(TOKENS)
        tocsin = Here(program=PROGRAM, home=home).start(within=60)
        try:
            bearer = {"Authorization": "Bearer a-token-of-the-sender"}
            failed = event("3", RunId="r1", Status="Failed", ExperimentName="churn", Message="CUDA out of memory")
            assert 202 == httpx.post(f"{tocsin.url}/intake/events", json=[failed], headers=bearer).status_code
            eventually(lambda: len(far.asked) == 2, 30)

            def said(key: str, secret: str = "secret-of-the-pager", kind: str = "acknowledged") -> httpx.Response:
                data = {**WEBHOOK["event"]["data"], "incident_key": key}
                sent = {"event": {**WEBHOOK["event"], "event_type": f"incident.{kind}", "data": data}}
                body = json.dumps(sent).encode()
                right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
                signed = {"X-PagerDuty-Signature": f"v1={'0' * 64}, v1={right}"}
                return httpx.post(f"{tocsin.url}/api/v1/pagerduty", content=body, headers=signed)

            def taken() -> list[str | None]:
                active = httpx.get(f"{tocsin.url}/api/v1/alerts/active", headers=bearer).json()
                return [each["AcknowledgedBy"] for each in active["alerts"]]

            keys = {asked.path: asked.json["dedup_key"] for asked in far.asked}
            assert keys["/each"] != keys["/groups"]
            assert 401 == said(keys["/each"], secret="another-long-secret").status_code
            assert {"Done": 0, "NotDone": 0} == {k: said("another's").json()[k] for k in ("Done", "NotDone")}
            assert 0 == said(keys["/each"], kind="triggered").json()["Done"]
            assert [None] == taken()
            assert 1 == said(keys["/each"]).json()["Done"]
            assert ["Noor Haddad"] == taken()
            assert 1 == said(keys["/groups"], kind="resolved").json()["NotDone"]  # it is taken already
        finally:
            tocsin.stop()


def tried(home: Path, receiver: str) -> tuple[int, list[dict[str, Any]], str]:
    done = command("notify", "test", receiver, "--home", home, "--json", cwd=home)
    return done.returncode, json.loads(done.stdout) if done.stdout else [], done.stderr


def test_notify_test_sends_says_what_was_answered_and_resolves(
    tmp_path: Path, alertmanager: AlertmanagerServer
) -> None:
    with RecordingServer(
        lambda asked, _: Said(status=404, body="no hook") if asked.path == "/x" else Said(status=202)
    ) as far:
        home = project(
            tmp_path / "home",
            f"""\
receivers:
  - {{name: hook, webhook: {{url: "{far.url}/x", allow_private: true}}}}
  - {{name: pager, pagerduty: {{routing_key_file: hook.secret, url: "{far.url}/v2/enqueue"}}}}
  - {{name: am, alertmanager: {{urls: ["{alertmanager.url}"]}}}}
  - {{name: gone, ntfy: {{url: "http://127.0.0.1:{free_port()}", topic: t}}}}
  - {{name: people, email: [ops@example.org, "{{{{ OwnerEmail }}}}"]}}
""",
        )
        code, rows, _ = tried(home, "hook")
        assert (code, [(r["Outcome"], r["Reply"]) for r in rows]) == (1, [("never", "404 no hook")])
        code, rows, _ = tried(home, "pager")
        assert (code, [(r["Sent"], r["Outcome"]) for r in rows]) == (
            0,
            [("message", "accepted"), ("resolve", "accepted")],
        )
        trigger, resolve = (asked.json for asked in far.asked if asked.path == "/v2/enqueue")
        assert trigger["payload"]["summary"] == "TEST: a message from tocsin to pager"
        assert (resolve["event_action"], resolve["dedup_key"]) == ("resolve", trigger["dedup_key"])
        code, rows, _ = tried(home, "am")
        assert (code, [r["Outcome"] for r in rows]) == (0, ["accepted", "accepted"])
        assert alertmanager.alerts() == []
        code, rows, _ = tried(home, "gone")
        assert (code, [r["Outcome"] for r in rows]) == (1, ["network"])
        code, rows, said = tried(home, "people")
        assert (code, [(r["Address"], r["Outcome"]) for r in rows]) == (0, [("ops@example.org", "accepted")])
        assert "Not tried: {{ OwnerEmail }}" in said
        code, _, said = tried(home, "hok")
        assert code == 1 and "there is no receiver 'hok'" in said and "hook" in said


def test_the_exercise_is_one_line_also_in_yaml(tmp_path: Path) -> None:
    """A program that registers one channel more and is tocsin otherwise."""
    home = project(tmp_path / "home", "receivers:\n  - {name: hook, jsonlines: {file: out.jsonl}}\n")
    line = "from tocsin.notify.channels.registry import register; register(JsonLines)"
    program = f"from tests.unit.notify.channels.jsonlines import JsonLines; {line}; from tocsin.cli import main; main()"
    started = [sys.executable, "-c", program, "notify", "test", "hook", "--home", str(home)]
    done = subprocess.run(started, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "out.jsonl").read_text()) == {"subject": "TEST: a message from tocsin to hook"}

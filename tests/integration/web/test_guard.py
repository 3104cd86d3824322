"""Who may do what: tokens and roles, hosts, origins, sizes."""

import gzip
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.integration.web.conftest import BOUND, EXPIRED, FROM_LAB, NIGHTLY, SIGNING, TOKENS
from tests.servers.eventually import eventually


@pytest.fixture(scope="module")
def outside(guarded: Tocsin) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=guarded.url, timeout=30, trust_env=False) as made:
        yield made


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def asked(client: httpx.Client, path: str, **how: object) -> int:
    if path.startswith("/intake/"):
        return client.post(path, json=event("1", RunId="r", Status="Running"), **how).status_code  # type: ignore[arg-type]
    return client.get(path, **how).status_code  # type: ignore[arg-type]


READ = {"viewer", "responder", "admin"}


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        ("/intake/events", {"producer", "admin"}),
        ("/metrics", {"metrics", *READ}),
        ("/api/v1/runs", READ),
        ("/api/v1/openapi.json", READ),
        ("/notifications", READ),
        ("/", READ),
        ("/nothing", READ),
        ("/healthz", {*TOKENS, ""}),
        ("/readyz", {*TOKENS, ""}),
        ("/login", {*TOKENS, ""}),
        ("POST /api/v1/query", READ),
        ("POST /api/v1/alerts/none/close", {"responder", "admin"}),
        ("POST /api/v1/silences", {"responder", "admin"}),
        ("POST /silences/none/expire", {"responder", "admin"}),
        ("POST /api/v1/dead-letters/replay", {"admin"}),
        ("POST /consumers/replay", {"admin"}),
        ("POST /api/v1/backup", {"admin"}),
    ],
)
def test_each_role_opens_what_it_is_for(outside: httpx.Client, path: str, opens: set[str]) -> None:
    """401 to who shows no token, or one for other work; 403 to who reads, and may not do this."""
    for role in (*TOKENS, ""):
        headers = bearer(role) if role else {}
        if path.startswith("POST "):
            status = outside.post(path[5:], content=b"not read", headers=headers).status_code
        else:
            status = asked(outside, path, headers=headers)
        assert (role in opens) == (status not in (401, 403) or (path == "POST /api/v1/backup" and role == "admin")), (
            role,
            status,
        )
        assert (role in {*READ, "metrics"} - opens) == (status == 403) or role == "admin"


def test_a_token_for_one_consumer_posts_to_no_other_and_one_that_has_expired_to_none(outside: httpx.Client) -> None:
    bound, expired = ({"Authorization": f"Bearer {word}"} for word in (BOUND, EXPIRED))
    assert 401 == asked(outside, "/intake/events", headers=bound)
    assert 401 != asked(outside, "/intake/github-actions", headers=bound)
    assert 401 == outside.get("/ping/" + EXPIRED + "/nightly").status_code
    for path in ("/intake/events", "/metrics", "/api/v1/runs"):
        assert 401 == asked(outside, path, headers=expired)


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKENS['viewer']}"}, {"Authorization": "Basic Og=="}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKENS['viewer']}x"},
     {"Authorization": "Bearer ő".encode()}, {"Cookie": "tocsin_session=x"}, {"Cookie": 'tocsin_session="'}],
)  # fmt: skip
def test_what_is_no_token_opens_nothing(outside: httpx.Client, headers: dict[str, str]) -> None:
    answer = outside.get("/api/v1/runs", headers=headers)
    assert 401 == answer.status_code
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "application/problem+json" == answer.headers["content-type"]


def test_intake_takes_a_token_in_the_query_and_nothing_else_does(outside: httpx.Client, guarded: Tocsin) -> None:
    """Event Grid cannot send headers. The address is in no log."""
    assert 202 == asked(outside, f"/intake/events?token={TOKENS['producer']}")
    assert 202 == asked(outside, f"/intake/events?code={TOKENS['producer']}")
    assert 401 == asked(outside, f"/api/v1/runs?token={TOKENS['viewer']}")
    assert 401 == asked(outside, "/intake/events?token=wrong-token-of-some-length")
    log = guarded.log.read_text()
    assert not any(word in log for word in (*TOKENS.values(), "wrong-token-of-some-length"))


def test_a_password_may_be_the_token(outside: httpx.Client) -> None:
    """Webhooks and Prometheus know Basic; a browser sends it to any site's form, so that such is refused."""
    login = httpx.BasicAuth("whoever", TOKENS["producer"])
    assert 202 == asked(outside, "/intake/events", auth=login)
    assert 401 == asked(outside, "/intake/events", auth=httpx.BasicAuth(TOKENS["producer"], "wrong"))
    assert 403 == asked(outside, "/intake/events", auth=login, headers={"Origin": "https://evil.example"})
    assert 200 == outside.get("/metrics", auth=httpx.BasicAuth("", TOKENS["metrics"])).status_code


def _signed(by: str, body: bytes, *, secret: str = "", at: int | None = None) -> dict[str, str]:
    """Headers as GitHub and Slack document them; the code under test shares none of this."""
    key = (secret or SIGNING[by]).encode()
    if by == "github":
        return {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()}
    at = int(time.time()) if at is None else at
    signed = hmac.new(key, f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Signature": f"v0={signed}", "X-Slack-Request-Timestamp": str(at)}


@pytest.mark.parametrize("by", ["github", "slack"])
def test_a_webhook_signs_its_body(outside: httpx.Client, by: str) -> None:
    """The secret is never sent, and opens nothing by itself; another body, another secret or an old signature is refused."""
    body = json.dumps(event("9", RunId=f"signed-{by}", Status="Running")).encode()

    def post(headers: dict[str, str], content: bytes = body) -> int:
        return outside.post("/intake/events", content=content, headers=headers).status_code

    assert 202 == post(_signed(by, body))
    assert 202 == post(
        {**_signed(by, gzip.compress(body, mtime=0)), "Content-Encoding": "gzip"}, gzip.compress(body, mtime=0)
    )
    assert 401 == post(_signed(by, body), body + b" ")
    assert 401 == post(_signed(by, body, secret="another-long-secret"))
    assert 401 == post(dict.fromkeys(_signed(by, body), ""))
    assert 401 == post({"Authorization": f"Bearer {SIGNING[by]}"})
    assert 401 == outside.get("/api/v1/runs", headers=_signed(by, b"")).status_code
    large = b" " * (1 << 20) + body
    assert 413 == post(_signed(by, large), large)
    if by == "slack":
        assert 401 == post(_signed(by, body, at=int(time.time()) - 301))
        assert 401 == post({**_signed(by, body), "X-Slack-Request-Timestamp": "9" * 11})


def test_a_producer_speaks_for_its_sources_alone(outside: httpx.Client) -> None:
    """Another Source is a dead letter: its event cannot make another producer's real one a duplicate."""
    headers = {"Authorization": f"Bearer {FROM_LAB}"}
    mine, other = (
        event("1", RunId="lab-run", Status="Running"),
        {**event("1", RunId="x", Status="Running"), "source": "grid"},
    )
    nameless = {k: v for k, v in mine.items() if k != "source"}
    said = outside.post("/intake/events", json=[mine, other, nameless], headers=headers).json()
    assert (1, 2) == (said["accepted"] + said["duplicate"], said["dead"])
    assert {
        ("foreign_source", "the token is not for the source 'grid'"),
        ("foreign_source", "the token is not for the source ''"),
    } == {(letter["reason"], letter["detail"]) for letter in said["dead_letters"]}
    assert 202 == outside.post("/intake/events", json={**other, "id": "real"}, headers=bearer("producer")).status_code
    assert 401 == outside.get(f"/ping/{FROM_LAB}/nightly").status_code


PREFECT = {
    "id": "1",
    "occurred": "2026-11-23T18:30:00Z",
    "event": "prefect.flow-run.Completed",
    "resource": {"prefect.resource.id": "prefect.flow-run.grid-17", "prefect.state-type": "COMPLETED"},
}
"""An event that a mapping reads."""


def test_a_producer_ends_none_but_its_runs(outside: httpx.Client, guarded: Tocsin) -> None:
    """Under its own Source neither: an event that names another's run or job, as its parent too, is a dead letter."""
    headers = {"Authorization": f"Bearer {FROM_LAB}"}
    running = {**event("1", RunId="grid-17", JobKey="grid-job", Status="Running"), "source": "grid"}
    assert 202 == outside.post("/intake/events", json=running, headers=bearer("producer")).status_code
    named: list[dict[str, Any]] = [
        {"RunId": "grid-17"},
        {"RunId": "lab-7", "JobKey": "grid-job", "Attempt": 9},
        {"RunId": "lab-7", "ParentRunId": "grid-17"},
        {"RunId": "lab-7", "RootRunId": "grid-17"},
        {"RunId": 17},
        {"RunId": "LAB-7"},
    ]
    sent = [event(str(20 + n), Status="Completed", **names) for n, names in enumerate(named)]
    beat = {**event("19", RunId="grid-17"), "type": "tocsin.run.heartbeat"}
    update = {**event("18", RunId="grid-17", Tags={"a": "b"}), "type": "tocsin.run.update"}
    said = outside.post("/intake/events", json=[*sent, beat, update], headers=headers).json()
    assert (0, 8) == (said["accepted"], said["dead"])
    assert {"foreign_run"} == {letter["reason"] for letter in said["dead_letters"]}
    assert "the token is not for the JobKey 'grid-job'" in {letter["detail"] for letter in said["dead_letters"]}
    own = event("17", RunId="lab-7", JobKey="lab-job", ParentRunId="lab-1", Status="Completed")
    assert 1 == outside.post("/intake/events", json=own, headers=headers).json()["accepted"]
    assert 200 == outside.get(f"/ping/{NIGHTLY}/nightly/fail").status_code
    assert 403 == outside.get(f"/ping/{NIGHTLY}/grid-job").status_code
    mapped = outside.post("/intake/prefect", json=PREFECT, headers={"Authorization": f"Bearer {NIGHTLY}"}).json()
    assert ["foreign_run"] == [letter["reason"] for letter in mapped["dead_letters"]]
    query = {"query": "Runs | where RunId == 'grid-17' | project Status"}
    (run,) = outside.post("/api/v1/query", json=query, headers=bearer("viewer")).json()["rows"]
    assert "Running" == run["Status"]


def test_a_stranger_learns_that_it_lives_and_is_ready_no_more(outside: httpx.Client) -> None:
    assert {"status": "ok"} == outside.get("/healthz").json()
    assert {"ready": True} == outside.get("/readyz").json()
    assert "store" in outside.get("/readyz", headers=bearer("viewer")).json()


def test_a_person_logs_in_with_a_token(outside: httpx.Client, guarded: Tocsin) -> None:
    """The page asked for comes after the login; the cookie opens pages and API reads, and no script can read it."""
    html = {"Accept": "text/html"}
    sent = outside.get("/notifications?state=sent", headers=html)
    assert (303, "/login?next=%2Fnotifications") == (sent.status_code, sent.headers["location"])
    with httpx.Client(base_url=guarded.url, trust_env=False) as browser:
        assert 401 == browser.post("/login", data={"token": TOKENS["producer"]}).status_code
        done = browser.post("/login?next=%2Fnotifications", data={"token": f" {TOKENS['viewer']} "})
        assert (303, "/notifications") == (done.status_code, done.headers["location"])
        assert {"httponly", "samesite=lax"} <= {part.strip().lower() for part in done.headers["set-cookie"].split(";")}
        assert 200 == browser.get("/notifications").status_code
        assert 200 == browser.get("/api/v1/runs").status_code
        assert 401 == browser.post("/intake/events", json={}).status_code
        query = {"query": "Runs | take 1"}
        assert 403 == browser.post("/api/v1/query", json=query, headers={"Origin": "https://evil.example"}).status_code
        assert 403 == browser.post("/api/v1/query", json=query, headers={"Sec-Fetch-Site": "cross-site"}).status_code
        assert 200 == browser.post("/api/v1/query", json=query, headers={"Origin": guarded.url}).status_code


def test_a_session_ends_with_its_logout_and_with_its_token(guarded: Tocsin) -> None:
    """The browser never gets the token. Elsewhere's pages cannot log anybody out."""
    before = (guarded.home / "tokens.yaml").read_text()
    guarded.write("tokens.yaml", before + "\n  - {name: anna, token: a-long-token-of-anna, roles: [responder]}")
    with httpx.Client(base_url=guarded.url, trust_env=False) as browser:
        eventually(lambda: 303 == browser.post("/login", data={"token": "a-long-token-of-anna"}).status_code, 20)
        word = browser.cookies["tocsin_session"]
        assert word != "a-long-token-of-anna" and word not in (guarded.home / "data" / "sessions.json").read_text()
        assert 'action="/logout"' in browser.get("/notifications").text
        assert (
            401
            == httpx.get(
                f"{guarded.url}/api/v1/runs", headers={"Authorization": f"Bearer {word}"}, trust_env=False
            ).status_code
        )
        elsewhere = {"Origin": "https://evil.example"}
        assert 403 == browser.post("/logout", headers=elsewhere).status_code
        assert 403 == browser.post("/login", data={"token": TOKENS["viewer"]}, headers=elsewhere).status_code
        assert 200 == browser.get("/api/v1/runs").status_code
        assert (303, "/login") == ((out := browser.post("/logout")).status_code, out.headers["location"])
        assert "tocsin_session" not in browser.cookies
        browser.cookies.set("tocsin_session", word)
        assert 401 == browser.get("/api/v1/runs").status_code
        browser.cookies.clear()
        assert 303 == browser.post("/login", data={"token": "a-long-token-of-anna"}).status_code
        assert 200 == browser.get("/api/v1/runs").status_code
        (anna,) = [row for row in json.loads(guarded.run("tokens", "list", "--json").stdout) if row["Token"] == "anna"]
        assert anna["LastUsed"].startswith("20")
        assert 0 == guarded.run("tokens", "revoke", "anna").returncode
        assert eventually(lambda: 401 == browser.get("/api/v1/runs").status_code, 20)
    guarded.write("tokens.yaml", before)


def test_logins_that_fail_have_to_wait_and_all_is_audited(outside: httpx.Client, guarded: Tocsin) -> None:
    """Somebody who guesses gets a few tries, then waits longer each time. KQL says who logged in, failed, asked and replayed."""

    def attempt(word: str) -> httpx.Response:
        with httpx.Client(base_url=guarded.url, trust_env=False) as browser:
            return browser.post("/login", data={"token": word})

    assert 303 == attempt(TOKENS["viewer"]).status_code
    assert {401} == {attempt("wrong").status_code for _ in range(5)}
    refused = attempt(TOKENS["viewer"])
    assert 429 == refused.status_code and int(refused.headers["retry-after"]) >= 1
    assert eventually(lambda: 303 == attempt(TOKENS["viewer"]).status_code, 20)
    asked(outside, "/api/v1/runs")
    outside.post("/api/v1/dead-letters/replay", json={"consumer": "none"}, headers=bearer("admin"))
    query = {
        "query": "Actions | where Kind in ('login', 'login-failed', 'refused', 'query', 'replay') | summarize n = count() by Kind, By, Via"
    }

    def rows() -> set[tuple[str, str, str]]:
        found = outside.post("/api/v1/query", json=query, headers=bearer("viewer")).json()["rows"]
        return {(row["Kind"], row["By"], row["Via"]) for row in found}

    wanted = {
        ("login", "viewer", "page"),
        ("login-failed", "", "page"),
        ("refused", "", "api"),
        ("query", "viewer", "api"),
        ("replay", "admin", "api"),
    }
    assert eventually(lambda: wanted <= rows(), 10)


def test_commands_on_this_machine_need_no_token(guarded: Tocsin) -> None:
    """They read the instance's own one, which only its user can."""
    done = guarded.run("query", "Runs | take 1", "--json")
    assert 0 == done.returncode, done.stderr
    wrong = guarded.run("query", "Runs", TOCSIN_TOKEN="wrong")
    assert (1, "") == (wrong.returncode, wrong.stdout)
    assert "set TOCSIN_TOKEN" in wrong.stderr


def test_a_changed_tokens_file_counts_without_a_restart(guarded: Tocsin, outside: httpx.Client) -> None:
    path = guarded.home / "tokens.yaml"
    before = path.read_text()
    guarded.write("tokens.yaml", before + "\n  - {name: new, token: another-long-token, roles: [viewer]}")
    try:
        assert eventually(
            lambda: (
                200 == outside.get("/api/v1/runs", headers={"Authorization": "Bearer another-long-token"}).status_code
            ),
            20,
        )
    finally:
        guarded.write("tokens.yaml", before)
    assert eventually(
        lambda: 401 == outside.get("/api/v1/runs", headers={"Authorization": "Bearer another-long-token"}).status_code,
        20,
    )


def test_bodies_have_a_limit_said_or_not(outside: httpx.Client) -> None:
    """By Content-Length before anything is read, else while it is read; the API's limit is its own."""
    large = b'{"a": "' + b"x" * (64 << 10) + b'"}'
    said = outside.post("/intake/events", content=large, headers=bearer("producer"))
    unsaid = outside.post("/intake/events", content=iter([large[:1000], large[1000:]]), headers=bearer("producer"))
    assert (413, 413) == (said.status_code, unsaid.status_code)
    assert "application/problem+json" == said.headers["content-type"] == unsaid.headers["content-type"]
    longer = {"query": "Runs // " + "x" * (70 << 10)}
    assert 413 != outside.post("/api/v1/query", json=longer, headers=bearer("viewer")).status_code
    assert 413 == outside.post("/api/v1/query", json={"query": "x" * (1 << 20)}, headers=bearer("viewer")).status_code


def test_refusals_are_counted(outside: httpx.Client) -> None:
    asked(outside, "/intake/events")
    text = outside.get("/metrics", headers=bearer("metrics")).text
    found = re.search(r'tocsin_intake_refused_total\{reason="token"\} (\d+)', text)
    assert found and int(found[1]) >= 1


# -- on loopback without tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1234", 200),
        ("localhost", 200),
        ("[::1]:8700", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_a_name_that_was_rebound_is_not_answered(lived: Tocsin, host: str, status: int) -> None:
    """A page of evil.example that made its name point at 127.0.0.1 must not read runs."""
    with httpx.Client(trust_env=False) as client:
        assert status == client.get(f"{lived.url}/api/v1/runs", headers={"Host": host}).status_code


@pytest.mark.parametrize("path", ["/intake/events", "/api/v1/dead-letters/replay", "/api/v1/query"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_can_post_nothing(lived: Tocsin, path: str, headers: dict[str, str]) -> None:
    """A browser sends such posts without asking when the body is text/plain."""
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"{lived.url}{path}", content=b"{}", headers={"Content-Type": "text/plain", **headers})
    assert 403 == answer.status_code


def test_an_address_of_the_network_needs_tokens(tmp_path: pytest.TempPathFactory) -> None:
    """It refuses to start and says how to make one."""
    tocsin = Here(program=PROGRAM, home=tmp_path)  # type: ignore[arg-type]
    tocsin.begin("--host", "0.0.0.0")
    assert 1 == tocsin.ended(60)
    assert "tocsin tokens new" in tocsin.said()

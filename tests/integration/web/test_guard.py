"""Who may do what: tokens and roles, hosts, origins, sizes."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.integration.web.conftest import BOUND, EXPIRED, TOKENS


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


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        ("/intake/events", {"intake"}),
        ("/metrics", {"metrics", "api"}),
        ("/api/v1/runs", {"api"}),
        ("/api/v1/openapi.json", {"api"}),
        ("/notifications", {"api"}),
        ("/", {"api"}),
        ("/nothing", {"api"}),
        ("/healthz", {"intake", "api", "metrics", ""}),
        ("/readyz", {"intake", "api", "metrics", ""}),
        ("/login", {"intake", "api", "metrics", ""}),
    ],
)
def test_each_role_opens_what_it_is_for(outside: httpx.Client, path: str, opens: set[str]) -> None:
    for role in ("intake", "api", "metrics", ""):
        status = asked(outside, path, headers=bearer(role) if role else {})
        assert (role in opens) == (status in (200, 202, 404)), (role, status)
        assert status in (200, 202, 404, 401)


def test_a_token_for_one_consumer_posts_to_no_other_and_one_that_has_expired_to_none(outside: httpx.Client) -> None:
    bound, expired = ({"Authorization": f"Bearer {word}"} for word in (BOUND, EXPIRED))
    assert 401 == asked(outside, "/intake/events", headers=bound)
    assert 401 != asked(outside, "/intake/github-actions", headers=bound)
    assert 401 == outside.get("/ping/" + EXPIRED + "/nightly").status_code
    for path in ("/intake/events", "/metrics", "/api/v1/runs"):
        assert 401 == asked(outside, path, headers=expired)


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKENS['api']}"}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKENS['api']}x"},
     {"Authorization": "Bearer ő".encode()}, {"Cookie": "tocsin_token=x"}, {"Cookie": 'tocsin_token="'}],
)  # fmt: skip
def test_what_is_no_token_opens_nothing(outside: httpx.Client, headers: dict[str, str]) -> None:
    answer = outside.get("/api/v1/runs", headers=headers)
    assert 401 == answer.status_code
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "application/problem+json" == answer.headers["content-type"]


def test_intake_takes_a_token_in_the_query_and_nothing_else_does(outside: httpx.Client, guarded: Tocsin) -> None:
    """Event Grid cannot send headers. The address is in no log."""
    assert 202 == asked(outside, f"/intake/events?token={TOKENS['intake']}")
    assert 202 == asked(outside, f"/intake/events?code={TOKENS['intake']}")
    assert 401 == asked(outside, f"/api/v1/runs?token={TOKENS['api']}")
    assert 401 == asked(outside, "/intake/events?token=wrong-token-of-some-length")
    log = guarded.log.read_text()
    assert not any(word in log for word in (*TOKENS.values(), "wrong-token-of-some-length"))


def test_a_stranger_learns_that_it_lives_and_is_ready_no_more(outside: httpx.Client) -> None:
    assert {"status": "ok"} == outside.get("/healthz").json()
    assert {"ready": True} == outside.get("/readyz").json()
    assert "store" in outside.get("/readyz", headers=bearer("api")).json()


def test_a_person_logs_in_with_a_token(outside: httpx.Client, guarded: Tocsin) -> None:
    """The page asked for comes after the login; the cookie opens pages and API reads, and no script can read it."""
    html = {"Accept": "text/html"}
    sent = outside.get("/notifications?state=sent", headers=html)
    assert (303, "/login?next=%2Fnotifications") == (sent.status_code, sent.headers["location"])
    with httpx.Client(base_url=guarded.url, trust_env=False) as browser:
        assert 401 == browser.post("/login", data={"token": TOKENS["intake"]}).status_code
        done = browser.post("/login?next=%2Fnotifications", data={"token": f" {TOKENS['api']} "})
        assert (303, "/notifications") == (done.status_code, done.headers["location"])
        assert {"httponly", "samesite=lax"} <= {part.strip().lower() for part in done.headers["set-cookie"].split(";")}
        assert 200 == browser.get("/notifications").status_code
        assert 200 == browser.get("/api/v1/runs").status_code
        assert 401 == browser.post("/intake/events", json={}).status_code
        query = {"query": "Runs | take 1"}
        assert 403 == browser.post("/api/v1/query", json=query, headers={"Origin": "https://evil.example"}).status_code
        assert 403 == browser.post("/api/v1/query", json=query, headers={"Sec-Fetch-Site": "cross-site"}).status_code
        assert 200 == browser.post("/api/v1/query", json=query, headers={"Origin": guarded.url}).status_code


def test_commands_on_this_machine_need_no_token(guarded: Tocsin) -> None:
    """They read the instance's own one, which only its user can."""
    done = guarded.run("query", "Runs | take 1", "--json")
    assert 0 == done.returncode, done.stderr
    wrong = guarded.run("query", "Runs", TOCSIN_TOKEN="wrong")
    assert (1, "") == (wrong.returncode, wrong.stdout)
    assert "set TOCSIN_TOKEN" in wrong.stderr


def test_a_changed_tokens_file_counts_without_a_restart(guarded: Tocsin, outside: httpx.Client) -> None:
    from tests.servers.eventually import eventually

    path = guarded.home / "tokens.yaml"
    before = path.read_text()
    guarded.write("tokens.yaml", before + "\n  - {name: new, token: another-long-token, roles: [api]}")
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
    said = outside.post("/intake/events", content=large, headers=bearer("intake"))
    unsaid = outside.post("/intake/events", content=iter([large[:1000], large[1000:]]), headers=bearer("intake"))
    assert (413, 413) == (said.status_code, unsaid.status_code)
    assert "application/problem+json" == said.headers["content-type"] == unsaid.headers["content-type"]
    longer = {"query": "Runs // " + "x" * (70 << 10)}
    assert 413 != outside.post("/api/v1/query", json=longer, headers=bearer("api")).status_code
    assert 413 == outside.post("/api/v1/query", json={"query": "x" * (1 << 20)}, headers=bearer("api")).status_code


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

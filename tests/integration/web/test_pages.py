"""Pages show what is there, and whoever posts an event can do nothing to who looks at them."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import ODD_RUN

PAGES = [
    "/", "/runs", "/runs?status=Failed", "/runs/r1", f"/runs/{quote(ODD_RUN)}", "/alerts", "/alerts?rule=run-failed", "/notifications",
    "/notifications?state=sent", "/rules", "/rules/run-failed", "/rules/failure-rate", "/rules/sweep-failing", "/rules/nightly-completed", "/rules/off-and-faulty", "/rules/nothing", "/query", "/query?kql=Runs%20%7C%20take%202", "/query?kql=Runs%20%7C%20where%20Nothing", "/query?kql=Runs%20%7C%20summarize%20n%3Dcount()%20by%20Status%20%7C%20render%20barchart", "/login",
    "/open", "/nothing", "/runs/nothing", "/runs?limit=x",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(lived: Tocsin) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lived.url, timeout=30, trust_env=False, headers={"Accept": "text/html,*/*"}) as made:
        yield made


class Looked(HTMLParser):
    """What a browser would meet."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "base"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and tag == self.open.pop(), f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def mail_page(browser: httpx.Client, address: str) -> str:
    (mail,) = browser.get("/api/v1/notifications", params={"address": address}).json()["notifications"]
    return f"/notifications/{mail['Delivery']}"


@pytest.mark.parametrize("path", [*PAGES, "mail"])
def test_a_page_is_whole_and_runs_nothing(browser: httpx.Client, path: str) -> None:
    """Well-formed, no script but tocsin's own files, no event handler, nothing from elsewhere, no link that runs something."""
    path = mail_page(browser, "anna@example.org") if path == "mail" else path
    answer = browser.get(path)
    assert (404 if "nothing" in path else 400 if "limit=x" in path else 200) == answer.status_code
    assert answer.headers["content-type"].startswith("text/html")
    seen = Looked(answer.text)
    assert [] == seen.open
    for tag, attributes in seen.tags:
        assert tag not in ("img", "i", "b", "object", "embed"), tag
        assert tag != "script" or (attributes.get("src") or "").startswith("/assets/"), attributes
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("href", "src", "action"):
            target = attributes.get(name) or ""
            outside = target.startswith(("http:", "https:", "//"))
            assert not outside or (tag == "a" and target == "https://runs.example.org/1"), target
            assert not target.lower().startswith("javascript:")
    assert "4204200" not in seen.text


@pytest.mark.parametrize(
    "path", ["/", "/notifications", "/api/v1/runs", "/metrics", "/assets/tocsin.css", "/nothing", "/healthz"]
)
def test_every_answer_has_the_headers_that_protect(browser: httpx.Client, path: str) -> None:
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert {"'self'"} >= {word for part in policy.split(";") if "script-src" in part for word in part.split()[1:]}
    assert "unsafe" not in policy
    assert ("nosniff", "DENY") == (headers["x-content-type-options"], headers["x-frame-options"])
    assert "server" not in headers


def test_what_happened_is_on_the_pages(browser: httpx.Client) -> None:
    run = Looked(browser.get("/runs/r1").text).text
    assert "Failed" in run and "<script>alert(1)</script>" in run and "anna@example.org" in run
    assert ODD_RUN in Looked(browser.get("/runs").text).text
    rules = Looked(browser.get("/rules").text).text
    assert "run-failed" in rules and "off-and-faulty" in rules and "off, faulty: parse_xml() is not supported" in rules
    faulty = Looked(browser.get("/rules/off-and-faulty").text).text
    assert "before these are fixed" in faulty and "imported.yaml:5" in faulty and "parse_xml" in faulty
    (row,) = [r for r in browser.get("/api/v1/rules").json()["rules"] if r["Rule"] == "off-and-faulty"]
    assert (False, "parse_xml() is not supported") == (row["Enabled"], row["Fault"])
    assert "imported.yaml:5" in browser.get("/api/v1/rules/off-and-faulty").json()["Faults"][0]
    rule = Looked(browser.get("/rules/run-failed").text).text
    assert "in force" in rule and "RunStatusChanged" in rule and ODD_RUN in rule and "<script>alert(1)</script>" in rule
    overview = Looked(browser.get("/").text)
    assert "All parts work" in overview.text
    assert "/runs?status=Failed" in [a.get("href") for t, a in overview.tags if t == "a"]


def test_links_lead_somewhere(browser: httpx.Client) -> None:
    """Every link of the lists answers 200, whatever is in a run's name."""
    for page in (
        "/",
        "/runs",
        "/alerts",
        "/notifications",
        "/rules",
        "/rules/run-failed",
        mail_page(browser, "anna@example.org"),
    ):
        for tag, attributes in Looked(browser.get(page).text).tags:
            target = attributes.get("href" if tag == "a" else "src") or ""
            if target.startswith("/"):
                assert 200 == browser.get(target).status_code, (page, target)


def test_a_mail_is_framed_so_that_it_can_do_nothing(browser: httpx.Client) -> None:
    page = Looked(browser.get(mail_page(browser, "anna@example.org")).text)
    (frame,) = [a for t, a in page.tags if t == "iframe"]
    assert "allow-popups allow-popups-to-escape-sandbox" == frame["sandbox"]
    answer = browser.get(frame["src"] or "")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'")
    assert "frame-ancestors 'self'" in policy and "script" not in policy
    assert "SAMEORIGIN" == answer.headers["x-frame-options"]
    assert '<base target="_blank">' in answer.text
    assert "<script>alert" not in answer.text


def test_a_wrong_query_is_explained_beside_it(browser: httpx.Client) -> None:
    page = browser.get("/query", params={"kql": "Runs\n| where <b>Nothing</b> == 1"})
    assert 200 == page.status_code
    seen = Looked(page.text)
    assert "<b>Nothing</b>" in seen.text
    assert any(a.get("role") == "alert" for _, a in seen.tags)


def test_pages_fit_a_phone_and_both_schemes(browser: httpx.Client) -> None:
    page = browser.get("/notifications").text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    css = browser.get("/assets/tocsin.css").text
    assert "prefers-color-scheme: dark" in css and "max-width: 44rem" in css and "url(" not in css


def test_a_page_names_its_own_version_of_scripts_and_styles(browser: httpx.Client) -> None:
    """So an upgrade shows no page with the styles of the version before, and a browser asks for none twice."""
    named = re.findall(r'"(/assets/[^"]+)"', browser.get("/runs").text)
    assert named and all("?v=" in each for each in named)
    for each in named:
        assert "immutable" in browser.get(each).headers["cache-control"]
        assert "max-age=300" == browser.get(each.partition("?")[0]).headers["cache-control"]

"""What a newcomer and a monitoring system see: the demo, the README's line, the pages, Prometheus, a full disk."""

import contextlib
import json
import os
import pty
import re
import resource
import select
import shlex
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from ruamel.yaml import YAML

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Gone, Tocsin
from tests.conftest import _without
from tests.oracle.events import Histories
from tests.oracle.oracle import differences, occurrences, status_is
from tests.pages import shown_on
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing, free_port
from tests.servers.prometheus import PrometheusServer, prometheus_binary
from tests.servers.smtp import SmtpServer

ROOT = Path(__file__).parents[2]


def test_the_demo_mails_within_seconds(make_tocsin: MakeTocsin, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make run` plays a day of training: mails lie in the local outbox, and its page shows them; Prometheus plots it."""
    tocsin = make_tocsin(rules="")
    monkeypatch.setenv("TMPDIR", str(tocsin.home))
    for name in ("MAKEFLAGS", "MAKELEVEL", "ARGS"):  # of the `make test` that runs this
        monkeypatch.delenv(name, raising=False)
    try:
        prometheus_binary()
    except ServerMissing as why:
        _without(why)
    options: list[str] = []
    with shown_on("README.md", "make run") as commands:
        for command in commands:
            dry = [*shlex.split(command.text, comments=True), "-n"]
            recipe = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            program, up, *now = recipe.splitlines()[-1].split()
            assert ("tocsin", "up", options) == (Path(program).name, up, now[: len(options)])
            options = now
        tocsin.begin(*options, home=False)

    def mails() -> list[dict[str, Any]]:
        try:
            return list(tocsin.get("/api/v1/notifications").body["notifications"])
        except Gone:
            return []

    eventually(lambda: len(mails()) >= 3, within=20)
    found = mails()
    page = tocsin.get("/notifications")
    assert page.status == 200
    assert sum(mail["Subject"][:20] in page.body for mail in found) >= 3, page.body[:2000]
    assert tocsin.count("RunStatusChanged") > 500
    assert tocsin.count("Runs | where Status == 'Failed'") > 5

    def fired() -> set[str]:
        return {each["Rule"] for each in tocsin.get("/api/v1/alerts").body["alerts"]}

    eventually(lambda: fired() >= {"run-failed", "sweep-failing", "failure-rate"}, within=60)

    def taken() -> set[str | None]:
        return {each["AcknowledgedBy"] for each in tocsin.get("/api/v1/alerts/active").body["alerts"]}

    eventually(lambda: "Noor" in taken(), within=30)
    said = tocsin.log.read_text()
    (plots,) = re.findall(r"http://\S+/graph\?\S+", said)
    ask = f"{plots.partition('/graph')[0]}/api/v1/query"

    def plotted() -> bool:
        queries = httpx.QueryParams(urlsplit(plots).query)
        answers = [httpx.get(ask, params={"query": q}).json() for name, q in queries.items() if name.endswith(".expr")]
        return len(answers) >= 3 and all(answer["data"]["result"] for answer in answers)

    eventually(plotted, within=30)
    for place in ("/alerts", "/notifications", "/metrics", "curl "):
        assert place in said, f"the demo does not say {place!r}:\n{said}"
    assert 0 == tocsin.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(ask)


def test_the_readme_s_curl_line(make_tocsin: MakeTocsin) -> None:
    """An event of one's own, as README sends it, is a row and a mail in the local outbox of a project directory without any file."""
    tocsin = make_tocsin(rules="")
    (tocsin.home / "tocsin.yaml").unlink()
    tocsin.start()
    quietly = 'curl() { command curl --fail --silent --show-error "$@"; }\n'
    with shown_on("README.md", "curl") as commands:
        for command in commands:
            script = quietly + command.text.replace(":8700", f":{tocsin.port}")
            sent = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
            assert sent.returncode == 0, sent.stderr
            assert 1 == json.loads(sent.stdout)["accepted"]
    eventually(lambda: len(tocsin.get("/api/v1/notifications").body["notifications"]) == 1)


def test_prometheus_scrapes_what_the_store_says(
    make_tocsin: MakeTocsin, smtp: SmtpServer, prometheus: Callable[[str], PrometheusServer]
) -> None:
    """Debian's Prometheus with the shipped scrape file, but for address and interval: its numbers equal the store's."""
    tocsin = make_tocsin(smtp=smtp).start()
    yaml = YAML(typ="safe")
    shipped = yaml.load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    shipped.pop("rule_files", None)
    shipped.pop("alerting", None)
    shipped["global"] = {"scrape_interval": "1s"}
    (job,) = [job for job in shipped["scrape_configs"] if "tocsin" in job["job_name"]]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{tocsin.port}"]}]
    job.pop("scrape_interval", None)
    job.pop("scrape_timeout", None)
    shipped["scrape_configs"] = [job]
    server = prometheus(json.dumps(shipped))

    history = Histories(3, datetime.now(UTC)).runs(150)
    for first in range(0, len(history), 50):
        tocsin.post(history[first : first + 50])
    tocsin.idle()
    rows = tocsin.query("RunStatusChanged | summarize n = count() by Status")
    stored = {str(row["Status"]): float(row["n"]) for row in rows}
    rows = tocsin.query("Runs | where Status !in ('Completed', 'Failed', 'Canceled') | summarize n = count() by Status")
    active = {str(row["Status"]): float(row["n"]) for row in rows}
    notified = float(tocsin.count("Alerts | where To == 'fired' and Rule == 'run-failed'"))
    mails = float(tocsin.count("Notifications | where State == 'sent'"))
    assert sum(stored.values()) == len(history)

    def by_status(metric: str) -> dict[str, float]:
        return {labels["status"]: value for labels, value in server.query(metric) if value}

    def equal() -> bool:
        assert stored == by_status("tocsin_runs_status_changes_total")
        assert active == by_status("tocsin_runs_active")
        assert notified == server.value('tocsin_alerts_fired_total{rule="run-failed"}')
        assert mails == server.value('tocsin_notify_mails_total{state="sent"}')
        assert mails == server.value("tocsin_notification_latency_seconds_count")
        assert len(history) == server.value('sum(tocsin_intake_messages_total{consumer="events",outcome="accepted"})')
        return True

    eventually(equal, within=15, every=0.2)
    assert len(smtp.messages("ops@example.org")) == mails


def test_a_full_disk(make_tocsin: MakeTocsin, smtp: SmtpServer) -> None:
    """While nothing can be written nothing is acknowledged; when there is room again it goes on by itself.

    The limit on a file's size stands for the disk: writes fail in the midst, and it can be lifted from outside.
    """
    tocsin = make_tocsin(smtp=smtp).start()
    history = Histories(5, datetime.now(UTC), failing=0.1).runs(400)
    history = [event for event in history if event.source == "/trainer"]
    pieces = [history[n : n + 100] for n in range(0, len(history), 100)]
    half = len(pieces) // 2
    for piece in pieces[:half]:
        tocsin.post(piece)
    data = tocsin.home / "data"
    most = max(path.stat().st_size for path in data.iterdir() if path.name.startswith("events.duckdb"))
    resource.prlimit(tocsin.pid, resource.RLIMIT_FSIZE, (most + 20_000, resource.RLIM_INFINITY))

    def refused() -> bool:
        answers = [attempt(tocsin, index) for index in range(half, len(pieces))]
        return 503 in answers

    def attempt(tocsin: Tocsin, index: int) -> int:
        return tocsin.send(b"[" + b",".join(event.bytes() for event in pieces[index]) + b"]").status

    assert eventually(refused, within=20)
    assert tocsin.running, tocsin.said()
    resource.prlimit(tocsin.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for index in range(half, len(pieces)):
        eventually(lambda index=index: attempt(tocsin, index) == 202, within=20)  # type: ignore[misc]
    assert len(history) == tocsin.count("RunStatusChanged")
    tocsin.idle()
    assert [] == differences(occurrences(history, status_is("Failed", final=True)), tocsin.notified())
    assert "tocsin_store_reopened_total" in tocsin.metrics()


@pytest.mark.timeout(120)
def test_on_a_terminal_it_prints_sentences(wheel: Path) -> None:
    """`tocsin up --demo` says on a pseudo-terminal which run failed, why, and whom it mailed; elsewhere it prints JSON."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    command = [str(wheel / "tocsin"), "up", "--demo", "--port", str(free_port())]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    text = b""
    try:
        while not re.search(rb"mailed +\S+@example.org: .+ failed", text):
            assert select.select([ours], [], [], 60)[0], text.decode()
            text += os.read(ours, 65536)
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while chunk := os.read(ours, 65536):
                text += chunk
        process.wait(60)
        os.close(ours)
    lines = text.decode().splitlines()
    fired = [line for line in lines if re.match(r"\d\d:\d\d:\d\d  fired .+ failed: .+ \(run-failed, error\)", line)]
    assert fired, text.decode()
    assert not [line for line in lines if line.startswith("{")]

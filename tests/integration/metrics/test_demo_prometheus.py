"""The Prometheus beside the demo: it scrapes tocsin, and is gone afterwards."""

import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import _without
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing
from tests.servers.prometheus import prometheus_binary
from tocsin.demo.prometheus import PLOTS, prometheus
from tocsin.errors import TocsinError


class Target(BaseHTTPRequestHandler):
    """A process with one metric."""

    def do_GET(self) -> None:
        """Answer a scrape."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"tocsin_runs_active 4\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_it_scrapes_and_ends_with_the_demo(tmp_path: Path) -> None:
    try:
        prometheus_binary()
    except ServerMissing as why:
        _without(why)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    Thread(target=server.serve_forever, daemon=True).start()

    def value() -> list[str]:
        try:
            with urllib.request.urlopen(f"http://{api}/api/v1/query?query=tocsin_runs_active", timeout=5) as answer:
                return [each["value"][1] for each in json.load(answer)["data"]["result"]]
        except (urllib.error.URLError, ConnectionError):
            return []

    try:
        with prometheus(f"http://127.0.0.1:{server.server_port}", tmp_path / "prometheus") as page:
            api = urlsplit(page).netloc
            asked = parse_qs(urlsplit(page).query)
            assert list(PLOTS) == [asked[f"g{n}.expr"][0] for n in range(len(PLOTS))]
            eventually(lambda: value() == ["4"], within=30)
        with pytest.raises(ConnectionError):
            value_after(api)
    finally:
        server.shutdown()
        server.server_close()


def value_after(api: str) -> None:
    """Ask once more. Raises ConnectionError where nobody listens."""
    try:
        urllib.request.urlopen(f"http://{api}/-/ready", timeout=5)
    except urllib.error.URLError as e:
        raise ConnectionError from e


def test_without_one_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TocsinError, match="apt-get install prometheus"), prometheus("http://127.0.0.1:1", tmp_path):
        pass

"""Prometheus with Alertmanager at their fastest: scraped and evaluated each second, mailed without a wait to group.

A counter that this process serves is raised; a rule on its increase fires; the mail has the run in its subject.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.common import say
from tests.servers.alertmanager import AlertmanagerServer
from tests.servers.process import ServerMissing
from tests.servers.prometheus import PrometheusServer
from tests.servers.smtp import SmtpServer

NAME = "Prometheus with Alertmanager"
ALERT_RULES = {
    "groups": [{"name": "bench", "rules": [{"alert": "run-failed", "expr": "increase(failures_total[10s]) > 0"}]}]
}


def alertmanager_config(port: int, subject: str = "") -> str:
    """Each alert a group of its own, at once, by the SMTP server at ``port``."""
    mail = {"to": "ops@example.org", "from": "am@example.org", "smarthost": f"127.0.0.1:{port}", "require_tls": False}
    headers = {"headers": {"Subject": subject}} if subject else {}
    route = {"receiver": "mail", "group_by": ["..."], "group_wait": "0s", "group_interval": "5m"}
    return json.dumps({"route": route, "receivers": [{"name": "mail", "email_configs": [mail | headers]}]})


class Peer:
    """Both of them, started; a round raises counters at random instants."""

    def __init__(self, counters: dict[str, int], smtp: SmtpServer, count: int) -> None:
        self._counters, self._smtp, self._count = counters, smtp, count

    def round(self, number: int, seconds: float) -> list[float]:
        """Milliseconds from each counter's rise to its mail."""
        self._smtp.fresh()
        dice = random.Random(number)
        begin, raised = time.time(), {}
        for n, due in enumerate(sorted(dice.random() * seconds for _ in range(self._count))):
            threading.Event().wait(max(0.0, begin + due - time.time()))
            self._counters[f"{number}-{n}"] += 1
            raised[f"{number}-{n}"] = time.time()
        mails = self._smtp.wait_for(self._count, within=60)
        return [(mail.accepted_at - raised[mail.subject]) * 1000 for mail in mails]


@contextmanager
def prometheus_with_alertmanager(
    directory: Path, smtp: SmtpServer, rounds: int, count: int = 20
) -> Iterator[Peer | None]:
    """Both, ready for so many rounds of ``count`` mails; None, with a word on stderr, where one is not installed."""
    counters = {f"{number}-{n}": 0 for number in range(rounds) for n in range(count)}

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mine = [run for run in counters if run.endswith(self.path[1:])]
            lines = [f'failures_total{{run="{run}"}} {counters[run]}\n' for run in mine]
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write("".join(["# TYPE failures_total counter\n", *lines]).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ExitStack() as stack:
        served = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Metrics))
        threading.Thread(target=served.serve_forever, daemon=True).start()
        stack.callback(served.shutdown)
        try:
            subject = "{{ .CommonLabels.run }}"
            alertmanager = AlertmanagerServer(
                directory / "alertmanager", alertmanager_config(smtp.port, subject)
            ).start()
            stack.callback(alertmanager.stop)
            own, rules = f"127.0.0.1:{served.server_port}", directory / "alert-rules.json"
            rules.write_text(json.dumps(ALERT_RULES))
            prometheus = PrometheusServer(
                directory / "prometheus",
                json.dumps({
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(rules)],
                    # When a target is scraped within its second is a hash of its labels: ten of them have the mean.
                    "scrape_configs": [
                        {"job_name": f"runs-{n}", "metrics_path": f"/{n}", "static_configs": [{"targets": [own]}]} for n in range(10)
                    ],
                    "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]},
                }),
            ).start()  # fmt: skip
            stack.callback(prometheus.stop)
        except ServerMissing as missing:
            say(f"without the peer: {missing}")
            yield None
            return
        seen = threading.Event()
        while not prometheus.query("count(count_over_time(failures_total[10s]) >= 2)"):
            seen.wait(0.5)  # an increase needs a sample before it
        yield Peer(counters, smtp, count)

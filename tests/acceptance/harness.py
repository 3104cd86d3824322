"""Runs tocsin from outside, as an operator does: the installed wheel, `tocsin up`, signals, HTTP, Kafka, SMTP."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx

from tests.oracle.events import Event
from tests.servers.eventually import eventually
from tests.servers.process import end, free_port, spawn, tail

SHIFTED_CLOCK = Path(__file__).parent / "shifted_clock"

RUN_FAILED = """\
rules:
  - name: run-failed
    when: {status: Failed, final: true}
    summary: "{{ ExperimentName }} failed: {{ Message }}"
    severity: error
    notify: {to: [ops@example.org], only: true}
"""
"""The everyday rule, notified to an address of its own."""


WAITING = (
    "tocsin_evaluate_cursor_lag_commits",
    "tocsin_notify_outbox_mails",
    "tocsin_store_mirror_lag_rows",
    "tocsin_intake_queue_batches",
)
"""Gauges that are 0 where nothing waits."""
MOVING = (
    "tocsin_alerts_fired_total",
    "tocsin_alerts_expired_total",
    "tocsin_notify_mails_total",
    "tocsin_store_commit_seq",
)
"""Samples that stand still where nothing happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the HTTP server said."""

    status: int
    body: Any  # decoded JSON, or text


class Gone(Exception):
    """Nobody answered: tocsin is not up, or went away while it was asked."""


@dataclass(kw_only=True)
class Tocsin:
    """One home and the `tocsin up` that works on it, at most one at a time."""

    program: Path
    home: Path
    port: int = field(default_factory=free_port)
    kills: list[float] = field(default_factory=list)  # when it was killed, or died at a crash point; epoch seconds
    _process: subprocess.Popen[bytes] | None = None
    _client: httpx.Client | None = None

    # --- home ---

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project directory, replacing it at once as editors do."""
        target = self.home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_text(text)
        os.replace(fresh, target)
        return target

    # --- life ---

    @property
    def log(self) -> Path:
        """What it printed over all starts."""
        return self.home / "up.log"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process. Raises RuntimeError where it was never started."""
        if self._process is None:
            raise RuntimeError("tocsin was not started")
        return self._process.pid

    def begin(self, *options: str, crash_at: str = "", clock: timedelta | None = None, home: bool = True) -> Self:
        """Start `tocsin up` and return at once.

        `crash_at` is a point of model/crash.py; `clock` sets the clock it sees off against the machine's; without
        `home`
        it is notified of none, as in the demo.
        """
        if self.running:
            raise RuntimeError("it runs already")
        env = {"TOCSIN_HTTP__PORT": str(self.port), "TOCSIN_SPOOL": str(self.home / "spool")}
        if crash_at:
            env["TOCSIN_CRASH_AT"] = crash_at
        if clock is not None:
            env |= {"PYTHONPATH": str(SHIFTED_CLOCK), "CLOCK_OFF_BY": str(clock.total_seconds())}
        command = [str(self.program), "up", *(["--home", str(self.home)] if home else []), *options]
        self._process = spawn(["env", *(f"{k}={v}" for k, v in env.items()), *command], self.log, self.home)
        return self

    def start(self, *options: str, within: float = 60, **how: Any) -> Self:
        """Start it and wait until it is ready. Raises AssertionError with its last lines."""
        return self.begin(*options, **how).wait_ready(within)

    def wait_ready(self, within: float = 60) -> Self:
        """Wait for 200 from /readyz."""

        def ready() -> bool:
            if not self.running:
                raise RuntimeError(f"tocsin ended with {self._ended()}:\n{self.said()}")
            try:
                answer = self.get("/readyz")
            except Gone:
                return False
            assert answer.status == 200, answer
            return True

        try:
            eventually(ready, within)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from error
        return self

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self.kills.append(time.time())
        self._forget()

    def died(self, within: float) -> bool:
        """Wait until it is gone by itself, at a crash point; False where it lives after `within` seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        self.kills.append(time.time())
        self._forget()
        return True

    def stop(self) -> int:
        """Stop it in good order and return its exit code."""
        code = 0
        if self._process is not None:
            end(self._process, signal.SIGTERM)
            code = self._process.returncode
        self._forget()
        return code

    def ended(self, within: float = 60) -> int:
        """Wait until it has ended by itself and return its exit code. Raises AssertionError while it lives."""
        process = self._process
        assert process is not None
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"tocsin still runs after {within:g} s:\n{self.said()}") from None
        code = process.returncode
        self._forget()
        return code

    def said(self, lines: int = 25) -> str:
        """Its last lines."""
        return tail(self.log, lines)

    def run(self, *arguments: str, within: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """Run another tocsin command on this project directory."""
        return subprocess.run(
            [str(self.program), *arguments, "--home", str(self.home)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=within,
            env={**os.environ, **env},
        )

    def _ended(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _forget(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGKILL)
        self._process = None
        if self._client is not None:
            self._client.close()
        self._client = None

    # --- HTTP ---

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _ask(self, method: str, path: str, **what: Any) -> Answer:
        if self._client is None:
            self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        try:
            got = self._client.request(method, path, **what)
        except httpx.TransportError as error:
            raise Gone(str(error)) from error
        kind = got.headers.get("content-type", "")
        return Answer(status=got.status_code, body=got.json() if "json" in kind else got.text)

    def get(self, path: str) -> Answer:
        """GET. Raises Gone."""
        return self._ask("GET", path)

    def send(self, body: bytes, consumer: str = "events") -> Answer:
        """POST a body to a consumer. Raises Gone."""
        return self._ask("POST", f"/intake/{consumer}", content=body, headers={"Content-Type": "application/json"})

    def post(self, events: Iterable[Event], consumer: str = "events") -> Any:
        """POST events in one request and return what the 202 said. Raises AssertionError for any other answer, Gone."""
        listed = list(events)
        answer = self.send(b"[" + b",".join(event.bytes() for event in listed) + b"]", consumer)
        assert answer.status == 202, answer
        return answer.body

    def query(self, kql: str) -> list[dict[str, Any]]:
        """Rows of a KQL query. Raises AssertionError where it is refused, Gone."""
        answer = self._ask("POST", "/api/v1/query", json={"query": kql})
        assert answer.status == 200, answer
        return list(answer.body["rows"])

    def count(self, kql: str) -> int:
        """Rows that a KQL query finds."""
        (row,) = self.query(f"{kql} | summarize n = count()")
        return int(row["n"])

    def metrics(self) -> dict[str, float]:
        """Samples of /metrics, by name with labels as exposed."""
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        lines = [line for line in answer.body.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    # --- what it did ---

    def notified(self, rule: str = "run-failed") -> list[str]:
        """The run of each occurrence notified, as the history in the store has it; an occurrence notified twice is
        there twice.
        """
        return self._transitions(rule, "fired")

    def expired(self, rule: str = "run-failed") -> list[str]:
        """The run of each occurrence that was expired."""
        return self._transitions(rule, "expired")

    def _transitions(self, rule: str, to: str) -> list[str]:
        rows = self.query(f"Alerts | where Rule == '{rule}' and To == '{to}' | project RunId")
        assert len(rows) < 10_000, "more than one query answers"
        return [str(row["RunId"]) for row in rows]

    def idle(self, within: float = 60) -> None:
        """Wait until everything stored has been evaluated and everything notified has been mailed, and it stays so
        for 1 s.
        """
        quiet: list[tuple[float, dict[str, float]]] = []

        def nothing_waits_or_moves() -> bool:
            seen = self.metrics()
            waiting = {name: seen[name] for name in WAITING if seen.get(name)}
            moving = {name: value for name, value in seen.items() if name.startswith(MOVING)}
            if waiting or (quiet and quiet[0][1] != moving):
                quiet.clear()
            assert not waiting, waiting
            quiet.append((time.monotonic(), moving))
            return quiet[-1][0] - quiet[0][0] >= 1.0

        eventually(nothing_waits_or_moves, within, every=0.1)


def settings(
    *,
    smtp_port: int | None = None,
    kafka: str = "",
    more: Mapping[str, Any] | None = None,
    smtp: Mapping[str, Any] | None = None,
) -> str:
    """The text of a tocsin.yaml. `more` gives further sections; `smtp` further keys of that one."""
    document: dict[str, Any] = {"log": {"format": "text"}, "links": {"allowed_hosts": ["ml.example.org"]}}
    if smtp_port is not None:
        document["smtp"] = {
            "host": "127.0.0.1",
            "port": smtp_port,
            "security": "none",
            "sender": "tocsin <tocsin@example.org>",
            "allowed_recipients": ["example.org"],
            "cap": "none",
            **(smtp or {}),
        }
        document["default_receiver"] = {"email": ["fallback@example.org"]}
        document["admin_email"] = ["admin@example.org"]
    if kafka:
        document["kafka"] = {"bootstrap_servers": [kafka]}
    return json.dumps({**document, **(more or {})}, indent=1)  # JSON is YAML


def kafka_consumer(topic: str, group: str, **more: Any) -> str:
    """The text of a consumer file that reads canonical events from a topic."""
    return json.dumps(
        {"connector": "kafka", "canonical": True, "kafka": {"topics": [topic], "group_id": group}, **more}
    )

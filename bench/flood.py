"""A flood: 100,000 alerts in a minute for 50 people, one in a hundred critical, through a tocsin as it is started.

    python -m bench.flood [--alerts 100000] [--seconds 60] [--people 50] [--critical 100] [--window 2m] [--kill]

Failed runs of 50 owners are posted over a minute. What is measured is what each owner finds in the mailbox: how soon
critical alerts came, how many messages there were, and whether each alert stands in exactly one of them. ``--window``
is that of the cap, so that its summary comes within the measurement; ``--kill`` kills it (-9) in the middle.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.common import Figure, machine, percentile, report, say, table
from tests.acceptance.harness import Gone, Tocsin, settings
from tests.servers.eventually import eventually
from tests.servers.smtp import Received, SmtpServer

RULES = """\
rules:
  - {name: run-failed, when: {status: Failed, where: "Tags.env != 'prod'"}, severity: error}
  - {name: production-failed, when: {status: Failed, where: "Tags.env == 'prod'"}, severity: critical}
"""
CAUSES = ("CUDA out of memory", "connection to the store timed out", "NaN in the loss", "node was lost")
POST = 500
"""Events of one request."""
_COUNT = re.compile(r"^(\d+) alerts?\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """How much of what."""

    alerts: int
    seconds: float
    people: int
    critical: int  # one in so many
    window: str
    kill: bool


@dataclass
class Seen:
    """What was measured while it lasted."""

    posted: dict[str, float] = field(default_factory=dict)  # run → when its event was posted; epoch seconds
    memory: list[int] = field(default_factory=list)  # resident, bytes
    queued: float = 0  # seconds until everything was posted
    restarts: int = 0


def is_critical(n: int, flood: Flood) -> bool:
    """Whether run ``n`` is one of production."""
    return n % flood.critical == 0


def event(n: int, flood: Flood) -> dict[str, Any]:
    """The end of run ``n``."""
    data = {
        "RunId": f"r{n}", "Status": "Failed", "ExperimentName": f"experiment-{n % 40}", "Target": f"gpu-{n % 8}",
        "Message": CAUSES[n % len(CAUSES)], "OwnerEmail": f"owner-{n // flood.critical % flood.people}@example.org",
        "Tags": {"env": "prod" if is_critical(n, flood) else "lab"},
    }  # fmt: skip
    at = datetime.now(UTC).isoformat()
    return {"specversion": "1.0", "type": "tocsin.run.status", "id": f"e{n}", "source": "lab", "time": at, "data": data}


def post_all(tocsin: Tocsin, flood: Flood, seen: Seen) -> None:
    """Post at an even rate; what is not taken is posted again, as producers do."""
    began = time.monotonic()
    for begin in range(0, flood.alerts, POST):
        if flood.kill and begin <= flood.alerts // 2 < begin + POST:
            tocsin.kill()
            tocsin.start(within=120)
            seen.restarts += 1
        due = began + flood.seconds * begin / flood.alerts
        time.sleep(max(0.0, due - time.monotonic()))  # an even rate is what is measured
        numbers = range(begin, min(begin + POST, flood.alerts))
        body = json.dumps([event(n, flood) for n in numbers]).encode()
        now = time.time()
        for n in numbers:
            seen.posted[f"r{n}"] = now
        eventually(partial(taken, tocsin, body), within=120, every=0.2)
    seen.queued = time.monotonic() - began


def taken(tocsin: Tocsin, body: bytes) -> bool:
    """Whether a request was answered 202."""
    try:
        return tocsin.send(body).status == 202
    except Gone:
        return False


def watch(tocsin: Tocsin, seen: Seen, stop: threading.Event) -> None:
    """Take its resident memory twice a second."""
    while not stop.wait(0.5):
        try:
            text = Path(f"/proc/{tocsin.pid}/status").read_text()
        except (OSError, RuntimeError):
            continue
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        if found:
            seen.memory.append(int(found[1]) * 1024)


def counted(mail: Received) -> int:
    """How many alerts a message is about."""
    found = _COUNT.match(mail.subject)
    return int(found[1]) if found else 1


def notified(mails: Sequence[Received]) -> int:
    """Alerts that messages are about, a message that came twice counted once."""
    return sum({str(mail.message["Message-ID"]): counted(mail) for mail in mails}.values())


def run(flood: Flood) -> tuple[Seen, Sequence[Received], float]:
    """The flood and what came of it; seconds until the last message was accepted."""
    with tempfile.TemporaryDirectory() as directory:
        smtp = SmtpServer(Path(directory) / "smtp").start()
        tocsin = Tocsin(program=Path(sys.executable).with_name("tocsin"), home=Path(directory) / "home")
        tocsin.home.mkdir()
        cap = {"cap": {"max": 30, "window": flood.window}, "global_cap": {"max": 600, "window": flood.window}}
        tocsin.write(
            "tocsin.yaml",
            settings(smtp_port=smtp.port, smtp=cap, more={"shipped": {"rules": False}, "log": {"level": "warning"}}),
        )
        tocsin.write("rules/alerts/rules.yaml", RULES)
        seen, stop = Seen(), threading.Event()
        watching = threading.Thread(target=watch, args=(tocsin, seen, stop), daemon=True)
        try:
            tocsin.start()
            watching.start()
            began = time.time()
            post_all(tocsin, flood, seen)
            say(f"all posted after {seen.queued:.0f} s")

            eventually(lambda: notified(smtp.messages()) >= flood.alerts, within=1800, every=5)
            last = max(mail.accepted_at for mail in smtp.messages()) - began
            tocsin.idle(120)
            print(tocsin.said(15), file=sys.stderr)
            return seen, smtp.messages(), last
        finally:
            stop.set()
            tocsin.kill()
            smtp.stop()


def rows(flood: Flood, seen: Seen, mails: Sequence[Received], last: float) -> list[tuple[str, str]]:
    """What is printed."""
    by_person: dict[str, list[Received]] = defaultdict(list)
    for mail in mails:
        by_person[mail.rcpt_tos[0]].append(mail)
    soon = sorted(
        mail.accepted_at - seen.posted[str(mail.message["X-Tocsin-Run"])]
        for mail in mails
        if mail.message["X-Tocsin-Severity"] == "critical" and mail.message["X-Tocsin-Run"]
    )
    lists = [mail for mail in mails if not mail.message["X-Tocsin-Run"]]
    summaries = Counter(m.rcpt_tos[0] for m in lists if m.message["X-Tocsin-Severity"] != "critical")
    together = Counter(m.rcpt_tos[0] for m in lists if m.message["X-Tocsin-Severity"] == "critical")
    twice = [name for name, n in Counter(str(m.message["Message-ID"]) for m in mails).items() if n > 1]
    return [
        ("alerts, posted within", f"{flood.alerts:,} in {seen.queued:.0f} s"),
        ("people; messages in all", f"{len(by_person)}; {len(mails):,}"),
        ("messages a person", f"{min(map(len, by_person.values()))} to {max(map(len, by_person.values()))}"),
        ("critical ones alone", f"{len(soon)}, median {percentile(soon, 0.5):.1f} s, last {soon[-1]:.1f} s after their event"),
        ("lists of critical ones a person", f"{min(together.values(), default=0)} to {max(together.values(), default=0)}"),
        ("summaries a person", f"{min(summaries.values(), default=0)} to {max(summaries.values(), default=0)}"),
        ("alerts in all messages", f"{notified(mails):,}"),
        ("largest message", f"{max(len(m.content) for m in mails) / 1024:.0f} KiB"),
        ("Message-IDs sent twice", f"{len(twice)} ({seen.restarts} kill -9)"),
        ("last message after", f"{last:.0f} s"),
        ("resident memory at most", f"{max(seen.memory) / 2**20:.0f} MiB"),
    ]  # fmt: skip


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--critical", type=int, default=100)
    parser.add_argument("--window", default="2m")
    parser.add_argument("--kill", action="store_true")
    flood = Flood(**vars(parser.parse_args()))
    found = run(flood)
    print(machine() + "\n")
    print(table(("what", "measured"), *rows(flood, *found)))
    last = found[2]
    workload = (
        f"{flood.alerts:,} alerts in {flood.seconds:.0f} s for {flood.people} people, each in exactly one message"
    )
    report(Figure(what="last message", unit="s", ours=[last], workload=workload))


if __name__ == "__main__":
    main()

"""A burst of 1,000 mails: tocsin's outbox against a bare pooled loop that builds and sends the same messages.

tocsin's side starts with 1,000 intents durable in the state (a SQLite file, every commit on the disk) and ends when
the last
mail is durably marked as sent: routing, grouping, facts out of a log store, three templates a mail, the message, the
outbox,
SMTP. The bare side has the finished texts: it builds each message with the standard library and sends it over as many
aiosmtplib connections; it stores nothing. Both talk to the same SMTP server in another process. Rounds are interleaved.

    python -m bench.mail_burst [--mails 1000] [--rounds 5] [--connections 4]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import aiosmtplib

from tests.servers.smtp import SmtpServer
from tocsin.clock import SystemClock
from tocsin.metrics.registry import Metrics
from tocsin.model.alert import Why
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify.channels.base import Setting
from tocsin.notify.channels.registry import Channels
from tocsin.notify.channels.smtp import SmtpChannel, SmtpOptions
from tocsin.notify.context import Change, Nearby
from tocsin.notify.notifier import Notifier, NotifyOptions
from tocsin.notify.render.facts import NoFacts
from tocsin.notify.render.templates import Templates
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.values import Facts, RunFacts
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

TEMPLATES = Path(__file__).parents[1] / "templates"
SENDER = "tocsin <tocsin@example.org>"
INFO = RuleInfo(
    name="run-failed", version="v1", summary="{{ ExperimentName }} failed after {{ Duration }}: {{ Cause }}"
)


class SameFacts(NoFacts):
    """Facts as the log store would give them; reading it has a benchmark of its own."""

    def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
        """The same for each."""
        at = datetime(2026, 1, 5, 12, tzinfo=UTC)
        history = tuple(
            Change(status=s, at=at + timedelta(minutes=n), attempt=1)
            for n, s in enumerate(("Queued", "Running", "Failed"))
        )
        one = RunFacts(history=history, attempts_known=1, last_success=at, nearby=Nearby(target=3, everywhere=14))
        return {i.id: one for i in intents}


def intents(count: int, now: datetime) -> tuple[Intent, ...]:
    """So many runs that failed, of 40 owners."""
    made = []
    for n in range(count):
        event = {
            "EventId": f"e{n}", "Source": "bench", "TimeGenerated": now.isoformat(), "IngestedAt": now.isoformat(),
            "RunId": f"run-{n:05}", "JobKey": f"run-{n:05}", "Attempt": 1, "WillRetry": False, "Status": "Failed",
            "Reason": "out_of_memory", "Message": "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            "LogTail": "\n".join(f"epoch {k}/40 | loss 0.18{k} | lr 3.0e-4" for k in range(12)),
            "ExperimentName": f"experiment-{n % 17}", "Target": "aks-eu", "TriggeringUserName": f"Ágnes {n % 40}",
            "OwnerEmail": f"owner-{n % 40}@example.org", "Tags": {}, "Properties": {},
            "StartTime": (now - timedelta(hours=2)).isoformat(), "Url": f"https://ml.example.org/runs/{n}",
        }  # fmt: skip
        made.append(Intent(
            rule="run-failed", rule_version="v1", instance={"RunId": event["RunId"]}, occurrence=f"o{n}",
            kind=IntentKind.FIRED, severity=Severity.ERROR, why=Why.FIRST, run_id=f"run-{n:05}", event=event,
            commit_seq=1 + n // 50, at=now + timedelta(microseconds=n // 50), event_time=now,
        ))  # fmt: skip
    return tuple(made)


async def ours(server: SmtpServer, directory: Path, count: int, connections: int) -> tuple[float, list[Delivery]]:
    """Seconds from 1,000 intents to 1,000 durable marks, and what was sent."""
    clock = SystemClock()
    state = SqliteState.open(directory / "state.sqlite", clock=clock)
    now = clock.now()
    state.commit(Outcome(intents=intents(count, now), infos=(INFO,)), now)
    notifier = Notifier(
        options=NotifyOptions(sender=SENDER, cap=None, allows=lambda _: True), state=state,
        templates=Templates([TEMPLATES]), facts=SameFacts(), metrics=Metrics(), clock=clock,
        channels=Channels(
            SmtpChannel(SmtpOptions(host=server.host, port=server.port, sender=SENDER, connections=connections)),
            OnCallRules,
            Setting(),
        ),
    )  # fmt: skip
    gc.collect()
    began = time.perf_counter()
    await notifier.drain()
    took = time.perf_counter() - began
    sent = list(state.deliveries(state=DeliveryState.SENT, limit=count))
    notifier.close()
    state.close()
    assert len(sent) == count, f"{len(sent)} of {count} sent"
    return took, sent


Parts = tuple[Delivery, str, str]


def parts_of(sent: Sequence[Delivery]) -> list[Parts]:
    """What the bare loop starts from: the finished texts."""
    out = []
    for d in sent:
        message = message_from_bytes(d.message, policy=policy.default)
        plain, rich = (message.get_body((kind,)) for kind in ("plain", "html"))
        assert plain is not None and rich is not None
        out.append((replace(d, message=b""), str(plain.get_content()), str(rich.get_content())))
    return out


def build_plainly(parts: Parts) -> EmailMessage:
    """The same message by the standard library."""
    d, text, html = parts
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, d.address, d.subject
    message["Date"], message["Message-ID"] = format_datetime(d.created_at), d.message_id
    message["Auto-Submitted"] = "auto-generated"
    message["X-Tocsin-Rule"], message["X-Tocsin-Run"], message["X-Tocsin-Severity"] = d.rules[0], d.run_id, d.severity
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


async def bare(server: SmtpServer, parts: Sequence[Parts], connections: int) -> float:
    """Seconds for the bare loop."""
    waiting = list(reversed(parts))

    async def worker() -> None:
        client = aiosmtplib.SMTP(hostname=server.host, port=server.port, local_hostname="localhost")
        await client.connect()
        while waiting:
            await client.send_message(build_plainly(waiting.pop()))
        await client.quit()

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mails", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--connections", type=int, default=4)
    given = options.parse_args()
    ratios, rates = [], []
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as root:
        server = SmtpServer(Path(root) / "smtp").start()
        try:
            for n in range(given.rounds + 1):
                took, sent = asyncio.run(ours(server, Path(root) / f"round-{n}", given.mails, given.connections))
                plain = asyncio.run(bare(server, parts_of(sent), given.connections))
                server.fresh()
                if n:  # the first round warms up
                    ratios.append(plain / took)
                    rates.append((given.mails / took, given.mails / plain))
                    print(
                        f"round {n}: tocsin {rates[-1][0]:6.0f}/s   bare {rates[-1][1]:6.0f}/s   ratio {ratios[-1]:.2f}"
                    )
        finally:
            server.stop()
    low, high = min(ratios), max(ratios)
    print(
        f"mail burst of {given.mails}: ratio {statistics.median(ratios):.2f} (from {low:.2f} to {high:.2f}), target 0.8"
    )


if __name__ == "__main__":
    main()

"""A burst of different failures in one batch, until the last mail: the whole program beside Alertmanager.

    python -m bench.burst [--failures 1000] [--rounds 3] [--delay 0.1 --most 50]

Both send to the same SMTP server, which keeps nothing; with `--delay` it takes so many seconds for each mail, with
`--most` it answers 421 to further connections. tocsin gets one HTTP request with all failures, by one shipped-like rule,
caps off, and has stored, evaluated, rendered and marked each; Alertmanager gets one request with as many alerts, each a
group of its own without a wait. The time runs from the request to acceptance, by the clock of the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.common import Figure, cpu_seconds, machine, report, say, spread
from bench.peers import alertmanager_config
from tests.acceptance.harness import Tocsin, settings
from tests.servers.alertmanager import AlertmanagerServer
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing
from tests.servers.smtp_sink import Sink

RULES = {
    "rules": [
        {
            "name": "run-failed",
            "when": {"status": "Failed", "final": True},
            "summary": "{{ ExperimentName }} failed: {{ Message }}",
            "severity": "error",
            "notify": {"to": ["ops@example.org"], "only": True},
        },
        {
            "name": "production-failed",
            "query": "RunStatusChanged | where Status == 'Failed' and Tags.env == 'prod'",
            "summary": "{{ ExperimentName }} failed in production: {{ Message }}",
            "severity": "critical",
            "notify": {"to": ["owner"], "only": True},
        },
    ]
}
CRITICAL = 50  # one failure of so many is critical as well


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of one burst; seconds from its request."""

    first: float
    last: float
    rate: float  # mails a second, from the request to the last
    critical_last: float  # when the last of the critical ones came; 0 where there are none
    opened: int
    refused: int


def events(count: int, name: str) -> bytes:
    """So many runs that failed, as canonical events."""
    now = datetime.now(UTC).isoformat()
    return json.dumps(
        [
            {
                "specversion": "1.0", "type": "tocsin.run.status", "source": "bench", "id": f"{name}-{n}", "time": now,
                "data": {
                    "RunId": f"{name}-{n:05}", "Status": "Failed", "Reason": "out_of_memory",
                    "Message": f"torch.cuda.OutOfMemoryError: tried to allocate {n} GiB",
                    "ExperimentName": f"experiment-{n % 17}", "Target": "aks-eu", "TriggeringUserName": f"Ágnes {n % 40}",
                    "LogTail": "\n".join(f"epoch {k}/40 | loss 0.18{k} | lr 3.0e-4" for k in range(12)),
                    "Tags": {"env": "prod" if n % CRITICAL == CRITICAL - 1 else "dev"},
                    "OwnerEmail": f"{name}-{n}@example.org", "Url": f"https://ml.example.org/runs/{n}",
                },
            }
            for n in range(count)
        ]
    ).encode()  # fmt: skip


def seen(sink: Sink, began: float, wanted: int) -> Burst:
    """Wait for all mails of a burst."""

    def all_came() -> bool:
        found = len(sink.noted().mails)
        assert found >= wanted, f"{found} of {wanted} mails"
        return True

    eventually(all_came, 120, every=0.2)
    noted = sink.noted()
    at = sorted(when - began for when, _ in noted.mails)
    critical = [when - began for when, subject in noted.mails if "production" in subject]
    return Burst(
        at[0], at[wanted - 1], wanted / at[wanted - 1], max(critical, default=0.0), noted.opened, noted.refused
    )


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.burst", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--failures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=0, help="smtp.connections; 0: the default")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as root, ExitStack() as stack:
        measure(chosen, Path(root), stack)


def measure(chosen: argparse.Namespace, root: Path, stack: ExitStack) -> None:
    sink = Sink(root / "mails", chosen.delay, chosen.most)
    stack.callback(sink.stop)
    tocsin = Tocsin(program=Path(sys.executable).with_name("tocsin"), home=root / "home")
    tocsin.home.mkdir()
    stack.callback(tocsin.kill)
    smtp = {"connections": chosen.connections} if chosen.connections else {}
    more = {"shipped": {"rules": False}, "log": {"format": "text", "level": "warning"}}
    tocsin.write("tocsin.yaml", settings(smtp_port=sink.port, smtp=smtp, more=more))
    tocsin.write("rules/alerts/rules.yaml", json.dumps(RULES))
    tocsin.start()
    peer = None
    try:
        peer = AlertmanagerServer(root / "am", alertmanager_config(sink.port)).start()
        stack.callback(peer.stop)
    except ServerMissing as missing:
        say(f"without the peer: {missing}")
    ours: list[Burst] = []
    theirs: list[Burst] = []
    spent: list[float] = []
    for number in range(chosen.rounds + 1):
        sink.fresh()
        body, cpu = events(chosen.failures, f"r{number}"), cpu_seconds(tocsin.pid)
        began = time.time()
        answer = tocsin.send(body)
        assert answer.status == 202 and answer.body["accepted"] == chosen.failures, answer
        one = seen(sink, began, chosen.failures + chosen.failures // CRITICAL)
        tocsin.idle(120)
        used = cpu_seconds(tocsin.pid) - cpu
        say(f"round {number}: {one}, CPU {used:.2f} s")
        other = None
        if peer is not None:
            sink.fresh()
            alerts = [
                {
                    "labels": {"alertname": f"r{number}", "run": f"{n}"},
                    "annotations": {"summary": f"experiment failed {n}"},
                }
                for n in range(chosen.failures)
            ]
            began = time.time()
            peer.post("alerts", alerts)
            other = seen(sink, began, chosen.failures)
            say(f"         {other}")
        if number:  # the first round warms up
            ours.append(one)
            spent.append(used)
            theirs += [other] if other is not None else []
    kind = (
        f"{chosen.delay * 1000:.0f} ms a mail, at most {chosen.most} connections"
        if chosen.delay
        else "free SMTP server"
    )
    workload = f"{chosen.failures:,} failures in one batch; {kind}"

    def figure(what: str, unit: str, field: str, *, more: bool = False) -> Figure:
        mine, others = ([getattr(burst, field) for burst in bursts] for bursts in (ours, theirs))
        return Figure(what=what, unit=unit, ours=mine, workload=workload, peer="Alertmanager", theirs=others, more=more)

    figures = [
        figure("mails", "a second", "rate", more=True),
        figure("first mail", "s", "first"),
        Figure(what="last critical mail", unit="s", ours=[burst.critical_last for burst in ours], workload=workload),
    ]
    if any(burst.refused for burst in [*ours, *theirs]):
        figures.append(figure("connections refused", "", "refused"))
    report(*figures)
    opened = [spread((burst.opened for burst in bursts), 0) for bursts in (ours, theirs) if bursts]
    print(f"\nConnections opened: {', by Alertmanager '.join(opened)}. CPU of tocsin, s: {spread(spent)}. {machine()}.")


if __name__ == "__main__":
    main(sys.argv[1:])

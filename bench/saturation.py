"""Latency from event to mail against the rate of events, up to and past saturation, with memory and cores at each rate.

    python -m bench.saturation [--rates 1 12 116 …] [--seconds 10] [--rules 1000] [--store FILE] [--svg FILE] [--page FILE]

The workload is that of bench.latency. One needle in ten is of critical rules. After each rate all that was sent must be
stored, and each event that matches must have had its mail, once: past saturation tocsin is late, it loses nothing.
A rate is sustained where the last mail is not later than a second after the last event.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import cpu_seconds, machine, peak_rss, percentile, say, table
from bench.latency import rules_text, run_sender, warm_up
from bench.plot import curves
from bench.stand import Stand, stand
from tests.servers.eventually import eventually
from tests.servers.smtp import Received

RATES = [50, 116, 250, 500, 1000, 1500, 2000, 3000, 4000]
PATIENCE = 180.0
CRITICAL = "critical"
BEGIN, END = "<!-- saturation: begin -->", "<!-- saturation: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one rate came to."""

    rate: float  # events/s that were asked for
    served: float  # events/s, until the last mail
    late: float  # s from the last event that matches to the last mail
    ms: list[float]  # from an event to its mail, of all but critical rules
    critical: list[float]  # the same of critical ones
    cores: float  # of tocsin, from the first event to the last mail
    memory: float  # MiB, the peak of this round


def with_critical(text: str) -> str:
    """These rules, those of one needle in ten critical, each needle with a mailbox of its own: of critical alerts an
    address gets ten in ten minutes one by one, further ones together.
    """
    document: dict[str, Any] = json.loads(text)
    for rule in document["rules"]:
        needle = int(rule["query"].partition("needle-")[2].partition("'")[0])
        if needle % 10 == 0:
            rule |= {"severity": CRITICAL, "notify": {"to": [f"critical-{needle}@example.org"], "only": True}}
    return json.dumps(document)


def one_rate(made: Stand, rate: float, options: list[str], seconds: float) -> Round:
    """Send at this rate, wait for the mails. Raises RuntimeError where an event or a mail is missing or came twice."""
    tocsin = made.tocsin
    seconds = max(seconds, 100 / rate)  # two mails at least
    stored = tocsin.count("RunStatusChanged")
    made.smtp.fresh()
    Path(f"/proc/{tocsin.pid}/clear_refs").write_text("5")  # the peak begins anew
    used = cpu_seconds(tocsin.pid)
    sent = run_sender(tocsin, made.kafka, made.topic, [*options, f"--rate={rate}", f"--seconds={seconds}"])
    wanted = sent["http"] + sent["kafka"]

    def of_events() -> list[Received]:
        """But for what goes to the admin."""
        return [mail for mail in made.smtp.messages() if mail.message["X-Tocsin-Run"]]

    eventually(lambda: len(of_events()) >= wanted, within=PATIENCE, every=0.2)
    mails = of_events()
    last = max(mail.accepted_at for mail in mails)
    used, memory = cpu_seconds(tocsin.pid) - used, peak_rss(tocsin.pid)
    tocsin.idle(120)
    eventually(lambda: tocsin.count("RunStatusChanged") >= stored + sent["events"], within=60)
    runs = Counter(str(mail.message["X-Tocsin-Run"]) for mail in of_events())
    others = Counter(str(mail.message["Subject"]) for mail in made.smtp.messages() if not mail.message["X-Tocsin-Run"])
    if others:
        say(f"other mails: {dict(others)}")
    if len(runs) != wanted or max(runs.values()) > 1:
        raise RuntimeError(f"{wanted} events matched, {len(runs)} had a mail, {max(runs.values())} at most of one")
    took: dict[bool, list[float]] = {True: [], False: []}
    sendings = []
    for mail in mails:
        at = int(str(mail.message["X-Tocsin-Run"]).rpartition("-")[2]) / 1e6
        sendings.append(at)
        took[mail.message["X-Tocsin-Severity"] == CRITICAL].append((mail.accepted_at - at) * 1000)
    lasted = seconds + max(0.0, last - max(sendings) - 1)  # a second is no lateness
    return Round(
        rate=rate, served=sent["events"] / lasted, late=last - max(sendings), ms=took[False] or took[True],
        critical=took[True] or took[False], cores=used / lasted, memory=memory,
    )  # fmt: skip


def main(arguments: list[str]) -> None:
    """Run it, print a Markdown table and write the plot."""
    parser = argparse.ArgumentParser(prog="bench.saturation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--by-http", type=float, default=0.1)
    parser.add_argument("--store", type=Path, help="a log store's file to begin with, see bench.history")
    parser.add_argument("--svg", type=Path, help="write the plot there")
    parser.add_argument("--page", type=Path, help="put words and table between the marks of this page")
    chosen = parser.parse_args(arguments)
    options = [f"--by-http={chosen.by_http}", f"--rules={chosen.rules}"]
    rounds = []
    with stand(chosen.store) as made:
        made.start(with_critical(rules_text(chosen.rules)), {"retention": {"events": "10000d"}})
        before = made.tocsin.count("RunStatusChanged")
        warm_up(made, [*options, "--rate=200"])
        for rate in chosen.rates:
            rounds.append(one_rate(made, rate, options, chosen.seconds))
            say(f"{rate:,.0f}/s: served {rounds[-1].served:,.0f}/s, late {rounds[-1].late:.1f} s")
    words = (
        f"{chosen.seconds:.0f} s a rate, {chosen.by_http:.0%} singles by HTTP, the others by Kafka; {chosen.rules:,} event rules "
        f"of 20 shapes; {before:,} rows stored before; sender, Kafka and SMTP server on the same machine: {machine()}."
    )
    figures = (
        table(
            ("events/s", "served", "p50, ms", "p99, ms", "critical p99, ms", "last mail late, s", "cores", "peak MiB"),
            *(
                (
                    f"{r.rate:,.0f}", f"{r.served:,.0f}", f"{percentile(r.ms, 0.5):,.0f}", f"{percentile(r.ms, 0.99):,.0f}",
                    f"{percentile(r.critical, 0.99):,.0f}", f"{r.late:.1f}", f"{r.cores:.2f}", f"{r.memory:,.0f}",
                )
                for r in rounds
            ),
        )
    )  # fmt: skip
    print(f"{words}\n\n{figures}")
    if chosen.svg is not None:
        curves(
            chosen.svg,
            "From event to mail, by the rate of events",
            ("events a second", "milliseconds"),
            {
                "p99": [(r.rate, percentile(r.ms, 0.99)) for r in rounds],
                "p99, critical": [(r.rate, percentile(r.critical, 0.99)) for r in rounds],
                "p50": [(r.rate, percentile(r.ms, 0.5)) for r in rounds],
            },
        )
    if chosen.page is not None:
        between(chosen.page, f"{words}\n\n{figures}")


def between(page: Path, text: str) -> None:
    """Put this between the marks of a page."""
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

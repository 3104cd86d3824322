"""Latency from event to mail against the rate of events, up to and past saturation, with memory and cores at each rate.

    python -m bench.saturation [--rates 1 12 116 …] [--seconds 10] [--rules 1000] [--matching 1] [--store FILE]

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
from bench.latency import MATCHING, MORE, rules_text, run_sender, warm_up
from bench.stand import Stand, stand
from tests.servers.eventually import eventually
from tests.servers.smtp import Received

RATES = [50, 116, 250, 500, 1000, 1500, 2000, 3000, 4000]
PATIENCE = 180.0
CRITICAL = "critical"


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
    """These rules, those of one needle in ten critical, sent to the run's owner: of critical alerts an address gets ten in
    ten minutes one by one, further ones together.
    """
    document: dict[str, Any] = json.loads(text)
    for rule in document["rules"]:
        needle = int(rule["query"].partition("needle-")[2].partition("'")[0])
        if needle % 10 == 0:
            rule |= {"severity": CRITICAL, "notify": {"to": ["owner"], "only": True}}
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

    # They are parsed once enough are there: that takes a core, which tocsin needs.
    eventually(lambda: len(made.smtp.messages()) >= wanted and len(of_events()) >= wanted, within=PATIENCE, every=0.2)
    mails = of_events()
    last = max(mail.accepted_at for mail in mails)
    used, memory = cpu_seconds(tocsin.pid) - used, peak_rss(tocsin.pid)
    tocsin.idle(120)
    made.wait_stored(stored + sent["events"])
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
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="bench.saturation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--by-http", type=float, default=0.1)
    parser.add_argument(
        "--matching", type=int, default=MATCHING, help="one event of so many matches; 1: mails are the limit"
    )
    parser.add_argument("--store", type=Path, help="a log store's file to begin with, see bench.history")
    chosen = parser.parse_args(arguments)
    options = [f"--{key}={getattr(chosen, key.replace('-', '_'))}" for key in ("by-http", "rules", "matching")]
    rounds = []
    with stand(chosen.store) as made:
        made.start(with_critical(rules_text(chosen.rules)), MORE)
        before = made.tocsin.count("RunStatusChanged")
        warm_up(made, [*options, "--rate=200"])
        for rate in chosen.rates:
            rounds.append(one_rate(made, rate, options, chosen.seconds))
            say(f"{rate:,.0f}/s: served {rounds[-1].served:,.0f}/s, late {rounds[-1].late:.1f} s")
    words = (
        f"{chosen.seconds:.0f} s a rate, {chosen.by_http:.0%} singles by HTTP, the others by Kafka; {chosen.rules:,} event rules "
        f"of 20 shapes, one event in {chosen.matching} matches; {before:,} rows stored before; sender, Kafka and SMTP server on the same machine: {machine()}."
    )
    figures = (
        table(
            ("events/s", "served", "p50, ms", "p99, ms", "critical p50, ms", "critical p99, ms", "last mail late, s", "cores", "peak MiB"),
            *(
                (
                    f"{r.rate:,.0f}", f"{r.served:,.0f}", f"{percentile(r.ms, 0.5):,.0f}", f"{percentile(r.ms, 0.99):,.0f}",
                    f"{percentile(r.critical, 0.5):,.0f}", f"{percentile(r.critical, 0.99):,.0f}", f"{r.late:.1f}", f"{r.cores:.2f}", f"{r.memory:,.0f}",
                )
                for r in rounds
            ),
        )
    )  # fmt: skip
    print(f"{words}\n\n{figures}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""From event to mail while Prometheus scrapes each second, against the same without: paired rounds.

    python -m bench.scraped [--rounds 5] [--seconds 15] [--rate 1000] [--rules 1000]

One `tocsin up` with the workload of `bench.latency`, and labels of experiments on the metrics of runs. Each round sends twice, once
while a thread of this process asks for /metrics each second; each comes first in every other round.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import urllib.request

from bench.common import machine, paired, percentile, say, spread, table
from bench.latency import one_round, rules_text, warm_up
from bench.stand import Stand, stand

MORE = {
    "metrics": {"run_labels": ["experiment"]},
    "log": {"format": "text", "level": "warning"},
}


class Scraper:
    """Asks for /metrics each second until it is stopped."""

    def __init__(self, url: str) -> None:
        self.took: list[float] = []
        self.samples = 0
        self._url, self._stop = f"{url}/metrics", threading.Event()
        self._thread = threading.Thread(target=self._scrape, daemon=True)
        self._thread.start()

    def _scrape(self) -> None:
        while not self._stop.wait(1):
            began = time.perf_counter()
            with urllib.request.urlopen(self._url) as answer:
                body = answer.read()
            self.took.append((time.perf_counter() - began) * 1000)
            self.samples = sum(not line.startswith(b"#") for line in body.splitlines())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def main(arguments: list[str]) -> None:
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="bench.scraped", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--rules", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    with stand() as made:
        made.start(rules_text(chosen.rules), MORE)
        measure(chosen, made)


def measure(chosen: argparse.Namespace, made: Stand) -> None:
    options = [f"--{key}={getattr(chosen, key)}" for key in ("seconds", "rate", "rules")]
    warm_up(made, options)
    scrapes: list[float] = []
    samples = 0

    def quiet(_number: int) -> float:
        made.tocsin.idle(120)
        _, took = one_round(made, options)
        return percentile([ms for way in took.values() for ms in way], 0.95)

    def scraped(number: int) -> float:
        nonlocal samples
        scraper = Scraper(made.tocsin.url)
        try:
            return quiet(number)
        finally:
            scraper.stop()
            scrapes.extend(scraper.took)
            samples = scraper.samples

    pairs = paired(scraped, quiet, chosen.rounds)
    say(f"{len(scrapes)} scrapes")
    print(
        f"{chosen.rate:,.0f} events/s for {chosen.seconds:.0f} s a round, {chosen.rules:,} event rules; {chosen.rounds} rounds; "
        f"{samples:,} samples a scrape; {machine()}.\n"
    )
    rows = [
        ("event → mail p95, scraped each second, ms", spread((pair.ours for pair in pairs), 0)),
        ("event → mail p95, not scraped, ms", spread((pair.ceiling for pair in pairs), 0)),
        ("their ratio, paired", spread(pair.ratio for pair in pairs)),
        ("a scrape meanwhile, ms", spread(scrapes, 0)),
    ]
    print(table(("what", "median (smallest-largest)"), *rows))


if __name__ == "__main__":
    main(sys.argv[1:])

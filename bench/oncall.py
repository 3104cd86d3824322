"""On call: a commit with 100 new alerts through route, group and inhibit, while 100,000 are active; pages over 10,000.

    python -m bench.oncall [--active 100000] [--new 100] [--rounds 20] [--pages] [--runs 100000] [--open 10000]

The stages run in this process over a SQLite file, with a tree of 50 routes, groups by rule and experiment, and an inhibition that has
100 sources. A round is one pass with its new alerts, to the point at which drafts are ready to be rendered.
With --pages a tocsin is started with as many runs and open alerts, and its pages are asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from bench.common import Figure, machine, percentile, report, say, spread, table
from tests.acceptance.harness import Tocsin
from tests.servers.eventually import eventually
from tocsin.clock import SystemClock
from tocsin.model.alert import Why
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify.routing.files import read_oncall_files
from tocsin.notify.routing.oncall_file import Context, OnCallRules, read_files
from tocsin.notify.routing.pipeline import RecipientResolver
from tocsin.notify.stages.register import Registering
from tocsin.notify.stages.run import Happened, Needs, Stages
from tocsin.state.sqlite import SqliteState

PAGES = ("/", "/alerts", "/runs", "/notifications", "/rules", "/oncall", "/oncall/report", "/consumers", "/charts")
INFO = RuleInfo(name="run-failed", version="v1", summary="{{ ExperimentName }} failed")
BEGAN = datetime(2026, 11, 29, 8, tzinfo=UTC)


def rules(directory: Path) -> OnCallRules:
    """50 routes by team, one inhibition."""
    routes = [{"match": {"team": f"team-{n}"}, "receiver": f"team-{n}"} for n in range(50)]
    data = {
        "receivers": [{"name": f"team-{n}", "email": [f"team-{n}@example.org"]} for n in range(50)],
        "route": {"receiver": "team-0", "group_by": ["rule", "ExperimentName"], "routes": routes},
        "inhibit": [{"source": {"rule": "cluster-down"}, "target": {"rule": "run-failed"}, "equal": ["Target"]}],
    }
    path = directory / "team.yaml"
    path.write_text(json.dumps(data))
    problems: list[Any] = []
    found = read_files(read_oncall_files([path]).files, Context(), problems)
    assert found is not None, problems
    return found


def intent(n: int, rule: str = "run-failed", target: int | None = None) -> Intent:
    """One alert that fires."""
    fields = {"ExperimentName": f"experiment-{n % 1000}", "Target": f"gpu-{n % 5000 if target is None else target}"}
    return Intent(
        rule=rule, rule_version="v1", instance={"RunId": f"r{n}"}, occurrence=f"o{n}", kind=IntentKind.FIRED,
        severity=Severity.ERROR, why=Why.FIRST, labels={"team": f"team-{n % 60}"}, fields=fields, run_id=f"r{n}",
        event={"RunId": f"r{n}", "Status": "Failed", "TimeGenerated": BEGAN.isoformat(), **fields}, commit_seq=n // 100 + 1,
        at=BEGAN,
    )  # fmt: skip


def stages(directory: Path) -> Stages:
    """The stages over an empty state."""
    oncall = rules(directory)
    state = SqliteState.open(directory / "state.sqlite", clock=SystemClock())
    resolver = RecipientResolver(
        oncall=oncall, default=("ops@example.org",), admins=(), allows=lambda _: True, at=BEGAN
    )
    registering = Registering(
        rules=oncall, reaches=lambda *_: True, title=lambda i, _: str(i.fields["ExperimentName"]), now=BEGAN
    )
    made = Stages(
        Needs(
            state=state, oncall=lambda: oncall, resolver=lambda: resolver, registering=lambda _: registering,
            presented=lambda _: INFO,
        )
    )  # fmt: skip
    made.load()
    return made


def passes(active: int, new: int, rounds: int) -> list[float]:
    """Seconds of each of so many passes."""
    with tempfile.TemporaryDirectory() as directory:
        made = stages(Path(directory))
        sources = [intent(10_000_000 + n, "cluster-down", 10_000 + n) for n in range(100)]
        made.run(Happened(intents=sources), BEGAN)
        for begin in range(0, active, 5000):
            made.run(Happened(intents=[intent(n) for n in range(begin, min(begin + 5000, active))]), BEGAN)
            made.change(Happened())
        say(f"{len(made.live.alerts):,} alerts are active, in {len(made.live.groups):,} groups")
        taken = []
        for number in range(rounds):
            fresh = [intent(active + number * new + n, target=10_000 + n if n % 10 == 0 else None) for n in range(new)]
            at = BEGAN + timedelta(seconds=number + 1)
            began = time.perf_counter()
            passed = made.run(Happened(intents=fresh), at)
            made.change(Happened(intents=fresh))
            taken.append(time.perf_counter() - began)
            assert new == len(passed.fresh)
        return taken


def page_times(runs: int, open_: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each page, asked for so often, of a tocsin with so many runs and open alerts."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as directory:
        tocsin = Tocsin(program=Path(sys.executable).with_name("tocsin"), home=Path(directory) / "home")
        tocsin.home.mkdir()
        tocsin.start(within=60)
        try:
            for begin in range(0, runs, 1000):
                tocsin.send(
                    json.dumps([event(n, n < open_, now) for n in range(begin, min(begin + 1000, runs))]).encode()
                )
            with httpx.Client(base_url=tocsin.url, trust_env=False, timeout=60) as client:
                eventually(lambda: routed(client) >= open_, within=600, every=1)
                say(f"{runs:,} runs, {open_:,} open alerts")
                return {page: [asked(client, page) for _ in range(rounds)] for page in PAGES}
        finally:
            tocsin.kill()


def event(n: int, failed: bool, now: datetime) -> dict[str, Any]:
    """The end of a run."""
    at = (now - timedelta(seconds=n % 80_000)).isoformat()
    data = {"RunId": f"r{n}", "Status": "Failed" if failed else "Completed", "ExperimentName": f"experiment-{n % 1000}"}
    return {"specversion": "1.0", "type": "tocsin.run.status", "id": f"e{n}", "source": "lab", "time": at, "data": data}


def routed(client: httpx.Client) -> int:
    """Alerts that are active, as /metrics says."""
    lines = client.get("/metrics").text.splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("tocsin_alerts_active{")))


def asked(client: httpx.Client, page: str) -> float:
    """Seconds of one answer."""
    began = time.perf_counter()
    answer = client.get(page, headers={"Accept": "text/html"})
    assert 200 == answer.status_code, (page, answer.status_code)
    return time.perf_counter() - began


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--active", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--open", type=int, default=10_000)
    given = parser.parse_args()
    taken = [1000 * each for each in passes(given.active, given.new, given.rounds)]
    rows: list[tuple[str, str, str, str]] = [
        (f"{given.new} new of {given.active:,} active alerts", spread(taken, 1), f"{percentile(taken, 0.95):.1f}", "50")
    ]
    if given.pages:
        for page, seconds in page_times(given.runs, given.open, given.rounds).items():
            ms = [1000 * each for each in seconds]
            rows.append((f"page {page}", spread(ms, 1), f"{percentile(ms, 0.95):.1f}", "200"))
    report(
        Figure(
            what="a pass with new alerts",
            unit="ms",
            ours=taken,
            workload=f"{given.new} new of {given.active:,} active alerts",
        )
    )
    print(machine() + "\n")
    print(table(("what", "median (least-most), ms", "p95, ms", "at most, ms"), *rows))


if __name__ == "__main__":
    main()

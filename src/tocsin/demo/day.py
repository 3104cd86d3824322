"""A made-up day of training on made-up machines: the same for the same end and seed, as canonical CloudEvents.

Eight experiments of seven people; parent groups with children, several tries, failures with log tails,
cancellations, one run that
goes silent, one that waits in the queue, a sweep that goes wrong, duplicates, events that come late, words that nobody knows and payloads that nobody can read.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import msgspec

from tocsin.model.event import HEARTBEAT_TYPE, STATUS_TYPE

SEED = 7
LENGTH = timedelta(hours=23, minutes=30)
"""From the first event to the last: all of it lies within ``max_event_age``."""
SILENT_RUN = "ranker-v3-silent"
"""The run whose heartbeats stop while it says that it is running."""
STUCK_RUN = "llm-distill-stuck"
"""The run that waits in the queue."""
FAILING_SWEEP = "fraud-gnn-sweep-71"
"""The parent group of which trial after trial fails."""
SECRET = "n0t-a-real-passw0rd"
"""Stands in some log tails; must be seen nowhere once redacted."""

_MINUTE = timedelta(minutes=1)
_NONE: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A way in which runs fail. Texts are templates of ``str.format``: {gpu}, {node}, {run}, {step}, {name}."""

    reason: str
    code: str
    message: str
    tail: tuple[str, ...]  # the last lines of the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A line of work: whose it is, where it runs, how its runs go."""

    name: str
    owner: str
    email: str
    workspace: str
    target: str
    run_type: str
    runs: int  # top-level runs that end well or are canceled, in a day
    minutes: float  # length of a typical run
    attempts: int = 1
    children: int = 0  # trials, where a run is a parent group
    own_run_per_try: bool = False  # each attempt has a RunId of its own, with the JobKey in common
    failures: tuple[str, ...]


FAILURES: Mapping[str, Failure] = {
    "oom": Failure(
        reason="out_of_memory",
        code="torch.OutOfMemoryError",
        message="CUDA out of memory. Tried to allocate 2.50 GiB. GPU {gpu} has a total capacity of 39.39 GiB of which "
        "1.12 GiB is free.",
        tail=(
            "Traceback (most recent call last):",
            '  File "/app/train.py", line 218, in train_step',
            "    loss = model(batch.to(device)).loss",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU {gpu} has a total capacity of "
            "39.39 GiB of which 1.12 GiB is free.",
        ),
    ),
    "preempted": Failure(
        reason="preempted",
        code="NodePreempted",
        message="node {node} was preempted by the provider",
        tail=(
            "SIGTERM received, saving checkpoint",
            "checkpoint step-{step} saved in 4.1 s",
            "exiting: node is going away",
        ),
    ),
    "disk": Failure(
        reason="quota",
        code="OSError: [Errno 122]",
        message="Disk quota exceeded: '/mnt/scratch/{name}/checkpoints/step-{step}.pt'",
        tail=(
            '  File "/app/checkpoint.py", line 61, in save',
            "    torch.save(state, path)",
            "OSError: [Errno 122] Disk quota exceeded: '/mnt/scratch/{name}/checkpoints/step-{step}.pt'",
        ),
    ),
    "key": Failure(
        reason="code_error",
        code="KeyError",
        message="KeyError: 'price_eur' in data loader worker 3",
        tail=(
            "Traceback (most recent call last):",
            '  File "/app/data/loader.py", line 94, in collate',
            "    prices = [row['price_eur'] for row in rows]",
            "KeyError: 'price_eur'",
            "data loader worker 3 exited with code 1",
        ),
    ),
    "nccl": Failure(
        reason="infrastructure",
        code="NCCL_TIMEOUT",
        message="NCCL timeout: ALLREDUCE did not finish in 1800 s on rank {gpu}",
        tail=(
            "[rank{gpu}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum={step}, OpType=ALLREDUCE) ran for "
            "1800047 milliseconds before timing out.",
            "[rank{gpu}] To avoid data inconsistency, we are taking the entire process down.",
            "process group destroyed, exit code -6",
        ),
    ),
    "nan": Failure(
        reason="code_error",
        code="FloatingPointError",
        message="loss is NaN at step {step}",
        tail=("step {step} loss nan grad_norm inf", "FloatingPointError: loss is NaN at step {step}"),
    ),
    "limit": Failure(
        reason="timeout",
        code="JobTimeLimit",
        message="stopped at its time limit of 4 h",
        tail=("time limit of 4 h reached, sending SIGTERM", "container did not stop in 30 s, sending SIGKILL"),
    ),
    "image": Failure(
        reason="infrastructure",
        code="ImagePullBackOff",
        message="cannot pull registry.example.org/ml/{name}:2026.11: 503 Service Unavailable",
        tail=(
            "Back-off pulling image registry.example.org/ml/{name}:2026.11",
            "unexpected status 503 Service Unavailable",
        ),
    ),
}

# fmt: off
EXPERIMENTS: Mapping[str, Experiment] = {e.name: e for e in (
    Experiment(name="churn", owner="Ágnes", email="agnes@example.org", workspace="growth", target="aks-eu",
               run_type="sweep", runs=4, minutes=110, children=9, attempts=3, failures=("oom", "key")),
    Experiment(name="ranker-v3", owner="Béla", email="bela@example.org", workspace="search", target="dgx-a100",
               run_type="training", runs=22, minutes=150, attempts=2, failures=("nan", "nccl")),
    Experiment(name="ocr-hu", owner="Zsófia", email="zsofia@example.org", workspace="documents", target="gpu-spot-eu",
               run_type="training", runs=60, minutes=45, attempts=4, own_run_per_try=True, failures=("preempted", "disk")),
    Experiment(name="demand-forecast", owner="Lucía", email="lucia@example.org", workspace="supply", target="cpu-pool",
               run_type="pipeline", runs=46, minutes=14, attempts=2, failures=("image", "key")),
    Experiment(name="speech-tts", owner="Mei", email="mei@example.org", workspace="voice", target="dgx-a100",
               run_type="training", runs=18, minutes=190, failures=("nan", "limit")),
    Experiment(name="fraud-gnn", owner="Noor", email="noor@example.org", workspace="risk", target="aks-us",
               run_type="sweep", runs=3, minutes=130, children=10, attempts=2, failures=("key", "oom")),
    Experiment(name="llm-distill", owner="Jürgen", email="jurgen@example.org", workspace="language", target="h100-cluster",
               run_type="training", runs=12, minutes=230, attempts=3, failures=("nccl", "preempted")),
    Experiment(name="embeddings", owner="Béla", email="bela@example.org", workspace="search", target="cpu-pool",
               run_type="pipeline", runs=70, minutes=6, failures=("image",)),
)}

FINAL_FAILURES: Sequence[tuple[str, str, float]] = (  # experiment, what went wrong, minutes before the end of the day
    ("churn", "oom", 0.6), ("fraud-gnn", "key", 1.4), ("ocr-hu", "disk", 3), ("llm-distill", "nccl", 8), ("speech-tts", "nan", 17),
    ("ocr-hu", "disk", 3.4), ("ocr-hu", "disk", 4.1), ("demand-forecast", "image", 34), ("ranker-v3", "nan", 71),
    ("embeddings", "image", 36), ("speech-tts", "limit", 140), ("ocr-hu", "preempted", 260), ("churn", "key", 305),
    ("llm-distill", "preempted", 420), ("demand-forecast", "key", 433), ("fraud-gnn", "oom", 590), ("ranker-v3", "nccl", 655),
    ("ocr-hu", "disk", 760), ("embeddings", "image", 805), ("speech-tts", "nan", 910), ("demand-forecast", "image", 1015),
)
# fmt: on
_LAST_TRY = {
    ("churn", "oom"): 372.0,
    ("speech-tts", "limit"): 240.0,
}  # minutes; others take as long as their experiment's runs do


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; ``columns`` are those that each of its events says."""

    id: str
    experiment: Experiment
    columns: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What to post, in this order, and which runs go on afterwards."""

    payloads: tuple[bytes, ...]
    running: tuple[Run, ...]  # heartbeats go on
    silent: Run  # says that it runs, and nothing more


def run_of(e: Experiment, id: str, *, parent: str = "", job: str = "", attempt: int = 1, run_type: str = "") -> Run:
    """A run of ``e``."""
    columns: dict[str, object] = {
        "RunId": id,
        "RootRunId": parent or id,
        "JobKey": job or id,
        "Attempt": attempt,
        "ExperimentName": e.name,
        "WorkspaceName": e.workspace,
        "RunType": run_type or e.run_type,
        "DisplayName": id.removeprefix(f"{e.name}-"),
        "Target": e.target,
        "TriggeringUserName": e.owner,
        "OwnerEmail": e.email,
        "Tags": {"team": e.workspace, "git": f"{random.Random(job or id).getrandbits(28):07x}"},
        "Url": f"https://train.example.org/{e.workspace}/runs/{id}",
    }
    return Run(id=id, experiment=e, columns=columns | ({"ParentRunId": parent} if parent else {}))


def event(run: Run, at: datetime, id: str, columns: Mapping[str, object], type_: str = STATUS_TYPE) -> bytes:
    """A canonical CloudEvent, one line. ``columns`` are said besides the run's own."""
    own = run.columns if type_ == STATUS_TYPE else {"RunId": run.id}
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "type": type_,
            "source": f"https://train.example.org/{run.experiment.target}",
            "id": id,
            "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {**own, **columns},
        }
    )


def failed(run: Run, at: datetime, key: str, *, will_retry: bool, rng: random.Random) -> dict[str, object]:
    """Columns of the Failed event of ``run``, with the last 20 lines of its log."""
    failure = FAILURES[key]
    names = {"gpu": rng.randint(0, 7), "node": f"{run.experiment.target}-{rng.randint(3, 41):02}", "run": run.id}
    reached = rng.randint(40, 410) * 50
    words = {**names, "step": reached, "name": run.experiment.name}
    tail = [line.format_map(words) for line in failure.tail]
    lead: list[str] = []
    for i in range(20 - len(tail)):
        then = at - timedelta(seconds=7 * (20 - len(tail) - i))
        step, loss = reached - 50 * (20 - len(tail) - i), 2.1 - i / 90 + rng.random() / 20
        if key == "image":
            lead.append(f"{then:%H:%M:%S} pulling image, try {i + 1}: {rng.choice(('503', 'timeout', 'retrying'))}")
        else:
            lead.append(f"{then:%H:%M:%S} step {step} loss {loss:.3f} lr 3.0e-04 {rng.randint(880, 1020)} samples/s")
    if run.experiment.name == "fraud-gnn":
        lead[2] = f"{lead[2][:8]} features from postgresql://trainer:{SECRET}@features.example.org/fraud"
        lead[3] = f"{lead[3][:8]} FEATURE_STORE_PASSWORD={SECRET}"
    if run.experiment.name == "ocr-hu":
        lead[2] = f"{lead[2][:8]} szótár betöltve: 120 000 szó, próba: „árvíztűrő tükörfúrógép” → rendben"
    return {
        "Reason": failure.reason,
        "ErrorCode": failure.code,
        "Message": failure.message.format_map(words),
        "LogTail": "\n".join(lead + tail),
        "WillRetry": will_retry,
    }


@dataclass(slots=True, kw_only=True)
class _Making:
    now: datetime
    rng: random.Random
    posted: list[tuple[datetime, int, bytes]] = field(default_factory=list)
    running: list[Run] = field(default_factory=list)

    def put(self, at: datetime, payload: bytes) -> None:
        if at <= self.now:
            self.posted.append((at, len(self.posted), payload))

    def say(
        self, run: Run, at: datetime, word: str, columns: Mapping[str, object] = _NONE, late: timedelta = timedelta(0)
    ) -> None:
        if at <= self.now:
            id = f"{run.id}/{run.columns['Attempt']}/{word}/{int(at.timestamp()) % 100_000}"
            payload = event(run, at, id, {"Status": word, **columns})
            self.put(min(at + late, self.now), payload)

    def beat(self, run: Run, start: datetime, end: datetime, stop: datetime) -> None:
        """Heartbeats from ``start`` to ``stop``, of a run that would be done at ``end``."""
        every = max(2 * _MINUTE, (end - start) / 8)
        at, n = start + every, 0
        while at < stop and at <= self.now:
            done = round((at - start) / (end - start), 3)
            self.put(at, event(run, at, f"{run.id}/beat/{n}/{at:%H%M}", {"Progress": done}, HEARTBEAT_TYPE))
            at, n = at + every, n + 1

    def one(self, run: Run, start: datetime, end: datetime, outcome: str, *, will_retry: bool = False) -> None:
        """The life of one try. ``outcome``: Completed, Canceled or a key of FAILURES."""
        rng = self.rng
        length = end - start
        wait = min(length / 10, 8 * _MINUTE)
        prepared, began = start + wait * rng.uniform(0.2, 0.5), start + wait * rng.uniform(0.6, 1.0)
        self.say(run, start, "Queued")
        if run.experiment.target == "gpu-spot-eu":
            self.say(run, start + wait * 0.1, "Provisioning")
        self.say(run, prepared, "Preparing")
        late = timedelta(minutes=rng.uniform(20, 55)) if rng.random() < 0.02 else timedelta(0)
        if outcome != "image":
            self.say(run, began, "Running", late=late)
            self.beat(run, began, end, end)
        given: dict[str, object] = {}
        if run.experiment.name == "llm-distill":
            given = {
                "StartTime": began.isoformat(),
                "EndTime": end.isoformat(),
                "DurationMs": (end - began) // timedelta(milliseconds=1),
            }
        if outcome == "Completed":
            if rng.random() < 0.5:
                self.say(run, end - length * 0.01, "Finalizing")
            self.say(run, end, "Completed", {"Progress": 1.0, **given})
        elif outcome == "Canceled":
            self.say(run, end - timedelta(seconds=9), "CancelRequested")
            who = run.experiment.owner
            self.say(run, end, "Canceled", {"Reason": "user_canceled", "Message": f"canceled by {who}", **given})
        else:
            self.say(run, end, "Failed", {**failed(run, end, outcome, will_retry=will_retry, rng=rng), **given})
        if began <= self.now < end:
            self.running.append(run)

    def work(self, e: Experiment, name: str, outcomes: Sequence[str], end: datetime, *, last: float = 0) -> None:
        """A piece of work over its tries, the last of which ends at ``end``."""
        lengths = [
            e.minutes * self.rng.uniform(0.3, 1.0) * (1 if n == len(outcomes) - 1 else 0.4)
            for n in range(len(outcomes))
        ]
        lengths[-1] = last or lengths[-1]
        start = end - sum(lengths, 0.0) * _MINUTE - (len(outcomes) - 1) * _MINUTE
        for n, (outcome, length) in enumerate(zip(outcomes, lengths, strict=True)):
            id = f"{name}-{n + 1}" if e.own_run_per_try and len(outcomes) > 1 else name
            run = run_of(e, id, job=name, attempt=n + 1, run_type="training" if e.children else "")
            self.one(run, start, start + length * _MINUTE, outcome, will_retry=n < len(outcomes) - 1)
            start += (length + 1) * _MINUTE

    def parent_group(self, e: Experiment, name: str, start: datetime) -> None:
        """A parent that runs as long as its trials do, two at a time."""
        parent = run_of(e, name)
        end = start
        for n in range(e.children):
            began = start + timedelta(minutes=e.minutes * (n // 2) * 0.4 + self.rng.random() * 5)
            done = began + e.minutes * self.rng.uniform(0.25, 0.4) * _MINUTE
            trial = run_of(e, f"{name}-t{n + 1:02}", parent=name, run_type="trial")
            self.one(trial, began, done, "Canceled" if self.rng.random() < 0.08 else "Completed")
            end = max(end, done)
        self.one(parent, start, end + _MINUTE, "Completed")


def make_day(now: datetime, seed: int = SEED) -> Day:
    """The day that ends at ``now`` (UTC). The same arguments give the same bytes."""
    making = _Making(now=now, rng=random.Random(seed))
    rng = making.rng
    for e in EXPERIMENTS.values():
        first = now - LENGTH + timedelta(minutes=e.minutes)
        for n in range(e.runs):
            at = first + (now + 0.7 * e.minutes * _MINUTE - first) * ((n + rng.random() * 0.8 + 0.1) / e.runs)
            if e.children:
                start = now - timedelta(minutes=60) - LENGTH * ((e.runs - 1 - n) / (e.runs + 0.5))
                making.parent_group(e, f"{e.name}-sweep-{n + 41}", start)
            else:
                retried = e.attempts > 1 and rng.random() < 0.12
                outcomes = (
                    [e.failures[0], "Completed"] if retried else ["Canceled" if rng.random() < 0.05 else "Completed"]
                )
                making.work(e, f"{e.name}-{n + 201}", outcomes, at)
    for n, (name, key, before) in enumerate(FINAL_FAILURES):
        e = EXPERIMENTS[name]
        end = now - before * _MINUTE
        attempts = 1 if e.minutes * e.attempts > (LENGTH - before * _MINUTE) / _MINUTE else e.attempts
        making.work(e, f"{name}-{n + 901}", [key] * attempts, end, last=_LAST_TRY.get((name, key), 0))
    _failing_sweep(making)
    silent = _oddities(making)
    for at, _, payload in rng.sample(making.posted, len(making.posted) // 80):
        making.put(min(at + timedelta(seconds=rng.randint(1, 300)), now), payload)
    ordered = sorted(making.posted)
    running = tuple(r for r in making.running if r.id != silent.id)
    return Day(payloads=tuple(payload for _, _, payload in ordered), running=running, silent=silent)


def _failing_sweep(making: _Making) -> None:
    """Ten trials: three end well, four run out of memory, three are at work."""
    now, e = making.now, EXPERIMENTS["fraud-gnn"]
    parent = run_of(e, FAILING_SWEEP)
    making.one(parent, now - timedelta(minutes=84), now + timedelta(minutes=50), "Completed")
    for n in range(10):
        trial = run_of(e, f"{FAILING_SWEEP}-t{n + 1:02}", parent=FAILING_SWEEP, run_type="trial")
        began = now - timedelta(minutes=80 - 8 * n)
        making.one(trial, began, began + timedelta(minutes=22 + n), "Completed" if n < 3 else "oom")


def _oddities(making: _Making) -> Run:
    """A run that goes silent, one that is paused, one that waits, words that nobody knows, what nobody can read. Returns the silent
    run.
    """
    now, ranker, forecast = making.now, EXPERIMENTS["ranker-v3"], EXPERIMENTS["demand-forecast"]
    silent, paused = run_of(ranker, SILENT_RUN), run_of(ranker, "ranker-v3-paused")
    begun = now - timedelta(minutes=190)
    for run in (silent, paused):
        making.say(run, begun, "Queued")
        making.say(run, begun + 2 * _MINUTE, "Running")
        making.beat(run, begun + 2 * _MINUTE, now + timedelta(hours=3), now - timedelta(minutes=47))
    making.say(paused, now - timedelta(minutes=46), "Paused", {"Message": "waits for its turn on dgx-a100"})
    making.say(run_of(EXPERIMENTS["llm-distill"], STUCK_RUN), now - timedelta(minutes=95), "Queued")
    shaky = run_of(forecast, "demand-forecast-shaky")
    making.one(shaky, now - timedelta(minutes=70), now - timedelta(minutes=40), "Completed")
    making.say(shaky, now - timedelta(minutes=55), "NotResponding")
    making.say(shaky, now - timedelta(minutes=52), "Running")
    for hours, word in ((5, "Hibernating"), (11, "Evicted")):
        odd, at = run_of(forecast, f"demand-forecast-{word.lower()}"), now - timedelta(hours=hours)
        making.one(odd, at, at + 20 * _MINUTE, "Completed")
        making.say(odd, at + 9 * _MINUTE, word)
    whole = event(silent, now - timedelta(hours=9), "cut-short", {"Status": "Running"})
    making.put(now - timedelta(hours=9), whole[: len(whole) // 2])
    nameless = event(silent, now - 6 * _MINUTE, "nameless", {"Status": "Running", "RunId": ""})
    making.put(now - 6 * _MINUTE, nameless)
    return silent


FILES = Path(__file__).parent / "files"


def lay_project(directory: Path) -> None:
    """Copy them into a project directory that has no files of its own."""
    shutil.copytree(FILES, directory, dirs_exist_ok=True)

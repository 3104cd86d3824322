"""kill -9 while events flow: nothing is lost, nothing is stored twice, nobody is notified twice."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Gone, Tocsin
from tests.oracle.events import Event, Histories
from tests.oracle.oracle import differences, occurrences, status_is, stored
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import Received, SmtpServer

POINTS = (
    "after_log_commit",
    "after_state_commit",
    "in_checkpoint",
    "before_deliveries",
    "after_deliveries",
    "after_250",
    "after_sent",
)
CONNECTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """How often it is killed while so many events flow."""

    events: int
    random_kills: int
    at_each_point: int


SHORT = Series(events=5_000, random_kills=3, at_each_point=1)
LONG = Series(events=20_000, random_kills=25, at_each_point=2)


@dataclass
class Flow:
    """Two senders that may send events up to a mark: one produces to Kafka, one posts until it is answered 202."""

    tocsin: Tocsin
    kafka: KafkaServer
    topic: str
    events: Sequence[Event]
    seed: int
    requests: int = 0
    retries: int = 0

    def __post_init__(self) -> None:
        self._open = 0
        self._moved = threading.Condition()
        self._stop = False
        self._done = {"kafka": 0, "http": 0}
        self._failed: list[Exception] = []
        dice = random.Random(self.seed)
        by_http = [dice.random() < 0.3 for _ in self.events]
        self._mine = {
            "kafka": [n for n, http in enumerate(by_http) if not http],
            "http": [n for n, http in enumerate(by_http) if http],
        }
        self._threads = [
            threading.Thread(target=self._run, args=("kafka", self._produce), daemon=True),
            threading.Thread(target=self._run, args=("http", self._post), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def allow(self, upto: int) -> None:
        """Let the events before number `upto` go."""
        with self._moved:
            self._open = max(self._open, upto)
            self._moved.notify_all()

    def done(self) -> bool:
        """Whether both have sent everything. Raises what went wrong in them."""
        for error in self._failed:
            raise error
        return all(self._done[name] == len(self._mine[name]) for name in self._mine)

    def stop(self) -> None:
        """End the senders, wherever they are."""
        with self._moved:
            self._stop = True
            self._moved.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, send: Callable[[list[Event]], bool]) -> None:
        mine, dice = self._mine[name], random.Random(f"{self.seed}{name}")
        try:
            while self._done[name] < len(mine):
                first = self._done[name]
                with self._moved:
                    self._moved.wait_for(lambda first=first: self._stop or mine[first] < self._open)  # type: ignore[misc]
                    if self._stop:
                        return
                    last = min(first + dice.randint(1, 40), len(mine))
                    while last > first + 1 and mine[last - 1] >= self._open:
                        last -= 1
                piece = [self.events[n] for n in mine[first:last]]
                while not send(piece):
                    self.retries += 1
                    with self._moved:
                        if self._moved.wait_for(lambda: self._stop, timeout=0.05):
                            return
                self._done[name] = last
        except Exception as error:  # noqa: BLE001 raised again by `done`
            self._failed.append(error)

    def _produce(self, piece: list[Event]) -> bool:
        self.kafka.produce(self.topic, [event.bytes() for event in piece])
        return True

    def _post(self, piece: list[Event]) -> bool:
        body = b"[" + b",".join(event.bytes() for event in piece) + b"]"
        self.requests += 1
        try:
            answer = self.tocsin.send(body)
        except Gone:
            return False
        assert answer.status in (202, 503), answer
        return answer.status == 202


def plan(seed: int, series: Series) -> list[str]:
    """The kills in a random order: '' at a random moment, else at a point's n-th pass."""
    dice = random.Random(seed)
    kills = [""] * series.random_kills
    for point in POINTS:
        first = 1 if point == "in_checkpoint" else 3
        kills += [f"{point}:{dice.randint(1, first)}" for _ in range(series.at_each_point)]
    dice.shuffle(kills)
    return kills


def share(kill: str) -> int:
    """How much of the events flows before a kill: enough of them that a checkpoint is due before one inside it."""
    return 4 if kill.startswith("in_checkpoint") else 1


def killed_at_point(tocsin: Tocsin, flow: Flow, upto: int) -> bool:
    """Wait until it died, letting more events flow: how many pass a point together depends on the machine."""
    for more in range(20):
        if tocsin.died(within=5):
            return True
        flow.allow(min(upto + 100 * (more + 1), len(flow.events)))
    return False


def repeats(mails: Sequence[Received]) -> list[tuple[float, float, str]]:
    """Acceptances of a Message-ID beyond its first: (accepted before, accepted again, Message-ID)."""
    times = defaultdict(list)
    for mail in mails:
        times[str(mail.message["Message-ID"])].append(mail.accepted_at)
    return [(a, b, name) for name, at in times.items() for a, b in pairwise(sorted(at))]


@pytest.mark.timeout(900)  # LONG takes some 2 min on two idle cores
@pytest.mark.parametrize(
    ("series", "seed"),
    [
        pytest.param(SHORT, 1, id="short"),
        pytest.param(LONG, None, id="long", marks=pytest.mark.soak),  # another seed each time
    ],
)
def test_kill_9_while_events_flow(
    series: Series, seed: int | None, make_tocsin: MakeTocsin, smtp: SmtpServer, kafka: KafkaServer
) -> None:
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    dice = random.Random(seed)
    topic = kafka.new_topic(partitions=3)
    tocsin = make_tocsin(
        smtp=smtp,
        kafka=kafka,
        topic=topic,
        smtp_settings={"connections": CONNECTIONS},
        store={"checkpoint_threshold": "1MiB"},
        log={"format": "text", "level": "warning"},
    )
    began = time.monotonic()
    tocsin.start()
    starting = time.monotonic() - began
    # What a Kafka consumer's source produced before its first start is history, so the runs begin now.
    maker, events = Histories(seed, datetime.now(UTC), failing=0.1), list[Event]()
    while len(events) < series.events:
        events += maker.run()
    events = sorted(events[: series.events], key=lambda e: (e.time, e.id))
    flow = Flow(tocsin, kafka, topic, events, seed)
    try:
        kills = plan(seed, series)
        died = Counter[str]()
        for number, kill in enumerate(kills, 1):
            point = kill.partition(":")[0]
            if number > 1:
                tocsin.begin(crash_at=kill)
            elif kill:
                tocsin.kill()
                tocsin.begin(crash_at=kill)
            upto = series.events * sum(map(share, kills[:number])) // (sum(map(share, kills)) + 1)
            flow.allow(upto)
            if kill:
                assert killed_at_point(tocsin, flow, upto), f"seed {seed}: {kill} was not passed\n{tocsin.said()}"
            else:
                if dice.random() < 0.8:
                    tocsin.wait_ready()
                    tocsin.died(within=dice.uniform(0.0, 1.0))
                else:  # while it starts
                    tocsin.died(within=starting * dice.uniform(0.5, 1.0))
                assert tocsin.running, f"seed {seed}: it died by itself\n{tocsin.said()}"
                tocsin.kill()
            died[point or "at a random moment"] += 1
        print(f"\nseed {seed}; first start {starting:.2f} s; kills: {dict(sorted(died.items()))}")
        tocsin.start()
        flow.allow(series.events)
        eventually(flow.done, within=60)
    finally:
        flow.stop()
    eventually(lambda: tocsin.count("RunStatusChanged") >= series.events, within=60)
    tocsin.idle(60)
    print(f"{flow.requests} requests, {flow.retries} sent again; {time.monotonic() - began:.0f} s in all")

    assert died == Counter({"at a random moment": series.random_kills, **dict.fromkeys(POINTS, series.at_each_point)})
    assert series.events == len(stored(events)) == tocsin.count("RunStatusChanged")
    twice = "summarize n = count() by Source, EventId, TimeGenerated | where n > 1"
    assert [] == tocsin.query(f"RunStatusChanged | {twice}")

    expected = occurrences(events, status_is("Failed", final=True))
    assert [] == differences(expected, tocsin.notified()), f"seed {seed}"
    assert [] == tocsin.query("Alerts | summarize n = count() by Rule, RunId, Occurrence, To | where n > 1")

    mails = smtp.messages("ops@example.org")
    assert len(mails) == len(smtp.messages()), [m.subject for m in smtp.messages() if m not in mails]
    contents = defaultdict(set)
    of_run = defaultdict(set)
    for mail in mails:
        contents[str(mail.message["Message-ID"])].add(mail.content)
        of_run[str(mail.message["X-Tocsin-Run"])].add(str(mail.message["Message-ID"]))
    assert expected.keys() == of_run.keys(), f"seed {seed}: runs without a mail, or a mail without a run"
    assert [] == [run for run, names in of_run.items() if len(names) > len(expected[run])], f"seed {seed}"
    assert [] == [name for name, texts in contents.items() if len(texts) > 1], "a repeat is byte-equal"
    at_kill = Counter[float]()
    for before, again, name in repeats(mails):
        between = [at for at in tocsin.kills if before - 0.5 <= at <= again]
        assert between, f"seed {seed}: {name} was sent twice though nobody was killed between"
        at_kill[min(between)] += 1
    print(f"{len(mails)} mails of {len(expected)} runs, {len(repeats(mails))} repeats")
    assert all(count <= CONNECTIONS for count in at_kill.values()), f"seed {seed}: {at_kill}"

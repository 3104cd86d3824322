"""A house for notify: a state in memory, a clock that stands, and a channel of mails whose other side is the test."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from email import message_from_bytes, policy

import pytest

from tests.unit.notify.make import INFO, NOW, renderer
from tests.unit.notify.no_facts import NoFacts
from tocsin.clock import ManualClock
from tocsin.metrics.registry import Metrics
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent, RuleInfo
from tocsin.notify.channels.base import Channel, Connection, MailChannel, Outcome, Reply, Setting, Unreachable
from tocsin.notify.channels.registry import Channels
from tocsin.notify.delivery.circuit import Backoff, Retry
from tocsin.notify.delivery.read import with_outbox
from tocsin.notify.notifier import Notifier, NotifyOptions
from tocsin.notify.render.facts import FactsReader
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.values import CapRule
from tocsin.state.interface import Outcome as Evaluated
from tocsin.state.sqlite import SqliteState

OK = Reply(outcome=Outcome.ACCEPTED, text="250 ok")
LATER = Reply(outcome=Outcome.LATER, text="451 later")
NEVER = Reply(outcome=Outcome.NEVER, text="550 no such user")
CUT = Reply(outcome=Outcome.NETWORK, text="connection lost", closed=True)


class Wire(MailChannel):
    """A channel whose other side is the test: what it answers, and when it can be reached."""

    def __init__(self, answer: Callable[[Delivery], Reply] = lambda _: OK, *, workers: int = 2, down: int = 0) -> None:
        self.answer, self.workers, self.down = answer, workers, down
        self.sent: list[Delivery] = []
        self.connects = 0

    async def connect(self) -> Connection:
        self.connects += 1
        if self.down > 0:
            self.down -= 1
            raise Unreachable("nobody listens")
        return Line(self)


class Line(Connection):
    def __init__(self, wire: Wire) -> None:
        self._wire, self._open = wire, True

    @property
    def alive(self) -> bool:
        return self._open

    async def send(self, delivery: Delivery) -> Reply:
        await asyncio.sleep(0)
        self._wire.sent.append(delivery)
        reply = self._wire.answer(delivery)
        self._open = not reply.closed
        return reply

    async def close(self) -> None:
        self._open = False


class House:
    """A state in memory, a clock that stands, and a notifier over them."""

    def __init__(
        self,
        mail: Channel,
        *,
        cap: CapRule | None = None,
        global_cap: CapRule | None = None,
        facts: FactsReader | None = None,
        state: SqliteState | None = None,
        clock: ManualClock | None = None,
        oncall: OnCallRules | None = None,
        setting: Setting | None = None,
    ) -> None:
        self.clock = clock or ManualClock(NOW)
        self.state = state or SqliteState.open(None, clock=self.clock)
        self.metrics = Metrics()
        self.oncall = oncall or OnCallRules()
        self.notifier = Notifier(
            options=NotifyOptions(
                default_receiver=("ops@example.org",),
                admin_email=("admin@example.org",),
                allowed_hosts=("ml.example.org",),
                allows=lambda a: a.endswith("@example.org"),
                cap=cap,
                global_cap=global_cap,
                facts_seconds=5,
                retry=Retry(first=timedelta(seconds=10)),
                circuit=Backoff(first=timedelta(milliseconds=1), longest=timedelta(milliseconds=5)),
            ),
            state=self.state,
            templates=renderer().templates,
            facts=facts or NoFacts(),
            channels=Channels(mail, lambda: self.oncall, with_outbox(setting or Setting(), self.state, self.clock)),
            metrics=self.metrics,
            clock=self.clock,
        )

    def notify(self, *intents: Intent, infos: Sequence[RuleInfo] = (INFO,)) -> None:
        self.state.commit(Evaluated(intents=intents, infos=tuple(infos)), self.clock.now())

    def drain(self) -> None:
        asyncio.run(self.notifier.drain())

    def mails(self, state: DeliveryState | None = None) -> list[Delivery]:
        return list(reversed(self.state.deliveries(state=state, limit=10_000)))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


Make = Callable[..., House]


@pytest.fixture
def house() -> Iterator[Make]:
    made: list[House] = []

    def make(mail: Channel, **more: object) -> House:
        made.append(House(mail, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.notifier.close()
        each.state.close()


def text_of(d: Delivery) -> str:
    part = message_from_bytes(d.message, policy=policy.default).get_body(("plain",))
    assert part is not None
    return " ".join(str(part.get_content()).split())

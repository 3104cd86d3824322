"""Facts are looked up once, beside the writing of few intents, else beside the pass that takes them."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.unit.notify.conftest import Make, Wire
from tests.unit.notify.make import intent
from tests.unit.notify.no_facts import NoFacts
from tocsin.errors import StoreError
from tocsin.model.delivery import DeliveryState
from tocsin.model.intent import Intent, IntentKind
from tocsin.notify.render.lookup import MOST_AHEAD, FactsLookup
from tocsin.notify.values import Facts, RunFacts


class Asked(NoFacts):
    """Writes down what it is asked about; it answers once it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[list[str]] = []
        self.may = threading.Event()
        self.may.set()
        self._error = error

    def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
        self.asked.append([i.id for i in intents])
        self.may.wait(10)
        if self._error is not None:
            raise self._error
        return {i.id: RunFacts(more_history=len(self.asked)) for i in intents}


@contextmanager
def looking_up(reader: Asked) -> Iterator[FactsLookup]:
    lookup = FactsLookup(reader, 5)
    yield lookup
    lookup.close()


def test_what_is_about_to_be_written_is_asked_about_once() -> None:
    """Said once more, it is asked about again: more may be known by then."""
    one, two, reader = intent("a"), intent("b"), Asked()
    with looking_up(reader) as lookup:
        lookup.expect([one])
        assert {one.id, two.id} == asyncio.run(lookup.of([one, two])).keys()
        assert [[one.id], [two.id]] == reader.asked
        assert {one.id: RunFacts(more_history=3)} == asyncio.run(lookup.of([one]))


def test_what_is_asked_about_with_its_pass() -> None:
    """A burst, whose first portion is asked about alone; a summary, whose runs are written with it; and what is decided
    while others are looked up.
    """
    reader = Asked()
    many = [intent(run=f"r{n}") for n in range(MOST_AHEAD + 1)]
    with looking_up(reader) as lookup:
        lookup.expect(many)
        lookup.expect([intent(kind=IntentKind.SUMMARY)])
        reader.may.clear()
        lookup.expect(many[:1])
        lookup.expect(many[1:2])
        reader.may.set()
        assert 2 == len(asyncio.run(lookup.of(many[:2])))
    assert [[many[0].id], [many[1].id]] == reader.asked


def test_a_lookup_that_fails_keeps_no_mail_back(house: Make) -> None:
    for n, reader in enumerate((Asked(), Asked(StoreError("the disk is full")))):
        here = house(Wire(), facts=reader)
        here.notifier.expect([one := intent(run=f"r{n}")])
        here.notify(one)
        here.drain()
        assert [DeliveryState.SENT] == [d.state for d in here.mails()]
        assert [[one.id]] == reader.asked

"""What a burst may cost, as counts: statements, queries, renderings, connections, copies of a message. Not times."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from tests.unit.notify.conftest import OK, Make, Wire
from tests.unit.notify.make import intent
from tests.unit.notify.no_facts import NoFacts
from tocsin.model.delivery import Delivery
from tocsin.model.intent import Intent
from tocsin.notify.channels.base import Reply
from tocsin.notify.render import views
from tocsin.notify.render.templates import Rendered, Templates
from tocsin.notify.stages.portions import BATCH, FIRST
from tocsin.notify.values import Facts
from tocsin.state.sqlite import SqliteState

MAILS = FIRST + 4 * BATCH
PASSES = 5
STATEMENTS_OF_A_PASS = 40
STATEMENTS_OF_MARKS = 5
"""Of all that is written at once."""


class Asked(NoFacts):
    """Counts questions."""

    def __init__(self) -> None:
        self.times = 0

    def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
        self.times += 1
        return {}


@contextmanager
def counted(state: SqliteState) -> Iterator[tuple[Counter[str], list[int]]]:
    """(statements by their verb, bytes of each blob that was written)."""
    verbs: Counter[str] = Counter()
    blobs: list[int] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        verbs[statement.split()[0].upper()] += 1
        for row in parameters if isinstance(parameters, list) else [parameters]:
            blobs.extend(len(value) for value in row if isinstance(value, bytes | memoryview))

    event.listen(state._engine, "before_cursor_execute", note)
    yield verbs, blobs
    event.remove(state._engine, "before_cursor_execute", note)


def test_a_burst_costs_no_statement_for_each_mail(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pass, and of what was sent meanwhile, there is one of each; a mail is rendered and written once."""
    rendered: list[str] = []
    titles: list[str] = []
    render, title = Templates.render, views.title

    def rendering(self: Templates, name: str, mail: Any) -> Rendered:
        rendered.append(mail.run.id)
        return render(self, name, mail)

    def entitling(intent: Intent, *more: Any) -> tuple[str, str]:
        titles.append(intent.run_id)
        return title(intent, *more)

    monkeypatch.setattr(Templates, "render", rendering)
    monkeypatch.setattr("tocsin.notify.render.views.title", entitling)
    monkeypatch.setattr("tocsin.notify.notifier.title", entitling)
    begun: list[Counter[str]] = []

    def accept(_: Delivery) -> Reply:
        begun.append(verbs.copy())  # ``drain`` sends once all is rendered
        return OK

    wire, facts = Wire(accept, workers=20), Asked()
    here = house(wire, facts=facts)
    here.notify(*(intent(run=f"r{n:04}", OwnerEmail=f"o{n}@example.org") for n in range(MAILS)))
    with counted(here.state) as (verbs, blobs):
        here.drain()
    assert len(wire.sent) == MAILS
    assert sorted(rendered) == sorted({d.run_id for d in wire.sent})
    assert Counter(titles) == dict.fromkeys(rendered, 2)  # its alert's, and its mail's
    assert facts.times == PASSES
    assert blobs == [len(d.message) for d in here.mails()]
    assert wire.connects <= 4
    passes, marks = begun[0], verbs - begun[0]
    assert passes.total() <= PASSES * STATEMENTS_OF_A_PASS
    assert marks["BEGIN"] <= MAILS / 2  # a worker waits for its mark, others mark with it
    assert marks.total() <= STATEMENTS_OF_MARKS * marks["BEGIN"]

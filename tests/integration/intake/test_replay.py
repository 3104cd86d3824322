"""Dead letters are sent through again after their consumer was mended."""

from pathlib import Path

import pytest

from tests.integration.intake.behind import Behind, asker
from tocsin.intake.connectors.http import HttpIntake
from tocsin.intake.consumer import Consumer, load_consumers
from tocsin.intake.replay import replay

BROKEN = "connector: http\nformat: {format}\nmapping: {{RunId: nothing, Status: state}}\n"


def loaded(path: Path, text: str) -> dict[str, Consumer]:
    path.write_text(text)
    return load_consumers([path])


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("auto", b'[{"run": "r1", "state": "Failed"}, {"run": "r2", "state": "Running"}, {"state": "x"}]'),
        ("array", b'[{"run": "r1", "state": "Failed"}, {"run": "r2", "state": "Running"}, {"state": "x"}]'),
        (
            "records[]",
            b'{"records": [{"run": "r1", "state": "Failed"}, {"run": "r2", "state": "Running"}, {"state": "x"}]}',
        ),
    ],
)
def test_letters_become_rows_and_stay_dead_where_they_must(
    behind: Behind, tmp_path: Path, form: str, body: bytes
) -> None:
    """Whatever the format: letters hold single events. Their time is when they were first received; again, they are
    duplicates.
    """
    path = tmp_path / "mine.yaml"
    consumers = loaded(path, BROKEN.format(format=form))
    asker(HttpIntake(lambda: consumers, behind.writer, behind.metrics, behind.clock))("POST", "mine", content=body)
    letters = behind.store.dead_letters()
    assert (0, 3) == (behind.count(), len(letters))

    mended = loaded(path, BROKEN.format(format=form).replace("nothing", "run"))
    found = replay(letters, mended, behind.writer)
    assert ({letter.id for letter in letters}, 2, 1) == (set(found.ids), found.accepted, found.dead)
    behind.store.mark_replayed(found.ids, behind.clock.now())
    assert [("r1", "Failed"), ("r2", "Running")] == [(row["RunId"], row["Status"]) for row in behind.rows()]
    times = {letter.time.replace(tzinfo=None) for letter in letters}
    assert {row["TimeGenerated"] for row in behind.rows()} <= times
    again = replay(letters, mended, behind.writer)
    assert (0, 2, 1) == (again.accepted, again.duplicate, again.dead)


def test_whole_messages_are_sent_through_whole(behind: Behind, tmp_path: Path) -> None:
    """A letter may hold a message in which the format found nothing."""
    path = tmp_path / "mine.yaml"
    body = b'{"records": [{"run": "r1", "state": "Failed"}, {"run": "r2", "state": "Running"}]}'
    consumers = loaded(path, BROKEN.format(format="wrong"))
    asker(HttpIntake(lambda: consumers, behind.writer, behind.metrics, behind.clock))("POST", "mine", content=body)
    (letter,) = behind.store.dead_letters()
    mended = loaded(path, BROKEN.format(format="records[]").replace("nothing", "run"))
    assert 2 == replay([letter], mended, behind.writer).accepted


def test_what_cannot_be_sent_through_is_counted(behind: Behind, tmp_path: Path) -> None:
    """Cut letters, and those of a consumer that is no more."""
    consumers = loaded(tmp_path / "mine.yaml", BROKEN.format(format="auto"))
    ask = asker(HttpIntake(lambda: consumers, behind.writer, behind.metrics, behind.clock))
    ask("POST", "mine", content=b'{"state": "' + b"x" * (300 << 10) + b'"}')
    ask("POST", "mine", content=b'{"state": "x"}')
    letters = behind.store.dead_letters()
    found = replay(letters, {}, behind.writer)
    assert ((), 1, 1) == (found.ids, found.cut, found.orphaned)

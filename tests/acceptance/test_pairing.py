"""Two stores that do not belong together: tocsin stops and says what to do, and does it when notified."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.oracle.events import Event
from tests.servers.eventually import eventually
from tests.servers.smtp import SmtpServer

LOG, STATE = "events.duckdb", "state.sqlite"


def failed(run: str) -> Event:
    return Event(run=run, status="Failed", id=run, time=datetime.now(UTC))


def files(data: Path, name: str) -> list[Path]:
    return [path for path in data.iterdir() if path.name.startswith(name)]


def delete(name: str) -> Callable[[Path, Path], None]:
    """As if one store's files had been lost."""

    def act(data: Path, _: Path) -> None:
        for path in files(data, name):
            path.unlink()

    return act


def restore(name: str) -> Callable[[Path, Path], None]:
    """As if one store had been restored from a copy."""

    def act(data: Path, copy: Path) -> None:
        delete(name)(data, copy)
        for path in files(copy, name):
            shutil.copy2(path, data)

    return act


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(restore(LOG), id="log store restored", marks=pytest.mark.soak),
        pytest.param(restore(STATE), id="state restored"),
        pytest.param(delete(LOG), id="log store deleted", marks=pytest.mark.soak),
        pytest.param(delete(STATE), id="state deleted", marks=pytest.mark.soak),
    ],
)
def test_it_stops_says_what_to_do_and_does_it(
    make_tocsin: MakeTocsin, smtp: SmtpServer, tmp_path: Path, lose: Callable[[Path, Path], None]
) -> None:
    """It neither stays silent for ever nor notifies everything again."""
    tocsin = make_tocsin(smtp=smtp)
    data, copy = tocsin.home / "data", tmp_path / "copy"
    tocsin.start()
    tocsin.post([failed("old1")])
    smtp.wait_for(1)
    tocsin.idle()
    assert 0 == tocsin.stop()
    shutil.copytree(data, copy)

    tocsin.start()
    tocsin.post([failed("old2"), failed("old3")])
    smtp.wait_for(3)
    tocsin.idle()
    assert 0 == tocsin.stop()
    lose(data, copy)

    tocsin.begin()
    assert tocsin.ended() != 0
    assert "--adopt" in tocsin.said()
    assert 3 == len(smtp.messages())

    tocsin.start("--adopt")
    tocsin.post([failed("new")])
    smtp.wait_for(4)
    tocsin.idle()
    notified = [str(mail.message["X-Tocsin-Run"]) for mail in smtp.messages()]
    assert ["old1", "old2", "old3", "new"] == [
        notified[0],
        *sorted(notified[1:3]),
        *notified[3:],
    ]  # two connections send at once
    assert 0 == tocsin.stop()

    tocsin.start()  # once adopted they belong together
    tocsin.post([failed("newer")])
    smtp.wait_for(5)
    tocsin.idle()
    assert 5 == len(smtp.messages())


def test_stores_restored_together_go_on(make_tocsin: MakeTocsin, smtp: SmtpServer, tmp_path: Path) -> None:
    """Both from one copy: nothing to adopt. What came since is gone from the stores, and notified again when it
    comes again.
    """
    tocsin = make_tocsin(smtp=smtp)
    data, copy = tocsin.home / "data", tmp_path / "copy"
    old, since = failed("old"), failed("since")
    tocsin.start()
    tocsin.post([old])
    smtp.wait_for(1)
    tocsin.idle()
    assert 0 == tocsin.stop()
    shutil.copytree(data, copy)
    tocsin.start()
    tocsin.post([since])
    smtp.wait_for(2)
    tocsin.idle()
    assert 0 == tocsin.stop()
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    tocsin.start()
    tocsin.post([old, since])
    smtp.wait_for(3)
    tocsin.idle()
    runs = [str(mail.message["X-Tocsin-Run"]) for mail in smtp.messages()]
    assert ["old", "since", "since"] == runs
    eventually(lambda: tocsin.count("RunStatusChanged") == 2)

"""Receivers whose other side is a recording server, behind the whole of notify."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.servers.recording import Asked, RecordingServer, Said
from tests.unit.notify.conftest import House, Wire
from tests.unit.notify.make import routed
from tocsin.notify.channels.base import Setting
from tocsin.notify.channels.registry import CHANNELS
from tocsin.notify.routing.models import FallbackModel, ReceiverModel

BASE = "https://tocsin.example.org"


class Far(House):
    """A house with one receiver, `chat`, of one channel, whose other side records."""

    def __init__(self, key: str, options: Any, directory: Path, group_by: tuple[str, ...] = ()) -> None:
        fallback = FallbackModel(receiver="boss@example.org")
        values: dict[str, Any] = {"name": "chat", "fallback": fallback, key: options}
        self.wire = Wire()
        oncall = routed("chat", receivers={"chat": ReceiverModel(**values)})
        oncall = replace(oncall, root=replace(oncall.root, group_by=group_by))
        super().__init__(self.wire, oncall=oncall, setting=Setting(directory=directory, base_url=BASE))

    @property
    def replies(self) -> list[tuple[str, int, str]]:
        """(state, attempts, what was answered) of each delivery to the receiver."""
        return [(d.state.value, d.attempt, d.reply) for d in self.mails() if d.receiver == "chat"]


MakeFar = Callable[..., Far]


@pytest.fixture
def far(tmp_path: Path) -> Iterator[MakeFar]:
    """`far(key, options…)` makes it; `*_file` options are written."""
    made: list[Far] = []

    def make(key: str, given: Any = None, /, *, group_by: tuple[str, ...] = (), **options: Any) -> Far:
        for name in [n for n in options if n.endswith("_file")]:
            (tmp_path / name).write_text(f"{options[name]}\n")
            options[name] = name
        model = given if given is not None else CHANNELS[key].Options(**options)
        made.append(Far(key, model, tmp_path, group_by))
        return made[-1]

    yield make
    for each in made:
        each.notifier.close()
        each.state.close()


Serve = Callable[..., RecordingServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(Said(…), …)` answers so in turn, the last one for ever."""
    started: list[RecordingServer] = []

    def start(*said: Said) -> RecordingServer:
        answers = said or (Said(),)

        def answer(_: Asked, number: int) -> Said:
            return answers[min(number, len(answers) - 1)]

        started.append(RecordingServer(answer).__enter__())
        return started[-1]

    yield start
    for server in started:
        server.__exit__()


def run(work: Any) -> Any:
    return asyncio.run(work)

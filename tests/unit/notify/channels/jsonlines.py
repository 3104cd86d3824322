"""A channel written as an exercise: it appends a line of JSON to a file. This file and one line are all it takes."""

import json
from pathlib import Path

from tocsin.config.yaml.document import YamlModel
from tocsin.model.delivery import Delivery
from tocsin.notify.channels.base import DirectChannel, Message, Notification, Outcome, Reply, Setting


class JsonLinesModel(YamlModel):
    """Appends to a file."""

    file: str


class JsonLines(DirectChannel):
    """One line a message."""

    key = "jsonlines"
    Options = JsonLinesModel

    def __init__(self, options: JsonLinesModel, setting: Setting) -> None:
        super().__init__(options, setting)
        self._file = setting.directory / options.file

    def render(self, notification: Notification) -> Message:
        subject = notification.delivery.subject
        return Message(body=json.dumps({"subject": subject}).encode(), subject=subject)

    async def send(self, delivery: Delivery) -> Reply:
        try:
            self._append(self._file, delivery.message)
        except FileNotFoundError as e:
            return Reply(outcome=Outcome.LATER, text=str(e))
        except OSError as e:
            return Reply(outcome=Outcome.NEVER, text=str(e))
        return Reply(outcome=Outcome.ACCEPTED, text="written")

    def _append(self, file: Path, line: bytes) -> None:
        with file.open("ab") as out:
            out.write(line + b"\n")

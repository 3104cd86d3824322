"""Everything that has no class of its own here, by Apprise. It answers true or false only, so what failed is tried a few
times.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from tocsin.model.delivery import Delivery
from tocsin.notify.channels.base import DirectChannel, Message, Notification, Outcome, Reply, Setting
from tocsin.notify.render import people

SECONDS = 30.0
"""How long one attempt may take."""
ATTEMPTS = 5
"""Attempts; Apprise does not say whether a failure passes."""
TYPES: Mapping[str, str] = {"critical": "failure", "error": "failure", "warning": "warning"}
SCHEMES = frozenset(
    [
        "apprise",
        "apprises",
        "azure",
        "bark",
        "barks",
        "betterstack",
        "bluesky",
        "brevo",
        "chanify",
        "clickatell",
        "clicksend",
        "cliq",
        "dingtalk",
        "discord",
        "fcm",
        "feishu",
        "flock",
        "gchat",
        "goalert",
        "goalerts",
        "gotify",
        "gotifys",
        "groupme",
        "ilert",
        "incidentio",
        "lark",
        "line",
        "mailgun",
        "mastodon",
        "mastodons",
        "matrix",
        "matrixs",
        "mmost",
        "mmosts",
        "msg91",
        "nctalk",
        "nctalks",
        "nexmo",
        "notifiarr",
        "ntfy",
        "ntfys",
        "o365",
        "onesignal",
        "opsgenie",
        "pagerduty",
        "pagertree",
        "pbul",
        "plivo",
        "postmark",
        "pover",
        "prowl",
        "push",
        "pushdeer",
        "pushdeers",
        "pushed",
        "pushme",
        "pushy",
        "revolt",
        "rocket",
        "rockets",
        "ryver",
        "schan",
        "sendgrid",
        "ses",
        "signal",
        "signals",
        "signl4",
        "simplepush",
        "sinch",
        "slack",
        "smtp2go",
        "sns",
        "sparkpost",
        "splunk",
        "spush",
        "squadcast",
        "synology",
        "synologys",
        "telegram",
        "tgram",
        "threema",
        "toot",
        "toots",
        "twilio",
        "twist",
        "victorops",
        "voipms",
        "vonage",
        "webex",
        "wecombot",
        "whatsapp",
        "workflow",
        "workflows",
        "wxpusher",
        "wxteams",
        "zoom",
        "zulip",
    ]
)
"""Services that reach people. Not plain HTTP, mail, files or this machine, for which there are other ways."""
_THREADS = ThreadPoolExecutor(4, "tocsin-apprise")
_KEPT = 1000
"""Deliveries of which is remembered which addresses took them."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def address_fault(value: str) -> str:
    """What is wrong with an address; '' for nothing. Addresses hold passwords: only the scheme is named."""
    scheme = value.partition(":")[0].lower()
    if "://" not in value or scheme not in SCHEMES:
        return f"'{scheme[:20]}' is no scheme of Apprise that is allowed here; for HTTP write webhook:, for mail email:"
    return ""


def _allowed(value: str) -> str:
    if fault := address_fault(value):
        raise ValueError(fault)
    return value


Apprises = Annotated[
    tuple[Annotated[str, AfterValidator(_allowed)], ...], BeforeValidator(_listed), Field(min_length=1)
]
"""Any addresses of Apprise."""


class Apprise(DirectChannel):
    """All addresses of one receiver. Addresses hold passwords: they are named by their scheme only."""

    key = "apprise"
    Options = Apprises
    example: ClassVar[object] = "gotify://example.org/token"

    workers = 1
    """One, so that messages stay in order."""

    def __init__(self, options: tuple[str, ...], setting: Setting) -> None:
        """Connects to nothing yet."""
        self.setting, self._urls = setting, options
        self._taken: dict[str, set[str]] = {}

    def render(self, notification: Notification) -> Message:
        """Title, text and kind."""
        seen = notification.seen
        lines = [
            *people.lines(notification),
            *people.log(seen),
            *(f"{words}: {url}" for words, url in people.links(seen)),
        ]
        made = {
            "title": people.fit(notification.delivery.subject, 250),
            "body": people.fit("\n".join(lines), 4000) or seen.reader.because,
            "type": "success" if people.over(notification) else TYPES.get(seen.alert.severity, "info"),
        }
        body = json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")
        return Message(body=body, subject=notification.delivery.subject)

    async def send(self, delivery: Delivery) -> Reply:
        """In a thread, within a time; a thread that hangs is left to end by itself."""
        work = asyncio.get_running_loop().run_in_executor(
            _THREADS, partial(_notify, self._urls, self._taken_by(delivery.id), json.loads(delivery.message))
        )
        try:
            async with asyncio.timeout(SECONDS):
                said = await asyncio.shield(work)
        except TimeoutError:
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            said = f"no answer in {SECONDS:.0f} s"
        if not said:
            self._taken.pop(delivery.id, None)
            return Reply(outcome=Outcome.ACCEPTED, text="Apprise says it is sent")
        return Reply(outcome=Outcome.LATER if delivery.attempt + 1 < ATTEMPTS else Outcome.NEVER, text=said)

    def _taken_by(self, delivery: str) -> set[str]:
        """Addresses that have it already, so that another attempt is only for the others."""
        while len(self._taken) >= _KEPT:
            del self._taken[next(iter(self._taken))]
        return self._taken.setdefault(delivery, set())


def _notify(urls: tuple[str, ...], taken: set[str], made: Mapping[str, Any]) -> str:
    """'' where all took it, else what failed."""
    import apprise  # takes a second: only who uses it pays for it

    failed: list[str] = []
    for url in urls:
        if url in taken:
            continue
        sender, scheme = apprise.Apprise(), url.partition(":")[0]
        if not sender.add(url):
            failed.append(f"Apprise cannot read the address of scheme {scheme}")
        elif sender.notify(title=made["title"], body=made["body"], notify_type=made["type"], interpret_escapes=False):
            taken.add(url)
        else:
            failed.append(f"Apprise says that {scheme} did not take it")
    return "; ".join(failed)

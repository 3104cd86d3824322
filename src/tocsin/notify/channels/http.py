"""What the channels over HTTP share: types of their options, one POST a message, the meaning of the answer."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from tocsin.model.delivery import Delivery
from tocsin.model.text.causes import one_line
from tocsin.notify.channels.base import Channel, Connection, Outcome, Reply, Setting, Unreachable


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(f"'{value}' is no URL; write https://…")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(_url)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(_listed), Field(min_length=1)]
File = Annotated[str, Field(min_length=1)]
"""Relative to the project directory; a trailing newline of its content is cut."""


SECONDS = 20.0
"""How long a call may take as a whole."""
MOST = 64 * 1024
"""Bytes of an answer that are read."""
LONGEST_WAIT = timedelta(hours=1)
"""Of a Retry-After."""
AGENT = "tocsin"
_Options = TypeVar("_Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, a POST unless ``method`` says otherwise."""

    url: str
    body: bytes
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """In one line."""
        said = one_line(self.body[:2000].decode("utf-8", "replace"), 200)
        return f"{self.status} {said}".strip()

    def json(self) -> Mapping[str, object]:
        """The object in the body; empty where there is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def after(self) -> timedelta | None:
        """What Retry-After asks for, within reason."""
        given = self.headers.get("retry-after", "").strip()
        if given.isdecimal() and len(given) < 10:
            return min(timedelta(seconds=int(given)), LONGEST_WAIT)
        try:
            wait = parsedate_to_datetime(given) - parsedate_to_datetime(self.headers.get("date", ""))
        except (ValueError, TypeError):
            return None
        return min(max(wait, timedelta(0)), LONGEST_WAIT)


class HttpChannel(Channel, Generic[_Options]):
    """A channel that posts. A redirect is never followed."""

    private = True
    """Whether the other side may have a private or loopback address."""

    def __init__(self, options: _Options, setting: Setting) -> None:
        super().__init__(options, setting)
        self._options = options

    @abstractmethod
    def call(self, delivery: Delivery) -> Call:
        """The call that hands over a delivery. Raises Unreachable where a secret cannot be read."""

    def means(self, answer: Answer) -> Reply:
        """What an answer means for the message."""
        return meaning(answer)

    async def deliver(self, client: Client, delivery: Delivery) -> Reply:
        """Hand over one delivery."""
        answer = await client.post(self.call(delivery))
        return answer if isinstance(answer, Reply) else self.means(answer)

    async def connect(self) -> Connection:
        """Opens nothing before the first message."""
        return _Http(self, Client(private=self.private, seconds=SECONDS))


class _Http(Connection):
    def __init__(self, channel: HttpChannel[Any], client: Client) -> None:
        self._channel, self._client = channel, client

    async def send(self, delivery: Delivery) -> Reply:
        return await self._channel.deliver(self._client, delivery)

    @property
    def alive(self) -> bool:
        return True

    async def close(self) -> None:
        await self._client.close()


class Client:
    """Posts, one call at a time."""

    def __init__(self, *, private: bool, seconds: float) -> None:
        """``private``: also to private and loopback addresses, and by the proxy of the environment; else to public
        addresses only, each looked up once and then called by its number, so that a name cannot change in between.
        """
        import httpx  # takes a tenth of a second: only who posts pays for it

        self._httpx, self._private, self._seconds = httpx, private, seconds
        self._client = httpx.AsyncClient(
            follow_redirects=False, trust_env=private, timeout=seconds, headers={"User-Agent": AGENT}
        )

    async def post(self, call: Call) -> Answer | Reply:
        """The answer, or what came instead of one. Raises Unreachable where nothing was handed over."""
        httpx, host = self._httpx, urlsplit(call.url).hostname or ""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(call, host)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as e:
            raise Unreachable(f"{host}: {one_line(str(e), 200) or type(e).__name__}") from e
        except (TimeoutError, httpx.TimeoutException):
            return Reply(outcome=Outcome.TIMEOUT, text=f"{host}: no answer in {self._seconds:.0f} s", closed=True)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
            return Reply(outcome=Outcome.NEVER, text="the URL cannot be called")
        except httpx.HTTPError as e:
            return Reply(
                outcome=Outcome.NETWORK, text=f"{host}: {one_line(str(e), 200) or type(e).__name__}", closed=True
            )

    async def _post(self, call: Call, host: str) -> Answer | Reply:
        url, headers, extensions = self._httpx.URL(call.url), dict(call.headers), {}
        if not self._private:
            address = await _address(host, url.port or (443 if url.scheme == "https" else 80))
            if not _is_public(address):
                text = f"{host} is a private address; allow it by allow_private: true"
                return Reply(outcome=Outcome.NEVER, text=text)
            headers["Host"] = url.netloc.decode("ascii")
            extensions = {"sni_hostname": host}
            url = url.copy_with(host=address)
        request = self._client.build_request(
            call.method, url, content=call.body, headers=headers, extensions=extensions
        )
        answer = await self._client.send(request, stream=True)
        try:
            found = bytearray()
            async for piece in answer.aiter_bytes(8192):
                found += piece
                if len(found) > MOST:
                    break
        finally:
            await answer.aclose()
        return Answer(status=answer.status_code, headers=answer.headers, body=bytes(found[:MOST]))

    async def close(self) -> None:
        """Never raises for the network."""
        await self._client.aclose()


async def _address(host: str, port: int) -> str:
    """The first address of a host. Raises Unreachable."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as e:
        raise Unreachable(f"{host}: {e.strerror or e}") from e
    return str(found[0][4][0])


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return (mapped or ip).is_global and not (mapped or ip).is_multicast


def meaning(answer: Answer) -> Reply:
    """What most servers mean: 2xx accepted; 408, 425, 429 and 5xx later; anything else never."""
    if 200 <= answer.status < 300:
        return Reply(outcome=Outcome.ACCEPTED, text=answer.text)
    if answer.status in (408, 425, 429) or answer.status >= 500:
        return Reply(outcome=Outcome.LATER, text=answer.text, after=answer.after())
    if 300 <= answer.status < 400:
        return Reply(outcome=Outcome.NEVER, text=f"{answer.status}: redirects are not followed")
    return Reply(outcome=Outcome.NEVER, text=answer.text)

"""What a receiver over HTTP answers, and what becomes of the message."""

import asyncio
import hashlib
import hmac
import socket
from datetime import timedelta

import pytest

from tests.integration.notify.channels.conftest import MakeFar, Serve
from tests.servers.recording import Said
from tests.unit.notify.make import intent
from tocsin.notify.channels import http

SUBJECT = "churn failed after 6 h 12: CUDA out of memory"


@pytest.mark.parametrize("status", [200, 202, 204])
def test_2xx_is_accepted(far: MakeFar, serve: Serve, status: int) -> None:
    server = serve(Said(status=status, body="" if status == 204 else "thanks"))
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    assert here.replies == [("sent", 1, f"{status} thanks" if status != 204 else "204")]
    assert here.count("tocsin_channel_up", receiver="chat") == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_4xx_is_final_and_the_fallback_is_notified(far: MakeFar, serve: Serve, status: int) -> None:
    server = serve(Said(status=status, body="no such hook"))
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    assert here.replies == [("failed", 1, f"{status} no such hook")]
    assert [(d.address, d.subject) for d in here.wire.sent] == [
        ("boss@example.org", f"not delivered to webhook:chat: {SUBJECT}")
    ]


@pytest.mark.parametrize("said", [Said(status=500), Said(status=503), Said(status=408), Said(status=429)])
def test_5xx_and_429_are_tried_again_byte_for_byte(far: MakeFar, serve: Serve, said: Said) -> None:
    server = serve(said, Said())
    here = far("webhook", url=server.url, allow_private=True, secret_file="s3cret")
    here.notify(intent())
    here.drain()
    assert here.replies == [("ready", 1, f"{said.status} ok")]
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert here.replies == [("sent", 2, "200 ok")]
    first, second = server.asked
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["x-tocsin-signature"] == second.headers["x-tocsin-signature"]


def test_retry_after_is_kept(far: MakeFar, serve: Serve) -> None:
    """Ten seconds would be the own wait; the receiver asks for ten minutes."""
    server = serve(Said(status=429, headers={"Retry-After": "600"}), Said())
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    (mail,) = here.mails()
    assert mail.next_at >= here.clock.now() + timedelta(seconds=600)


def test_retry_after_may_be_a_date_by_the_other_sides_clock(far: MakeFar, serve: Serve) -> None:
    headers = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After": "Sun, 06 Nov 1994 08:59:37 GMT"}
    answer = http.Answer(status=503, headers={k.lower(): v for k, v in headers.items()}, body=b"")
    assert answer.after() == timedelta(minutes=10)
    assert http.Answer(status=503, headers={"retry-after": "9" * 9}, body=b"").after() == http.LONGEST_WAIT
    assert http.Answer(status=503, headers={"retry-after": "soon"}, body=b"").after() is None


def test_a_redirect_is_not_followed(far: MakeFar, serve: Serve) -> None:
    elsewhere = serve()
    server = serve(Said(status=302, headers={"Location": elsewhere.url}))
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    assert here.replies == [("failed", 1, "302: redirects are not followed")]
    assert elsewhere.asked == []


def test_garbage_is_no_answer(far: MakeFar, serve: Serve) -> None:
    server = serve(Said(garbage=b"\x16\x03\x01 hello\r\n\r\n"), Said())
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    (state, attempts, reply) = here.replies[0]
    assert (state, attempts) == ("ready", 1) and reply.startswith("127.0.0.1: ")
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert here.replies[0][0] == "sent"


def test_who_answers_slowly_times_out(far: MakeFar, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.3)
    server = serve(Said(hold=30), Said())
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    assert here.replies == [("ready", 1, "127.0.0.1: no answer in 0 s")]
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert here.replies == [("sent", 2, "200 ok")]


def test_nobody_listens_costs_no_attempt_and_shows(far: MakeFar) -> None:
    """Then the deadline passes, and the fallback is notified."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        here = far("webhook", url=f"http://127.0.0.1:{taken.getsockname()[1]}", allow_private=True)
        here.notify(intent())

        async def until_failed() -> None:
            task = asyncio.create_task(here.notifier.drain())
            async with asyncio.timeout(10):
                while here.count("tocsin_notify_attempts_total", outcome="network") < 3:
                    await asyncio.sleep(0.005)
                assert here.replies == [("ready", 0, "")]
                here.clock.advance(timedelta(days=2))
                await task

        asyncio.run(until_failed())
    ((state, attempts, reply),) = here.replies
    assert (state, attempts) == ("failed", 0) and reply.startswith("not delivered in time: 127.0.0.1: ")
    assert [d.address for d in here.wire.sent] == ["boss@example.org"]
    assert here.count("tocsin_channel_up", receiver="chat") == 0


def test_a_long_answer_is_cut(far: MakeFar, serve: Serve) -> None:
    server = serve(Said(body="x" * 1_000_000))
    here = far("webhook", url=server.url, allow_private=True)
    here.notify(intent())
    here.drain()
    ((state, _, reply),) = here.replies
    assert state == "sent" and len(reply) < 300


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::ffff:127.0.0.1]:{port}"]
)
def test_a_private_address_is_refused_unless_allowed(far: MakeFar, serve: Serve, url: str) -> None:
    server = serve()
    here = far("webhook", url=url.format(port=server.port))
    here.notify(intent())
    here.drain()
    ((state, _, reply),) = here.replies
    assert state == "failed" and "is a private address; allow it by allow_private: true" in reply
    assert server.asked == []


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0", "fc00::1", "0.0.0.0", "224.0.0.1", "100.64.0.1", "2002:7f00:1::"])  # fmt: skip
def test_what_is_private(address: str) -> None:
    assert not http._is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_what_is_public(address: str) -> None:
    assert http._is_public(address)


def test_a_body_is_signed_with_the_files_content(far: MakeFar, serve: Serve) -> None:
    """The newline at its end is no part of the secret."""
    server = serve()
    here = far("webhook", url=f"{server.url}/hook?a=b", allow_private=True, secret_file="s3cret")
    here.notify(intent())
    here.drain()
    (asked,) = server.asked
    assert asked.path == "/hook?a=b"
    assert (
        asked.headers["x-tocsin-signature"] == "sha256=" + hmac.new(b"s3cret", asked.body, hashlib.sha256).hexdigest()
    )
    assert asked.headers["idempotency-key"] == here.mails()[0].id
    assert asked.headers["content-type"] == "application/json"

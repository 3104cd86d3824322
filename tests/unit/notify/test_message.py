"""Messages as bytes, read back by the standard library."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tocsin.model.text.causes import one_line
from tocsin.notify.render.message import Envelope, build

DATE = datetime(2026, 11, 24, 7, 15, 3, tzinfo=UTC)


def envelope(**more: object) -> Envelope:
    values: dict[str, object] = {
        "id": "0123456789abcdef0123456789abcdef01234567",
        "sender": "tocsin <tocsin@example.org>",
        "to": "agnes@example.org",
        "date": DATE,
        **more,
    }
    return Envelope(**values)  # type: ignore[arg-type]


def read(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_the_headers_of_a_mail() -> None:
    raw = build(
        envelope(to_name="Ágnes", references=("<first@example.org>",), extra=(("X-Tocsin-Rule", "run-failed"),)),
        "churn failed: őrült",
        "text\n",
        "<p>html</p>",
    )
    message = read(raw)
    assert {name: str(value) for name, value in message.items()} == {
        "From": "tocsin <tocsin@example.org>",
        "To": "Ágnes <agnes@example.org>",
        "Subject": "churn failed: őrült",
        "Date": "Tue, 24 Nov 2026 07:15:03 +0000",
        "Message-ID": "<0123456789abcdef0123456789abcdef01234567@example.org>",
        "In-Reply-To": "<first@example.org>",
        "References": "<first@example.org>",
        "Auto-Submitted": "auto-generated",
        "List-Id": "tocsin <alerts.example.org>",
        "X-Tocsin-Rule": "run-failed",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/alternative; boundary="=_0123456789abcdef01234567"',
    }
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert raw.isascii()


def test_a_repeat_is_byte_equal() -> None:
    made = {build(envelope(), "s", "té\n", "<b>é</b>") for _ in range(3)}
    assert len(made) == 1


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(text=_TEXT, html=_TEXT.filter(bool))
@example(text="--=_0123456789abcdef01234567\n", html="--=_0123456789abcdef01234567--")
@example(text=".\n.\nFrom x\n", html="x" * 2000)
@example(text="a =\n b \t\n", html="\x0c\x0b\x85\u2028")
def test_bodies_come_back_as_they_were(text: str, html: str) -> None:
    """Any text, as lines; no line on the wire is longer than RFC 5322 allows, and none is bare LF or CR."""
    raw = build(envelope(), "s", text, html)
    message = read(raw)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert body(message, "plain").replace("\r\n", "\n").removesuffix("\n") == plain.removesuffix("\n")
    wanted = html.replace("\r\n", "\n").replace("\r", "\n")
    assert body(message, "html").replace("\r\n", "\n").removesuffix("\n") == wanted.removesuffix("\n")
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_list_is_left_by_mail_or_link_and_with_https_by_one_click(scheme: str) -> None:
    """RFC 2369 and RFC 8058, which is for https alone."""
    link, mail = f"{scheme}://tocsin.example.org/do/{'x' * 300}.sig", "mailto:ops@example.org?subject=unsubscribe"
    raw = build(envelope(unsubscribe=(link, mail)), "s", "t\n", "")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = read(raw)
    assert [f"<{link}>", f"<{mail}>"] == [part.strip() for part in str(message["List-Unsubscribe"]).split(",")]
    assert ("List-Unsubscribe=One-Click" if scheme == "https" else None) == message["List-Unsubscribe-Post"]


@given(_TEXT)
@example("x" * 200)
@example("=?utf-8?q?evil?=")
@example("\u202e" + "á" * 150)
@example("a" * 70 + " " + "b" * 70)
@example("subject\r\nBcc: eve@evil.example")
def test_a_subject_is_folded_below_78_and_read_back(subject: str) -> None:
    raw = build(envelope(), subject, "t\n", "")
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert max(map(len, head)) <= 78
    message = read(raw)
    assert one_line(str(message["Subject"])) == (one_line(subject).replace("=?", "= ?") or "tocsin")
    assert message["Bcc"] is None
    assert raw.isascii()


@given(rule=_TEXT, run=_TEXT)
def test_headers_cannot_be_injected(rule: str, run: str) -> None:
    """Whatever a rule or run is called, the message has the headers that it has."""
    raw = build(envelope(extra=(("X-Tocsin-Rule", rule), ("X-Tocsin-Run", run))), "s", "t\n", "")
    message = read(raw)
    assert set(message.keys()) <= {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Id", "X-Tocsin-Rule", "X-Tocsin-Run",
        "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    }  # fmt: skip
    assert body(message, "plain").strip() == "t"


@pytest.mark.parametrize("name", ["", "anna", "Ágnes", "A. B, C", 'q"u"ote', "x" * 90])
def test_names_of_readers_are_quoted_or_encoded(name: str) -> None:
    message = read(build(envelope(to_name=name), "s", "t\n", ""))
    to = message["To"].addresses
    assert [(a.display_name, a.addr_spec) for a in to] == [(name, "agnes@example.org")]


def test_an_address_beyond_ascii_stays_as_it_is() -> None:
    """It needs SMTPUTF8, which the envelope asks for; everything else stays ASCII."""
    raw = build(envelope(to="ágnes@example.org", to_name="Ágnes"), "ő", "é\n", "<p>é")
    lines = raw.split(b"\r\n")
    assert [line for line in lines if not line.isascii()] == ["To: Ágnes <ágnes@example.org>".encode()]

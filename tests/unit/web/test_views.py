"""What people see on pages: times, lengths, links, and mails that can do nothing."""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest

from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.web import mailview
from tocsin.web.pages import _local, ago, cell, span, web_address

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def delivery(message: bytes, state: DeliveryState = DeliveryState.SENT) -> Delivery:
    return Delivery(
        id="d1", address="a@example.org", receiver="owner", group="g", rules=("run-failed",), severity="error",
        subject="churn failed", message_id="<d1@example.org>", message=message, state=state, created_at=NOW, next_at=NOW,
        deadline=NOW, run_id="r1",
    )  # fmt: skip


def written(html: str = "") -> bytes:
    message = EmailMessage()
    message["Subject"] = "churn failed: Ágnes"
    message.set_content("plain text\n")
    if html:
        message.add_alternative(html, subtype="html")
    return message.as_bytes()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (9, "now"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (200_000, "2 d ago"),
        (-120, "in 2 min"),
    ],
)
def test_ago_says_one_number(seconds: int, text: str) -> None:
    assert text == ago(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "–"),
        (1500, "1.5 s"),
        (59_000, "59 s"),
        (61_000, "1 min 01 s"),
        (22_320_000, "6 h 12 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_lengths_are_said_in_two_units_at_most(ms: int | None, text: str) -> None:
    assert text == span(ms)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (0.1 + 0.2, "0.3"), ({"a": NOW}, '{"a": "2026-01-05 12:00:00+00:00"}'), (NOW, "2026-01-05 12:00:00"),
     (timedelta(hours=1), "1 h"), ([1, "é"], '[1, "é"]')],
)  # fmt: skip
def test_cells_are_text(value: object, text: str) -> None:
    assert text == cell(value)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "", "//evil.example", "file:///etc/passwd"])
def test_only_web_addresses_become_links(url: str) -> None:
    """A run's Url comes from whoever may post an event."""
    assert "" == web_address(url)
    assert "https://runs.example.org/1" == web_address("https://runs.example.org/1")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", ""]
)
def test_a_login_leads_only_to_pages_of_ours(target: str) -> None:
    assert "/" == _local(target)
    assert "/notifications/1" == _local("/notifications/1")


def test_a_mail_is_shown_with_headers_and_both_bodies() -> None:
    whole = mailview.whole(delivery(written("<p>hi</p>")))
    assert "churn failed: Ágnes" == whole["Headers"]["Subject"]
    assert ("plain text\n", "<p>hi</p>\n") == (whole["Text"], whole["Html"])
    assert "" == mailview.whole(delivery(written()))["Html"]


def test_what_a_cap_held_is_no_mail() -> None:
    """It holds its line of the summary instead of a message."""
    whole = mailview.whole(delivery(b'{"title": "churn failed"}', DeliveryState.HELD))
    assert {} == whole["Headers"]
    assert "" == whole["Html"]
    assert "Beyond the cap" in whole["Text"]


def test_the_next_try_is_shown_only_while_there_is_one() -> None:
    assert NOW == mailview.row(delivery(b"", DeliveryState.READY))["NextAt"]
    assert mailview.row(delivery(b"", DeliveryState.SENT))["NextAt"] is None


@pytest.mark.parametrize(
    ("html", "framed"),
    [
        ("<html><head><title>x</title></head>", '<html><head><base target="_blank"><title>x</title></head>'),
        ('<HEAD lang="en"><p>', '<HEAD lang="en"><base target="_blank"><p>'),
        ("<p>bare</p>", '<base target="_blank"><p>bare</p>'),
    ],
)
def test_links_of_a_framed_mail_open_outside_its_frame(html: str, framed: str) -> None:
    assert framed == mailview.framed(html)

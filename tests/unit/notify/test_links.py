"""Where links in mails lead: never where an event alone says."""

from email import message_from_bytes, policy

import pytest

from tests.unit.notify.conftest import Make, Wire, text_of
from tests.unit.notify.make import intent
from tocsin.notify.render.links import is_allowed, web_link


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://ml.example.org/r?a=1#b", True),
        ("https://ml.example.org@evil.example/", False),
        ("https://user:word@ml.example.org/", False),
        ("http://[::1", False),
        ("javascript:alert(1)", False),
        ("https://ml.example.org/\u202egpj.exe", False),
    ],
)
def test_a_link_is_a_plain_address_without_a_user_in_it(url: str, link: bool) -> None:
    """What stands before an @ looks like the host, and is none."""
    assert (url if link else "") == web_link(url)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("ml.example.org", True), ("ML.example.org:8443", True), ("a.b.example.com", True), ("example.com", False), ("evilexample.com", False), ("ml.example.org.evil.example", False)],
)  # fmt: skip
def test_hosts_are_allowed_by_name_or_by_what_they_lie_below(host: str, allowed: bool) -> None:
    assert allowed == is_allowed(f"https://{host}/", ("ml.example.org", "*.example.com"))


def test_an_address_elsewhere_is_text_with_its_host(house: Make) -> None:
    """Nobody clicks from a mail of tocsin's to where a producer of events wants."""
    wire = Wire()
    here = house(wire)
    here.notify(intent(Url="https://evil.example/login?next=ml.example.org"))
    here.drain()
    (mail,) = wire.sent
    text = text_of(mail)
    assert "The event names this page: " in text and "evil.example/login?next=ml.example.org" in text
    html = message_from_bytes(mail.message, policy=policy.default).get_body(("html",))
    assert html is not None
    assert "://evil.example" not in text + str(html.get_content())


def test_a_mail_says_of_which_list_it_is(house: Make) -> None:
    """So that a filter can find all of tocsin's."""
    wire = Wire()
    here = house(wire)
    here.notify(intent())
    here.drain()
    head = message_from_bytes(wire.sent[0].message, policy=policy.default)
    assert "tocsin <alerts.localhost>" == head["List-Id"]

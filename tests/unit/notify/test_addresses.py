"""Addresses: one, plain, or refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.notify.addresses import BadAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.org", "anna@example.org"),
        ("  Anna.B+tag@Example.ORG ", "Anna.B+tag@example.org"),
        ("anna@localhost", "anna@localhost"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("ágnes@example.org", "ágnes@example.org"),
        ("o'hara@example.org", "o'hara@example.org"),
    ],
)
def test_a_plain_address_is_taken(text: str, address: str) -> None:
    """The domain goes to lower case and ASCII, the name before it stays."""
    assert address == parse_address(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("anna", "has no @"),
        ("anna@", "has a domain that is none"),
        ("@example.org", "not plain"),
        ("anna@exa mple.org", "has a domain that is none"),
        ("an na@example.org", "not plain"),
        ("anna@example.org, eve@evil.example", "more than one"),
        ("anna@example.org;eve@evil.example", "more than one"),
        ("anna@example.org eve@evil.example", "more than one"),
        ("Anna <anna@example.org>", "not plain"),
        ("anna@example.org\r\nBcc: eve@evil.example", "control characters"),
        ("anna@example.org\x00", "control characters"),
        ("anna\u202e@example.org", "control characters"),
        ('"anna b"@example.org', "not plain"),
        ("anna(comment)@example.org", "not plain"),
        (".anna@example.org", "not plain"),
        ("an..na@example.org", "not plain"),
        ("anna@[127.0.0.1]", "has a domain that is none"),
        ("anna@127.0.0.1", "number"),
        ("anna@-example.org", "has a domain that is none"),
        ("anna@example..org", "has a domain that is none"),
        ("eve%evil.example@example.org", "another address"),
        ("evil.example!eve@example.org", "another address"),
        ("-oQ/tmp@example.org", "another address"),
        ("a" * 65 + "@example.org", "64 bytes"),
        ("anna@" + "e" * 300 + ".org", "longer than 254"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, why: str) -> None:
    """Nothing of it could become a header, a command or a second recipient."""
    with pytest.raises(BadAddress, match=why):
        parse_address(text)


@given(st.text(max_size=80) | st.from_regex(r"[a-z<>@,;.\"\r\n ]{1,40}"))
def test_what_is_taken_is_one_bare_address(text: str) -> None:
    """Whatever comes in: an accepted address has one @ and no character that means something in SMTP or a header."""
    try:
        address = parse_address(text)
    except BadAddress:
        return
    assert address.count("@") == 1 and address.isprintable()
    assert not set(address) & set(' <>,;:()[]\\"\r\n\t')
    assert parse_address(address) == address

"""Signed links: one thing, for a time, by keys that rotate."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tocsin.model.active import ActionKind
from tocsin.model.text.signed import BadLink, Permit, Signer, Unsubscribe

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
PERMIT = Permit(alert="a1", kind=ActionKind.ACKNOWLEDGE, by="anna@example.org", expires=NOW + timedelta(days=7))


def test_what_was_signed_is_read() -> None:
    assert PERMIT == Signer([b"k1"]).read(Signer([b"k1"]).sign(PERMIT), NOW)


def test_a_link_to_unsubscribe_permits_nothing_else() -> None:
    """It names a rule where others name an alert, and is read as what it is."""
    wanted = Unsubscribe(rule="a1", by="anna@example.org", expires=PERMIT.expires)
    signer = Signer([b"k1"])
    assert wanted == signer.read(signer.sign(wanted), NOW)
    assert signer.sign(wanted).partition(".")[0] != signer.sign(PERMIT).partition(".")[0]


def test_keys_rotate() -> None:
    """The newest signs, the one before still reads, an older one does not."""
    token = Signer([b"k1"]).sign(PERMIT)
    assert PERMIT == Signer([b"k2", b"k1"]).read(token, NOW)
    with pytest.raises(BadLink, match="older than the keys"):
        Signer([b"k3", b"k2"]).read(token, NOW)


def test_it_ends() -> None:
    token = Signer([b"k1"]).sign(PERMIT)
    assert PERMIT == Signer([b"k1"]).read(token, PERMIT.expires - timedelta(microseconds=1))
    with pytest.raises(BadLink, match="expired"):
        Signer([b"k1"]).read(token, PERMIT.expires)


@pytest.mark.parametrize("change", ["cut", "swap", "empty", "long", "garbage"])
def test_nothing_else_is_read(change: str) -> None:
    """Neither another's permission under this signature."""
    signer = Signer([b"k1"])
    body, _, signature = signer.sign(PERMIT).partition(".")
    other = signer.sign(replace(PERMIT, by="eve@example.org")).partition(".")[0]
    token = {
        "cut": f"{body}.{signature[:-1]}", "swap": f"{other}.{signature}", "empty": "", "long": "x" * 100_000,
        "garbage": "é.ü",
    }[change]  # fmt: skip
    with pytest.raises(BadLink):
        signer.read(token, NOW)

"""Secrets do not leave in messages and log tails."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.text.redact import REDACTED, redact

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nqqqq\n-----END RSA PRIVATE KEY-----"
# Put together here, so that no scanner of this repository takes them for real.
AWS, GITHUB = "AK" + "IAIOSFODNN7EXAMPLE", "gh" + "p_" + "a1B2" * 9
JWT = "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"using {AWS} for s3", "using [redacted] for s3"),
        (f"remote: {GITHUB}", "remote: [redacted]"),
        (f"got {JWT}, expired", "got [redacted], expired"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=[redacted]"),
        ("password=hunter2;Server=db", "password=[redacted];Server=db"),
        ("Password: hunter2", "Password: [redacted]"),
        ('{"password": "hun ter2", "user": "x"}', '{"password": "[redacted]", "user": "x"}'),
        ("{'client_secret': 'abc'}", "{'client_secret': '[redacted]'}"),
        ('{\\"api_key\\": \\"abc\\"}', '{\\"api_key\\": \\"[redacted]\\"}'),
        ("AccountKey=abc==;EndpointSuffix=x", "AccountKey=[redacted];EndpointSuffix=x"),
        ("HF_TOKEN=abcdefgh1234", "HF_TOKEN=[redacted]"),
        ("postgres://me:pa55:w0rd@db:5432/x", "postgres://me:[redacted]@db:5432/x"),
        ("https://0123456789abcdef0123@github.com/a/b", "https://[redacted]@github.com/a/b"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ('"authorization": "Basic dXNlcjpwYXNz"', '"authorization": "Basic [redacted]"'),
        ("authorization=deadbeef", "authorization=[redacted]"),
        ("curl -H 'X: bearer abcdefgh12'", "curl -H 'X: bearer [redacted]'"),
        ("https://x.blob.core.windows.net/c?sv=1&sig=abc%2Fdefgh%3D&se=2", "https://x.blob.core.windows.net/c?sv=1&sig=[redacted]&se=2"),
        ("train --password hunter2 --lr 1", "train --password [redacted] --lr 1"),
        ("train --hf-token abc --lr 1", "train --hf-token [redacted] --lr 1"),
        (f"a\n{KEY}\nb", "a\n[redacted]\nb"),
        ("a\n-----BEGIN PRIVATE KEY-----\nMIIE", "a\n[redacted]"),
        ("https://hooks.slack.com/services/T00/B00/XXXX", "https://hooks.slack.com/services/[redacted]"),
    ],
)  # fmt: skip
def test_secrets_are_hidden_and_the_rest_stays(text: str, expected: str) -> None:
    """The name before a secret stays, so that a reader knows what was there."""
    assert expected == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "max_tokens=4096 tokens: 512 tokenizer=bert-base-uncased",
        "token: <pad>",
        "PWD=/home/me pwd: ~/x",
        "see https://example.org:8080/a@b and mail me@example.org",
        "KeyError: 'loss'",
        "commit 356a192b7913b04c54574d18c28d46e6395428ab",
        "the secret of good training",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """A mail must still say what went wrong."""
    assert text == redact(text)


pieces = st.sampled_from(
    ["password", "=", ":", '"', "'", " ", "token", "://", "@", "Bearer ", "--", "\\", "a", "sig=", "\n", "/", "x" * 30, REDACTED]
)  # fmt: skip


@given(st.lists(pieces, max_size=25).map("".join))
def test_twice_is_as_once(text: str) -> None:
    """Intake and notify both redact: what was hidden stays as it is."""
    once = redact(text)
    assert once == redact(once)


@pytest.mark.parametrize(
    "piece",
    ["a", "password", "password=", "pass", "secret-", "://", "://a:", "--token ", "Bearer ", "eyJaaaaaaaa", "eyJaaaaaaaa.", "authorization: a", "-----BEGIN PRIVATE KEY", "-----BEGIN PRIVATE KEY-----", "sig=", "--", "'", "\"password\": '", "\\\"'", " "],
)  # fmt: skip
def test_hostile_text_takes_no_longer_than_its_length(piece: str) -> None:
    """A whole mebibyte of the start of a secret is read within 3 s."""
    text = piece * (1 << 20)
    began = time.process_time()
    redact(text[: 1 << 20])
    assert time.process_time() - began < 3

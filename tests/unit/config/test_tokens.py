"""Tokens: who is let in for what; files that give nobody access."""

import hashlib
from pathlib import Path

import pytest

from tocsin.config.tokens import Role, add_token, load_tokens
from tocsin.errors import ContentError

LONG = "a-token-of-enough-length"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    return path


def test_a_token_opens_only_its_roles(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"another-long-token").hexdigest()
    tokens = load_tokens(write(tmp_path, f"""
tokens:
  - {{name: grid, token: {LONG}, roles: [intake]}}
  - {{name: prometheus, sha256: "{digest}", roles: "metrics, api"}}
"""))  # fmt: skip
    assert 2 == len(tokens)
    assert ("grid", None, None) == tuple(tokens.who(LONG, r) for r in (Role.INTAKE, Role.API, Role.METRICS))
    assert (None, "prometheus", "prometheus") == tuple(
        tokens.who("another-long-token", r) for r in (Role.INTAKE, Role.API, Role.METRICS)
    )
    assert tokens.who("", Role.INTAKE) is None
    assert tokens.who(digest, Role.API) is None  # the digest itself is no token


def test_no_file_or_an_empty_one_means_no_tokens(tmp_path: Path) -> None:
    assert not load_tokens(tmp_path / "nowhere.yaml")
    assert not load_tokens(write(tmp_path, "# none yet"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tokens: [{name: a, token: short, roles: [api]}]", "is shorter than 16 characters"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [admin]}}]", "'admin' is none of intake, api, metrics"),
        (f"tokens: [{{name: a, token: {LONG}, roles: []}}]", "must not be empty"),
        ("tokens: [{name: a, roles: [api]}]", "give either token or sha256"),
        ("tokens: [{name: a, sha256: xyz, roles: [api]}]", "sha256"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [api]}}, {{name: a, token: {LONG}2, roles: [api]}}]", "two tokens are called 'a'"),
    ],
)  # fmt: skip
def test_broken_files_say_what_is_wrong_and_show_no_token(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ContentError) as caught:
        load_tokens(write(tmp_path, text))
    assert fault in str(caught.value)
    assert LONG not in str(caught.value)
    assert "short," not in str(caught.value)


def test_a_new_token_is_added_and_the_others_stay(tmp_path: Path) -> None:
    """The file keeps only a digest, and only its owner may read it."""
    path = tmp_path / "tokens.yaml"
    first = add_token(path, "one", frozenset({Role.INTAKE}))
    second = add_token(path, 'two "quoted"', frozenset({Role.API, Role.METRICS}))
    tokens = load_tokens(path)
    assert ("one", 'two "quoted"') == (tokens.who(first, Role.INTAKE), tokens.who(second, Role.API))
    assert first not in path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_name_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    add_token(path, "one", frozenset({Role.INTAKE}))
    before = path.read_text()
    with pytest.raises(ContentError, match="two tokens are called 'one'"):
        add_token(path, "one", frozenset({Role.API}))
    assert before == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_tokens_do_not_show(tmp_path: Path) -> None:
    tokens = load_tokens(write(tmp_path, f"tokens: [{{name: a, token: {LONG}, roles: [api]}}]"))
    assert LONG not in repr(tokens) + repr(vars(tokens))
    assert LONG == tokens.plain(Role.API)

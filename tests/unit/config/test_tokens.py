"""Tokens: who is let in for what; files that give nobody access."""

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tocsin.config.project.tokens import Role, Signature, add_token, load_tokens, revoke_token
from tocsin.errors import ConfigurationError

LONG = "a-token-of-enough-length"
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    return path


def test_a_token_opens_only_its_roles(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"another-long-token").hexdigest()
    tokens = load_tokens(write(tmp_path, f"""
tokens:
  - {{name: grid, token: {LONG}, roles: [producer]}}
  - {{name: prometheus, sha256: "{digest}", roles: "metrics, viewer"}}
"""))  # fmt: skip
    assert 2 == len(tokens)
    assert ("grid", None, None) == tuple(tokens.who(LONG, r, NOW) for r in (Role.PRODUCER, Role.VIEWER, Role.METRICS))
    assert (None, "prometheus", "prometheus") == tuple(
        tokens.who("another-long-token", r, NOW) for r in (Role.PRODUCER, Role.VIEWER, Role.METRICS)
    )
    assert tokens.who("", Role.PRODUCER, NOW) is None
    assert tokens.who(digest, Role.VIEWER, NOW) is None  # the digest itself is no token


def test_a_token_opens_its_consumers_alone_and_nothing_once_it_has_expired(tmp_path: Path) -> None:
    """To the instant; a date is its beginning, UTC. What is for everybody else stays closed to it anyway."""
    tokens = load_tokens(write(tmp_path, f"""
tokens: [{{name: ci, token: {LONG}, roles: [producer], consumers: github-actions, expires: 2026-12-01}}]
"""))  # fmt: skip
    end = datetime(2026, 12, 1, tzinfo=UTC)
    last = end - timedelta(microseconds=1)
    assert ("ci", None) == tuple(tokens.who(LONG, Role.PRODUCER, last, name) for name in ("github-actions", "events"))
    assert tokens.who(LONG, Role.PRODUCER, end, "github-actions") is None
    assert tokens.who(LONG, Role.VIEWER, last) is None


def test_no_file_or_an_empty_one_means_no_tokens_and_says_why(tmp_path: Path) -> None:
    """Only an empty list was surely written on purpose."""
    for tokens, why in (
        (load_tokens(tmp_path / "nowhere.yaml"), "is gone"),
        (load_tokens(write(tmp_path, "")), "holds no token"),
        (load_tokens(write(tmp_path, "# none yet")), "holds no token"),
        (load_tokens(write(tmp_path, "tokens: []")), ""),
    ):
        assert (0, why) == (len(tokens), tokens.absent)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (Path.mkdir, "is no file"),
        (os.mkfifo, "is no file"),
        (_loop, "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda path: path.write_text('tokens:\n  - {name: a, sha256: "9f86'), "not valid YAML"),
        (lambda path: path.write_text("tokens:\n"), "tokens"),
    ],
    ids=["directory", "fifo", "loop", "no text", "half written", "half written, valid"],
)
def test_a_file_that_cannot_be_read_is_a_fault_never_no_tokens(
    tmp_path: Path, make: Callable[[Path], object], fault: str
) -> None:
    make(tmp_path / "tokens.yaml")
    with pytest.raises(ConfigurationError) as caught:
        load_tokens(tmp_path / "tokens.yaml")
    assert fault in str(caught.value)


def test_the_first_token_is_added_to_an_empty_list(tmp_path: Path) -> None:
    path = write(tmp_path, "# who may come in\ntokens: []\n")
    word = add_token(path, "one", frozenset({Role.VIEWER}))
    assert "one" == load_tokens(path).who(word, Role.VIEWER, NOW)
    assert path.read_text().startswith("# who may come in\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tokens: [{name: a, token: short, roles: [viewer]}]", "is shorter than 16 characters"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [api]}}]", "'api' is none of producer, viewer, responder, admin, metrics"),
        (f"tokens: [{{name: a, sha256: {'ab' * 32}, roles: [producer], signature: github}}]", "signature needs the token itself"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [admin], signature: slack}}]", "the signature slack has the role producer alone"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [producer], signature: pagerduty}}]", "has the role responder alone"),
        (f"tokens: [{{name: a, token: {LONG}, roles: []}}]", "must not be empty"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [viewer], expires: soon}}]", "'soon' is no time; write 2027-01-31"),
        ("tokens: [{name: a, roles: [viewer]}]", "give either token or sha256"),
        ("tokens: [{name: a, sha256: xyz, roles: [viewer]}]", "sha256"),
        (f"tokens: [{{name: a, token: {LONG}, roles: [viewer]}}, {{name: a, token: {LONG}2, roles: [viewer]}}]", "two tokens are called 'a'"),
    ],
)  # fmt: skip
def test_broken_files_say_what_is_wrong_and_show_no_token(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_tokens(write(tmp_path, text))
    assert fault in str(caught.value)
    assert LONG not in str(caught.value)
    assert "short," not in str(caught.value)


def test_a_new_token_is_added_and_the_others_stay(tmp_path: Path) -> None:
    """The file keeps only a digest, and only its owner may read it."""
    path = tmp_path / "tokens.yaml"
    first = add_token(path, "one", frozenset({Role.PRODUCER}))
    second = add_token(path, 'two "quoted"', frozenset({Role.VIEWER, Role.METRICS}))
    tokens = load_tokens(path)
    assert ("one", 'two "quoted"') == (tokens.who(first, Role.PRODUCER, NOW), tokens.who(second, Role.VIEWER, NOW))
    assert first not in path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_name_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    add_token(path, "one", frozenset({Role.PRODUCER}))
    before = path.read_text()
    with pytest.raises(ConfigurationError, match="two tokens are called 'one'"):
        add_token(path, "one", frozenset({Role.VIEWER}))
    assert before == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_tokens_do_not_show(tmp_path: Path) -> None:
    tokens = load_tokens(write(tmp_path, f"tokens: [{{name: a, token: {LONG}, roles: [viewer]}}]"))
    assert LONG not in repr(tokens) + repr(vars(tokens))
    assert LONG == tokens.plain(Role.VIEWER)


def test_a_token_is_revoked_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    """Comments and the others' order too; another can be added after it."""
    path = write(tmp_path, f"# who may come in\ntokens:\n  # the lab\n  - {{name: lab, token: {LONG}, roles: [producer]}}\n"
                 f'  - name: "old"\n    token: {LONG}2\n    roles: [viewer]\n  - {{name: new, token: {LONG}3, roles: [admin]}}\n')  # fmt: skip
    revoke_token(path, "old")
    assert ["lab", "new"] == [t.name for t in load_tokens(path).listed()]
    assert path.read_text().startswith("# who may come in\ntokens:\n  # the lab\n  - {name: lab")
    add_token(path, "more", frozenset({Role.VIEWER}))
    assert 3 == len(load_tokens(path))


def test_a_secret_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a webhook that signs, the file needs the secret itself."""
    path = write(tmp_path, "tokens: [{name: gh, token: '${GH_SECRET}', roles: [producer], signature: github}]")
    with pytest.raises(ConfigurationError, match="'GH_SECRET' is not set"):
        load_tokens(path)
    monkeypatch.setenv("GH_SECRET", LONG)
    (token,) = load_tokens(path).signing(Signature.GITHUB, Role.PRODUCER, NOW, "events")
    assert token.token is not None and LONG == token.token.get_secret_value()
    assert load_tokens(path).find(LONG) is None

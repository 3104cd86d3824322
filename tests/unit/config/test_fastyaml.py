"""The quick way reads what ruamel reads, and leaves to ruamel what it must not take."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.config.yaml import fast as fastyaml
from tocsin.config.yaml.document import MAX_DEPTH, MAX_NODES, Document, Plain, load
from tocsin.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
FILES = sorted([*ROOT.glob("rules/**/*.yaml"), *ROOT.glob("consumers/*.yaml")])


def quick(text: str) -> tuple[object, dict[tuple[str | int, ...], int]] | None:
    return fastyaml.read(text, Plain, MAX_DEPTH, MAX_NODES)


def slow(text: str, monkeypatch: pytest.MonkeyPatch) -> Document:
    with monkeypatch.context() as patch:
        patch.setattr("tocsin.config.yaml.fast.read", lambda *_: None)
        return load(text, "f.yaml")


def typed(value: object) -> object:
    """With the kind of each text, which `==` does not see."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return (type(value).__name__, value)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_shipped_files_are_read_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    read = quick(text)
    assert read is not None
    expected = slow(text, monkeypatch)
    assert (typed(expected.data), expected.lines) == (typed(read[0]), read[1])


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "5", "a:\nb: ~\nc: null\nd: ''\n", "a: [1, {b: 'x', c: \"y\\n\"}, [ ]]\n", "- a\n-\n- - b\n  - c: 1\n",
     "a: |\n  x\n   y\nb: >\n  z\n", "007: 1e5\ny: no\nn: 0o7\nt: 12:30\n", "---\na: 1\n"],
)  # fmt: skip
def test_odd_texts_are_read_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, expected = quick(text), slow(text, monkeypatch)
    assert read is not None
    assert typed(expected.data) == typed(read[0])
    assert expected.lines == read[1]


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: 1\na: 2\n", "a: &x 1\nb: *x\n", "? [a]\n: 1\n", "a: 1\n---\nb: 2\n", "\ta: 1", "[" * 50_000,
     "[" * 70 + "]" * 70, "- " * 50_000 + "x"],
    ids=range(9),
)  # fmt: skip
def test_what_is_unusual_is_left_to_ruamel(text: str) -> None:
    """Also what is nested so deeply that libyaml's own tree would end the process."""
    assert None is quick(text)


scalars = st.one_of(st.integers(), st.booleans(), st.none(), st.text("ab:-#'\" {}[],&*!|>%@`\n", max_size=6))


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)))  # fmt: skip
def test_whatever_is_written_is_read_the_same(value: object) -> None:
    """Any data, written by ruamel in its own style, comes out of both readers alike."""
    from io import StringIO

    from ruamel.yaml import YAML

    out = StringIO()
    YAML(typ="safe", pure=True).dump(value, out)
    read = quick(out.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        try:
            expected = slow(out.getvalue(), patch)
        except ConfigurationError:  # ruamel writes what it does not read, e.g. a: {a: :>}
            assert read is None
            return
    assert read is None or (typed(expected.data), expected.lines) == (typed(read[0]), read[1])

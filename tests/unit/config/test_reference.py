"""docs/settings.md names every setting and nothing else."""

import re
from pathlib import Path

from tocsin.config.reference import settings_reference, walk
from tocsin.config.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_made_from_the_models() -> None:
    assert settings_reference() == PAGE.read_text()


def test_every_setting_is_on_the_page_and_every_line_is_a_setting() -> None:
    """Sections whose keys each have a line need none of their own."""
    listed = set(re.findall(r"^\| `([a-z_.]+)` \|", PAGE.read_text(), re.M))
    known = {".".join(path) for path, _ in walk(Settings)}
    sections = {name for name in known if any(other.startswith(name + ".") for other in known)}
    assert listed <= known
    assert set() == known - listed - sections


def test_every_setting_is_read_somewhere() -> None:
    """A setting that nothing asks for would be a lie. Kafka's go to its client as they are."""
    source = PAGE.parents[1] / "src" / "tocsin"
    text = "\n".join(p.read_text() for p in source.rglob("*.py"))
    leaves = [path for path, field in walk(Settings) if path[0] != "kafka"]
    unread = [
        ".".join(path) for path in leaves if not re.search(rf"\.{'in_' if path[-1] == 'in' else path[-1]}\b", text)
    ]
    assert [] == unread

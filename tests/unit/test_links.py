"""Links between the pages lead to files and headings that exist, as a forge shows them; `make site` checks the site's own."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"""(?:\]\(|src=")(?!https?:|mailto:)([^)"\s]+)""")
HEADING = re.compile(r"^#+ +(.+)$", re.M)


def anchors(page: Path) -> set[str]:
    """What a forge calls the headings of a page."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert [] == broken


def test_the_site_has_every_page() -> None:
    """Its navigation names each page but decisions, which their own page lists."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    named = set(re.findall(r"([\w./-]+\.md)$", nav, re.M))
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    listed = {name for name in pages if not name.startswith("decisions/0")}
    assert {"index.md", "contributing.md", "changelog.md", "security.md"} | listed == named
    decisions = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert {name for name in pages if name.startswith("decisions/0")} == {
        f"decisions/{name}" for name in re.findall(r"\]\((0[\w-]+\.md)\)", decisions)
    }

"""MkDocs hooks: pages that lie outside docs/ are part of the site, and so are the files that pages link to.

On a forge README.md links to docs/, and docs/ to ../deploy/; a site has only its own folder. So the pages of the project's
root come in under the names of ``ROOT_PAGES``, other linked files under ``files/``, and links are rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ROOT_PAGES = {
    "README.md": "index.md",
    "AGENTS.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Page of the project's root → its name in the site."""
_LINK = re.compile(r"""(\]\(|<img src=")([^)"#:\s]+)""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and what pages link to outside docs/."""
    linked: set[str] = set()
    for page in files.documentation_pages():
        _rewrite(page.content_string, f"docs/{page.src_uri}", page.src_uri, linked.add)
    for source, name in ROOT_PAGES.items():
        text = _rewrite((ROOT / source).read_text(encoding="utf-8"), source, name, linked.add)
        files.append(File.generated(config, name, content=text))
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page of docs/; the root's are rewritten when they come in."""
    if page.file.src_uri in ROOT_PAGES.values():
        return markdown
    return _rewrite(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def _rewrite(text: str, here: str, src_uri: str, found: Callable[[str], object] = lambda _: None) -> str:
    """``text`` of the project's file ``here`` with links as the site's page ``src_uri`` has them; ``found`` gets the
    files outside docs/ that it links to.
    """

    def link(match: re.Match[str]) -> str:
        path = normpath(str(PurePosixPath(here).parent / match[2]))
        if path in ROOT_PAGES:
            target = ROOT_PAGES[path]
        elif path.startswith("docs/"):
            target = path.removeprefix("docs/")
        elif (ROOT / path).is_file():
            found(path)
            target = f"files/{path}"
        else:
            return match[0]  # MkDocs says that it leads nowhere
        return match[1] + relpath(target, str(PurePosixPath(src_uri).parent))

    return _LINK.sub(link, text)

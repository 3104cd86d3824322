"""Descriptions of runs: Markdown as HTML that can do nothing but be read."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import OptionsDict

_SCHEMES: Final = ("http", "https", "mailto")
_LEVEL: Final = 2  # the page has h1 and h2


def html(text: str, run: str) -> Markup:
    """``text`` as HTML. HTML in it is shown as text; links lead to http, https, mailto, this server or the run's files
    (``outputs/x.csv``); images are the run's files or data, any other image is a link, so that nothing is loaded from elsewhere.
    """
    from markdown_it import MarkdownIt  # a start need not wait for it

    md = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20}).enable(
        ["table", "strikethrough"]
    )
    md.add_render_rule("image", _image)
    md.add_render_rule("link_open", _link)
    for name in ("heading_open", "heading_close"):
        md.add_render_rule(name, _heading)
    return Markup(md.render(text, {"run": run}))  # markdown-it escapes texts and attributes


def target(url: str, run: str) -> str:
    """Where a link of a description leads; '' for what is not followed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme:
        return url if parts.scheme in _SCHEMES else ""
    if url.startswith(("//", "/\\")):
        return ""
    if url.startswith(("/", "#", "?")):
        return url
    return f"/files?run={quote(run, safe='')}&name={quote(unquote(parts.path), safe='')}"


def _image(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    token = tokens[idx]
    source = str(token.attrs.get("src", ""))
    alt = self.renderInlineAsText(token.children or [], options, env)
    if source.startswith("data:image/") or (where := target(source, env["run"])).startswith("/files?"):
        shown = source if source.startswith("data:image/") else where
        return str(Markup('<img src="{}" alt="{}" loading="lazy">').format(shown, alt))
    return str(Markup('<a href="{}" rel="noreferrer nofollow">{}</a>').format(where or "#", alt or source))


def _link(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    where = target(str(tokens[idx].attrs.get("href", "")), env["run"])
    return str(Markup('<a href="{}" rel="noreferrer nofollow">').format(where or "#"))


def _heading(
    self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    token = tokens[idx]
    level = min(int(token.tag[1]) + _LEVEL, 6)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"

"""Styles written as classes become ``style`` attributes once, when a template is compiled, not in every mail.

Mail clients drop style sheets, so ``mail.css`` is inlined. Doing that to each rendered mail costs more than rendering
it; doing it to a whole template would have an HTML parser move Jinja's tags about. So each opening tag with a class is
looked at alone: selectors of a tag and classes (``td.pill``) work, those of nesting (``td a``) do not.
"""

from __future__ import annotations

import re
from functools import lru_cache

import css_inline

_TAG = re.compile(r"<([a-z][a-z0-9]*)((?:[^<>{}]|\{\{[^{}]*\}\}|\{%[^{}]*%\})*?)\s*(/?)>")
_CLASS = re.compile(r"""\sclass="([^"]*)\"""")
_STYLE = re.compile(r"""\sstyle="([^"]*)\"""")
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_AROUND = {"td": "<table><tbody><tr>{}</tr></tbody></table>", "th": "<table><tbody><tr>{}</tr></tbody></table>",
           "tr": "<table><tbody>{}</tbody></table>", "tbody": "<table>{}</table>"}  # fmt: skip


def inline_styles(source: str, css: str) -> str:
    """``source`` with a ``style`` for each tag whose classes (or name) ``css`` styles. Jinja's tags stay untouched."""

    def styled(match: re.Match[str]) -> str:
        tag, attributes, end = match[1], match[2], match[3]
        classes = _CLASS.search(attributes)
        words = " ".join(_JINJA.sub(" ", classes[1]).split()) if classes else ""
        style = _style_of(tag, words, css)
        if not style:
            return match[0]
        own = _STYLE.search(attributes)
        if own:
            attributes = attributes.replace(own[0], f' style="{style};{own[1]}"')
        else:
            attributes += f' style="{style}"'
        return f"<{tag}{attributes}{end}>"

    head, body, rest = source.partition("<body")
    return head + _TAG.sub(styled, body + rest) if body else _TAG.sub(styled, source)


@lru_cache(4096)
def _style_of(tag: str, classes: str, css: str) -> str:
    if tag in ("html", "head", "body", "style", "meta", "title") and not classes:
        return ""
    tag = "div" if tag == "body" else tag  # a body cannot stand in a fragment
    element = f'<{tag} class="{classes}"></{tag}>' if classes else f"<{tag}></{tag}>"
    made = css_inline.inline_fragment(_AROUND.get(tag, "{}").format(element), css, load_remote_stylesheets=False)
    found = re.search(rf"<{tag}[^>]*?\sstyle=\"([^\"]*)\"", made)
    return found[1].rstrip("; ") if found else ""

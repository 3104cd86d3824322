"""Mail templates: found over several directories, compiled once, rendered within bounds; one that fails is replaced.

``NAME.subject.txt.j2``, ``NAME.txt.j2``, ``NAME.html.j2``. A file of the project directory wins over the packaged one of the same
name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import css_inline
import structlog
from jinja2 import (
    BaseLoader,
    Environment,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    meta,
    nodes,
    pass_context,
)
from jinja2.runtime import Context

from tocsin.config.yaml.document import suggest
from tocsin.errors import Problem
from tocsin.model.text.causes import cut, one_line
from tocsin.model.text.sandbox import Sandbox, Words, render, strict_words
from tocsin.notify.context import NAMES, VALUES, Mail, Reader
from tocsin.notify.render.views import TEMPLATE_FAULTS
from tocsin.notify.text import (
    clock_time,
    day_time,
    isolate,
    length,
    middle,
    right_to_left,
    wrap,
    zone_name,
)

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


log = structlog.get_logger(__name__)

DEFAULT = "run"
HTML_LIMIT = 60_000
"""Characters of the longest HTML part; Gmail cuts beyond 102 KB."""
TEXT_LIMIT = 100_000
CSS = "mail.css"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The parts of a mail. ``problem`` says why the template that was wanted is not the one that was used."""

    subject: str
    text: str
    html: str  # '' for a mail of text only
    problem: str = ""


class _Files(BaseLoader):
    """Templates over directories, the first wins. A template is compiled again when what it is made of changed."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = tuple(directories)

    def _stamp(self, name: str) -> tuple[Path, int, int] | None:
        for directory in self._directories:
            path = directory / name
            try:
                found = path.stat()
            except OSError:
                continue
            return path, found.st_mtime_ns, found.st_size
        return None

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Jinja's hook."""
        stamp = self._stamp(template)
        if stamp is None or "/" in template or "\\" in template or template.startswith("."):
            raise TemplateNotFound(template)
        source = stamp[0].read_text(encoding="utf-8")
        css: tuple[Path, int, int] | None = None
        if template.endswith(".html.j2"):
            css = self._stamp(CSS)
            source = inline_styles(source, css[0].read_text(encoding="utf-8") if css else "")

        def uptodate() -> bool:
            return stamp == self._stamp(template) and (css is None or css == self._stamp(CSS))

        return source, str(stamp[0]), uptodate


class Templates:
    """Renders mails. Safe from any thread."""

    def __init__(self, directories: Sequence[Path], built_in: Path | None = None) -> None:
        """``directories`` in order of precedence; ``built_in`` (the last of them where None) stands in for what fails.

        Where ``built_in`` is given, its templates are ours: they run without the sandbox's counting, which takes half
        of their time, as long as no directory of the project has a file of its own beside them.
        """
        self._all: Environment = _environment(directories)
        self._built_in = _environment([directories[-1]]) if built_in is None else _ours(built_in)
        self._projects = None if built_in is None else tuple(d for d in directories if d != built_in)
        self._listed: dict[Path, tuple[int, bool]] = {}  # directory → when it changed, whether it has files
        self.words: Words = strict_words(FILTERS)

    def render(self, name: str, mail: Mail) -> Rendered:
        """Render ``mail`` by template ``name`` ('' for the default); never raises for what a template does."""
        wanted = name or DEFAULT
        environment = self._built_in if self._only_ours() else self._all
        try:
            return self._with(environment, wanted, mail)
        except TEMPLATE_FAULTS as e:
            problem = f"template '{wanted}' failed ({fault(e)}); this is the built-in one"
        log.warning("template_failed", template=wanted, problem=problem)
        noted = replace(mail, notes=(*mail.notes, f"{problem[0].upper()}{problem[1:]}."))
        for built_in in dict.fromkeys((wanted, DEFAULT)):
            try:
                return replace(self._with(self._built_in, built_in, noted), problem=problem)
            except TEMPLATE_FAULTS as e:
                log.error("built_in_template_failed", template=built_in, problem=fault(e))
        return replace(bare(noted), problem=problem)

    def _only_ours(self) -> bool:
        """Whether no template of a project can take part."""
        return self._projects is not None and not any(map(self._has_files, self._projects))

    def _has_files(self, directory: Path) -> bool:
        known = self._listed.get(directory)
        try:
            changed = directory.stat().st_mtime_ns
            if known is None or known[0] != changed:
                self._listed[directory] = known = (changed, any(directory.iterdir()))
        except OSError:
            return False  # what cannot be read has no part in a mail
        return known[1]

    def _with(self, environment: Environment, name: str, mail: Mail) -> Rendered:
        names = mail.names()
        text = render(environment.get_template(f"{name}.txt.j2"), names, TEXT_LIMIT)
        try:
            subject = one_line(render(environment.get_template(f"{name}.subject.txt.j2"), names, 4000))
        except TemplateNotFound:
            subject = ""
        try:
            html = render(environment.get_template(f"{name}.html.j2"), names, HTML_LIMIT)
        except TemplateNotFound:
            html = ""
        return Rendered(subject=subject or mail.alert.title, text=text.strip("\n") + "\n", html=html)

    def names(self) -> list[str]:
        """Base names of all templates that can be found."""
        return template_names(self._files._directories)

    @property
    def _files(self) -> _Files:
        loader = self._all.loader
        assert isinstance(loader, _Files)
        return loader

    def check(self) -> list[Problem]:
        """What does not compile, and, as warnings, names that no template has. Ours are right: tests read them."""
        problems = []
        for directory in self._files._directories if self._projects is None else self._projects:
            for path in sorted(directory.glob("*.j2")):
                try:
                    tree = self._all.parse(path.read_text(encoding="utf-8"), path.name, str(path))
                    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
                    unknown = meta.find_undeclared_variables(tree) - set(NAMES) - set(self._all.globals) - own
                    problems += [
                        Problem(
                            file=str(path), line=_line(tree, name), message=f"'{name}' is no name that templates have",
                            hint=suggest(name, NAMES), warning=True,
                        )
                        for name in sorted(unknown)
                    ]  # fmt: skip
                except TemplateSyntaxError as e:
                    problems.append(Problem(file=str(path), line=e.lineno, message=e.message or "is no template"))
                except (OSError, UnicodeDecodeError) as e:
                    problems.append(Problem(file=str(path), message=f"cannot be read: {e}"))
        return problems


def template_names(directories: Iterable[Path]) -> list[str]:
    """Base names of all templates in ``directories``."""
    found = {p.name.removesuffix(".txt.j2") for directory in directories for p in directory.glob("*.txt.j2")}
    return sorted(n for n in found if not n.startswith("_") and not n.endswith(".subject"))


def _line(tree: nodes.Template, name: str) -> int:
    return next((found.lineno for found in tree.find_all(nodes.Name) if found.name == name), 0)


def fault(error: BaseException) -> str:
    """What a template raised, in one line, with its line."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while line is None and trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.endswith(".j2"):
            line = trace.tb_lineno
        trace = trace.tb_next
    text = one_line(str(error), 160) or type(error).__name__
    return f"line {line}: {text}" if line else text


def bare(mail: Mail) -> Rendered:
    """A mail without any template: what is left when even the built-in ones fail."""
    lines = [mail.alert.title, "", f"rule {mail.alert.rule}, {mail.alert.severity}"]
    if mail.run is not None:
        lines += [f"run {mail.run.id}", mail.run.message, mail.run.url]
    text = "\n".join(
        [*(wrap(line) for line in lines), "", *(wrap(n) for n in mail.notes), "", wrap(mail.reader.because)]
    )
    return Rendered(subject=mail.alert.title, text=text + "\n", html="")


# -- filters -----------------------------------------------------------------------------------------------------------


def _reader(context: Context) -> Reader:
    reader = context["reader"]
    assert isinstance(reader, Reader)
    return reader


@pass_context
def _when(context: Context, t: datetime | None) -> str:
    return "" if t is None else day_time(t, context["now"], _reader(context).zone)


@pass_context
def _time(context: Context, t: datetime | None) -> str:
    return "" if t is None else clock_time(t, _reader(context).zone)


def _stamp(t: datetime | None) -> str:
    return "" if t is None else f"{t.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _duration(d: timedelta | float | None) -> str:
    return length(d)


def _table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """Aligned columns for the text part, cut to 72."""
    lines = [columns, *rows]
    room = max(72 // max(len(columns), 1) - 2, 6)
    widths = [min(max((len(line[i]) for line in lines), default=0), room) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cut(cell, w).ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


FILTERS: dict[str, Callable[..., Any]] = {
    "when": _when,
    "time": _time,
    "stamp": _stamp,
    "duration": _duration,
    "table": _table,
    "plural": _plural,
    "wrap": wrap,
    "cut": cut,
    "middle": middle,
    "isolate": isolate,
    "rtl": right_to_left,
    "zone": zone_name,
}
"""Filters of ours, by the name under which templates use them."""


_OPTIONS: dict[str, Any] = {
    "autoescape": lambda name: name is not None and name.endswith(".html.j2"),
    "undefined": StrictUndefined,
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
    "cache_size": 200,
}


def _environment(directories: Sequence[Path]) -> Environment:
    environment = Sandbox(loader=_Files(directories), **_OPTIONS)
    environment.add(FILTERS)
    environment.plain = VALUES
    return environment


def _ours(directory: Path) -> Environment:
    """For templates that come with the program, and do not change while it runs."""
    environment = Environment(loader=_Files([directory]), auto_reload=False, **_OPTIONS)
    environment.filters.update(FILTERS)
    return environment

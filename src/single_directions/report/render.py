"""The report's view as HTML and as Markdown, by the templates beside this file."""

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from single_directions.report.tuning import TUNING
from single_directions.report.views import Page


def html(page: Page) -> str:
    """One HTML page that needs no other file: no script, no font, no request to anywhere."""
    return _HTML.get_template("page.html.j2").render(page=page)


def markdown(page: Page) -> dict[str, str]:
    """Markdown files by name: README.md, and one for each experiment."""
    files = {section.id: f"{section.file}.md" for section in page.sections}
    pages = {"README.md": _markdown("page.md.j2", page=page, files=files)}
    for file in dict.fromkeys(files.values()):
        sections = [section for section in page.sections if files[section.id] == file]
        pages[file] = _markdown("section.md.j2", sections=sections, files=files)
    if page.tuning:
        pages[f"{TUNING}.md"] = _markdown("tuning.md.j2", blocks=page.tuning, files=files)
    return pages


def _markdown(template: str, **view: object) -> str:
    text = _MARKDOWN.get_template(template).render(**view)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _inline_html(text: str) -> Markup:
    """Escaped text, in which backticks mark code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _inline_markdown(text: str) -> str:
    """The same in Markdown."""
    parts = re.split("`([^`]+)`", text)
    return "".join(_code(part) if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _code(text: str) -> str:
    """Code on one line, for Markdown."""
    return f"`{' '.join(text.replace('`', ' ').split())}`"


def _escaped(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    text = re.sub(r"\s+", " ", text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;"))
    return re.sub(r"([*`~]|(?<=\])\()", r"\\\1", text)


def _environment(autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("single_directions.report"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


_HTML, _MARKDOWN = _environment(autoescape=True), _environment(autoescape=False)
_HTML.filters["inline"] = _inline_html
_MARKDOWN.filters |= {"inline": _inline_markdown, "code": _code, "md": _escaped}

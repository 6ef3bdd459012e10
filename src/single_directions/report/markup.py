"""HTML out of Python: what is not markup is escaped, what is opened is closed."""

from collections.abc import Iterable
from html import escape
from typing import Any

VOID = {"br", "img", "meta"}


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element: `tag("td", "a < b", class_="n")`. Children that are lists are laid out, None is left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opened = "".join([name, *(f' {key}="{escape(str(value))}"' for key, value in given.items())])
    if name in VOID:
        return Markup(f"<{opened} />")
    return Markup(f"<{opened}>{together(children)}</{name}>")


def together(children: Any) -> Markup:
    """Children one after another, escaped where they are not markup."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, Iterable) and not isinstance(children, str):
        return Markup("".join(together(child) for child in children))
    return Markup(escape(str(children)))


def table(heads: Iterable[Any], rows: Iterable[Iterable[Any]], class_: str | None = None) -> Markup:
    """A table; cells that are numbers already laid out, such as "0.31 [0.2, 0.4]", are aligned by CSS."""
    head = tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in heads]))
    body = tag("tbody", [tag("tr", [tag("td", cell) for cell in row]) for row in rows])
    return tag("div", tag("table", head, body, class_=class_), class_="wide")

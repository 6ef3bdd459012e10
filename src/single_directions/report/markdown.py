"""The page's elements as GitHub's Markdown, so that both say the same in the same words."""

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, fromstring

from single_directions.report.markup import Markup

_INLINE = {"a", "cite", "code", "span", "strong"}
_MARKS = {"strong": "**", "cite": "*"}


def markdown(markup: Markup, links: Mapping[str, str], top: int = 1) -> str:
    """The Markdown of some markup.

    `links` tells where the page's own links lead, as {"#claims": "README.md"}; `top` is the level of the headings that
    become the first.
    """
    return "\n\n".join(_blocks(fromstring(f"<body>{markup}</body>"), links, top)) + "\n"


def _blocks(parent: Element, links: Mapping[str, str], top: int) -> Iterator[str]:
    """The paragraphs, tables and so on within an element."""
    if _is_text(parent):
        if text := _inline(parent, links):
            yield text
        return
    for one in parent:
        if one.tag in ("h1", "h2", "h3"):
            yield f"{'#' * max(1, int(one.tag[1]) - top + 1)} {_inline(one, links)}"
        elif one.tag == "table":
            yield _table(one, links)
        elif one.tag == "pre":
            yield f"```\n{''.join(one.itertext())}\n```"
        elif one.tag == "img":
            yield f"![{_escaped(one.get('alt', ''))}](<{one.get('src')}>)"
        elif one.tag == "li":
            yield _item(_blocks(one, links, top))
        elif one.tag == "dl":
            yield "\n".join(_facts(one, links, top))
        else:
            yield from _blocks(one, links, top)


def _is_text(element: Element) -> bool:
    return bool((element.text or "").strip()) or all(child.tag in _INLINE for child in element)


def _facts(parent: Element, links: Mapping[str, str], top: int) -> Iterator[str]:
    """An item for each word and what is said of it; they may stand in `div`s of their own."""
    flat = [part for child in parent for part in (child if child.tag == "div" else [child])]
    for word, said in zip(flat[::2], flat[1::2], strict=True):
        name = f"**{_inline(word, links)}**"
        if _is_text(said):
            yield _item([f"{name}: {_inline(said, links)}"])
        else:
            yield _item([name, *_blocks(said, links, top)])


def _item(blocks: Iterator[str] | list[str]) -> str:
    return "- " + "\n\n".join(blocks).replace("\n", "\n  ").replace("\n  \n", "\n\n")


def _table(table: Element, links: Mapping[str, str]) -> str:
    rows = [[_inline(cell, links).replace("|", "\\|") for cell in row] for row in table.iter("tr")]
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])


def _inline(element: Element, links: Mapping[str, str]) -> str:
    """Text on one line, with the elements in it."""
    if element.tag == "code":
        return f"`{' '.join(''.join(element.itertext()).replace('`', ' ').split())}`"
    parts = [_escaped(element.text or "")]
    for child in element:
        told = _inline(child, links)
        parts += ["<br>" if child.tag == "div" and "".join(parts) else "", told, _escaped(child.tail or "")]
    text = " ".join("".join(parts).split())
    # Spaces at the ends stay outside, lest words run together.
    text = f"{' ' if parts[0][:1].isspace() else ''}{text}{' ' if parts[-1][-1:].isspace() else ''}"
    if element.tag in ("td", "th", "p", "dt", "dd", "h1", "h2", "h3", "figcaption"):
        text = text.strip()
    if element.tag == "a":
        return f"[{text}]({links.get(element.get('href', ''), element.get('href'))})"
    mark = "**" if "verdict" in element.get("class", "") else _MARKS.get(element.tag, "")
    return f"{mark}{text}{mark}" if text else ""


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")
    for mark in ("*", "`", "~"):
        text = text.replace(mark, f"\\{mark}")
    return text

"""Both sets of templates show what a view holds, escaped."""

from xml.etree import ElementTree

from single_directions.report.render import html, markdown
from single_directions.report.views import Block, Cell, Fact, Figure, Judged, Page, SectionView, table

EVIL = "a*b* <i>|</i> & `c` [d](e)\nf"
TABLE = table(
    ("Head", "|"),
    [(Cell(EVIL, link="x"), 1), (Cell("p|q", "code", below=("small <b>",)), Cell("met", "yes"))],
    "claims",
)
SECTION = SectionView(
    id="x",
    file="mine",
    heading="Heading <1>",
    place="here",
    note="Go on with `make <it>`",
    text=("Asked?",),
    figures=(Figure("figure_[8,8]", 'a "caption" <b>', "<svg/>"),),
    before=(Block("Before", ("told",), TABLE),),
    judged=(Judged("Claimed", Cell("met", "yes"), (Fact("Rule", "one `two`"),), (Block(table=TABLE),)),),
    blocks=(),
    facts=(Fact("Commands", "", ("one", "two & three")), Fact("Seeds", "0")),
)
PAGE = Page(
    title="Title",
    intro=("Intro",),
    tiles=(Fact("networks", "3"),),
    words=(),
    claims=(Block("Group", ("meaning",), TABLE),),
    runs=TABLE,
    sections=(SECTION,),
    tuning=(Block(text=("the rule",)),),
    rest=(Block("Rest", table=TABLE, id="rest"),),
    checklist=(Fact("Asked?", "answered"),),
    footer="end",
)


def test_html_is_well_formed_and_shows_text_as_it_is():
    page = html(PAGE)
    root = ElementTree.fromstring(page.partition("\n")[2])
    cells = [cell for row in root.iter("tr") for cell in row]
    assert "".join(cells[2].itertext()) == EVIL
    assert not list(root.iter("i"))
    assert cells[2][0].attrib == {"href": "#x"}
    assert [one.tag for one in cells[4]] == ["code", "div"]
    assert cells[5][0].attrib == {"class": "verdict yes"}
    assert [note[0].text for note in root.iter("p") if note.get("class") == "note"] == ["make <it>"]
    assert [image.get("alt") for image in root.iter("img")] == ['a "caption" <b>']
    assert [code.text for code in root.iter("pre")] == ["one\ntwo & three"]


def test_markdown_has_a_file_an_experiment_and_shows_text_as_it_is():
    pages = markdown(PAGE)
    assert list(pages) == ["README.md", "mine.md", "tuning.md"]
    shown = (
        "| Head | \\| |\n"
        "| --- | --- |\n"
        "| [a\\*b\\* &lt;i>\\|&lt;/i> &amp; \\`c\\` [d]\\(e) f](mine.md) | 1 |\n"
        "| `p\\|q`<br>small &lt;b> | **met** |"
    )
    assert pages["README.md"].split("\n\n") == [
        "# Title",
        "Intro",
        "- **networks**: 3",
        "## How to read this page",
        "## What holds",
        "### Group",
        "meaning",
        shown,
        "## What was run",
        "Each experiment's page has the commands that make its runs.",
        shown,
        "[How optimizer and learning rate were chosen](tuning.md)",
        "## Rest",
        shown,
        "## Reproducibility checklist",
        "- **Asked?**: answered",
        "end\n",
    ]
    assert pages["mine.md"].split("\n\n") == [
        "# Heading &lt;1>",
        "here",
        "Asked?",
        "Go on with `make <it>`",
        '![a "caption" &lt;b>](<figure_[8,8].png>)',
        'a "caption" &lt;b> `figure_[8,8].png`',
        "## Before",
        "told",
        shown,
        "## How its claims were judged",
        "### Claimed",
        "**met**",
        "- **Rule**: one `two`",
        shown,
        "## Where the numbers come from",
        "- **Commands**",
        "  ```\n  one\n  two & three\n  ```\n- **Seeds**: 0\n",
    ]

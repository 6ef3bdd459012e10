"""HTML that is escaped and closed."""

from single_directions.report.markup import Markup, table, tag


def test_text_is_escaped_and_markup_is_not():
    assert tag("p", "a < b & c", tag("b", '"d"')) == "<p>a &lt; b &amp; c<b>&quot;d&quot;</b></p>"
    assert tag("p", Markup("<br />"), None, ["x", 1]) == "<p><br />x1</p>"


def test_attributes_are_escaped_and_named_as_html_does():
    assert tag("td", class_='a" onclick="b', id=None) == '<td class="a&quot; onclick=&quot;b"></td>'
    assert tag("meta", http_equiv="x", name="y") == '<meta http-equiv="x" name="y" />'


def test_a_table_has_a_head_and_a_row_a_row():
    html = table(("<a>", "b"), [(1, None), ("<c>", 2)], "wide")
    assert html.count("<tr>") == 3
    assert '<th scope="col">&lt;a&gt;</th>' in html
    assert "<td>1</td><td></td>" in html

"""Nothing that is not meant to be markup becomes markup."""

import json
import re

from mtlab.report.formats.tables import ReportTable, TableCell
from mtlab.report.page.html_writer import Markup, element, html_table, join, json_script, plain_table


def test_texts_and_attributes_are_escaped() -> None:
    assert element("p", '<i>"&', title='"><script>') == ('<p title="&quot;&gt;&lt;script&gt;">&lt;i&gt;&quot;&amp;</p>')
    assert join([Markup("<br>"), None, ["<", element("b", "x")]]) == "<br>&lt;<b>x</b>"


def test_data_cannot_end_their_element() -> None:
    data = {"a": "</script><script>alert(1)</script><!--", "b": ["&amp;", 1.5, None]}
    written = json_script(data, class_="x")
    content = re.fullmatch(r"<script [^>]*>(.*)</script>", written)[1]
    assert "<" not in content
    assert json.loads(content) == data


def test_tables_say_which_columns_are_words() -> None:
    lines = ((TableCell("a<b"), TableCell("3"), TableCell("fine", outcome="too few")),)
    made = html_table(ReportTable(("variant", "n", "verdict"), lines, frozenset({0, 2})), "T")
    assert '<th scope="row">a&lt;b</th><td>3</td><td class="left too-few">fine</td>' in made
    assert '<th scope="col">n</th><th scope="col" class="left">verdict</th>' in made
    assert "<caption>T</caption>" in made


def test_plain_tables_hold_markup_and_are_of_words_unless_told() -> None:
    made = plain_table(("setting", "value"), [(element("code", "a.b"), "1 < 2")], caption="T")
    assert '<th scope="row"><code>a.b</code></th><td class="left">1 &lt; 2</td>' in made

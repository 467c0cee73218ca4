"""Nothing that is not meant to be markup becomes markup."""

import json
import re

from mtlab.report.page.html_writer import HtmlCell, Markup, element, join, json_script, table


def test_texts_and_attributes_are_escaped() -> None:
    assert element("p", '<i>"&', title='"><script>') == ('<p title="&quot;&gt;&lt;script&gt;">&lt;i&gt;&quot;&amp;</p>')
    assert join([Markup("<br>"), None, ["<", element("b", "x")]]) == "<br>&lt;<b>x</b>"


def test_data_cannot_end_their_element() -> None:
    told = {"a": "</script><script>alert(1)</script><!--", "b": ["&amp;", 1.5, None]}
    written = json_script(told, class_="x")
    content = re.fullmatch(r"<script [^>]*>(.*)</script>", written)[1]
    assert "<" not in content
    assert json.loads(content) == told


def test_tables_say_which_columns_are_words() -> None:
    made = table(["variant", "n", "verdict"], [["a<b", "3", HtmlCell("fine", "better")]], caption="T", left={0, 2})
    assert '<th scope="row">a&lt;b</th><td>3</td><td class="left better">fine</td>' in made
    assert '<th scope="col">n</th><th scope="col" class="left">verdict</th>' in made
    assert "<caption>T</caption>" in made

"""`mtlab inspect --html`: the words and patches of one model's examples, on a page of their own."""

from __future__ import annotations

from mtlab.report.page.document import kind_switch, write_document
from mtlab.report.page.html_writer import element
from mtlab.report.page.token_view import RecordedRun, token_view


def token_page(shown: RecordedRun, about: str) -> str:
    """Write the page.

    Args:
        shown: the model's recorded tokens.
        about: which checkpoint it is, in a line.

    """
    head = element(
        "header",
        element("p", "mtlab inspect", class_="over"),
        element("h1", shown.title),
        element("p", about, class_="why"),
    )
    body = [
        head,
        element("nav", element("span", "Which level each word and each patch draws on"), kind_switch()),
        element("main", token_view([shown], limit=None), id="content"),
    ]
    return write_document(f"{shown.title} – mtlab inspect", body, figures=False, scripts=("tokens.js",))

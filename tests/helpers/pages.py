"""The pages of results, and that they say what their commands print."""

import findings

PUBLISHED = "".join(
    (findings.ROOT / f"docs/{page}.md").read_text() for page in ("results", "results-tables", "results-history")
)


def assert_published(printed: str, *pairs: tuple[str, str]) -> None:
    """Assert that a command prints the first of each pair, and that the pages have the second, wherever lines break."""
    pages = " ".join(PUBLISHED.split())
    for found, written in pairs:
        assert found in printed
        assert written in pages

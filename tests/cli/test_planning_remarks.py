"""The remarks of `mtlab plan` below its table."""

from mtlab.cli.study.plan import describe_pairings


def row(label: str, text: list[list[int]]) -> dict[str, object]:
    return {"label": label, "pairing": {"text": text, "image": [[1, 2], [1, 2]]}}


def test_rows_that_read_the_same_levels_share_a_line() -> None:
    rows = [row(f"bridge · lr {number}", [[2], [3]]) for number in range(5)]
    rows += [row("last", [[3], []]), row("static", [[1, 2, 3], [1, 2, 3]])]
    assert describe_pairings(rows) == [
        "pairing of bridge · lr 0, bridge · lr 1 and 3 more: text levels 2 3; image levels 1,2 1,2",
        "pairing of last: text levels 3 –; image levels 1,2 1,2",
    ]

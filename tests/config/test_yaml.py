from pathlib import Path

import pytest

from mtlab.config.yaml import dump, parse, read, scalar
from mtlab.errors import UserError


def data(text: str) -> dict:
    return parse(text, Path("x.yaml")).data


def test_reads_what_people_mean() -> None:
    assert data("a: 1e-4\nb: on\nc: 012\nd: 12:30:00\ne: .5\nf: ~\ng: [1, yes, true]\nh: 1_000\ni: ''") == {
        "a": 1e-4,
        "b": "on",
        "c": 12,
        "d": "12:30:00",
        "e": 0.5,
        "f": None,
        "g": [1, "yes", True],
        "h": "1_000",
        "i": "",
    }


def test_what_is_written_is_read_back_as_it_was() -> None:
    words = [
        "1e-4",
        "012",
        "no",
        "12:30",
        "null",
        "~",
        "",
        "1.",
        ".5",
        "2024-01-01",
        "0x1f",
        "y",
        "<<",
        "a: b",
        "é",
        "true",
    ]
    written = {
        "words": words,
        "numbers": [1e-5, 3, float("inf"), True, None],
        "1e3": {word: 1 for word in words if word},
    }
    assert data(dump(written)) == written
    assert [type(value) for value in data(dump(written))["numbers"]] == [float, int, float, bool, type(None)]


def test_reads_characters_as_json_writes_them() -> None:
    assert data(r'a: "\ud83d\ude00 is one"') == {"a": "\U0001f600 is one"}


def test_knows_the_line_of_every_key() -> None:
    document = parse("a:\n  b: 1\n  c:\n    - x: 2\n", Path("x.yaml"))
    assert document.lines == {"a": 1, "a.b": 2, "a.c": 3, "a.c[0]": 4, "a.c[0].x": 4}
    assert str(document.error("is wrong", "a.b.deeper")) == "x.yaml:2: a.b.deeper: is wrong"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\na: 2", "x.yaml:2: a: duplicate key (first on line 1)"),
        ("a:\n\tb: 1", "x.yaml:2: indented with a tab (use spaces)"),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml:1: a: YAML tag"),
        ("a: !mine 1", "YAML tag '!mine' is not allowed"),
        ("a: ${oc.env:HOME}", "x.yaml:1: a: resolvers (${…}) are not allowed"),
        ("a: &x [*x]", "nested deeper than"),
        ("- 1", "expected a mapping"),
        ("a: [1", "x.yaml:1: is not YAML"),
        ("why: Does it work: yes", "mapping values are not allowed here; quote the value: why: 'Does it work: yes'"),
        ("why: @home", "quote the value: why: '@home'"),
        ("? [a]\n: 1", "keys must be plain words"),
        ("a: " + "9" * 5000, "is not a valid int"),
        ("a: " + "9" * 400, "is not a valid int"),
        (r'a: "x\0y"', "x.yaml:1: a: holds a zero byte"),
        (r'a: "\ud83d"', "x.yaml:1: a: holds half of a character"),
        ("# only a comment", "is empty"),
    ],
)
def test_refuses_in_one_line(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        data(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_cannot_explode() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UserError, match="more than"):
        data("\n".join(rows))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x80\x81\xff\x00")
    (tmp_path / "empty.yaml").write_text(" \n")
    for name, told in [
        ("binary.yaml", "not a text file"),
        ("empty.yaml", "is empty"),
        ("missing.yaml", "no such file"),
        (".", "is a folder"),
    ]:
        with pytest.raises(UserError, match=told):
            read(tmp_path / name)


def test_scalars_of_the_command_line() -> None:
    assert [scalar(text) for text in ("1e-4", "[1, a]", "{name: static}", "true", "a b")] == [
        1e-4,
        [1, "a"],
        {"name": "static"},
        True,
        "a b",
    ]

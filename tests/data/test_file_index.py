"""A folder's content as one digest: the same for the same content, and cheap to ask for again."""

import os
from pathlib import Path

import pytest

from mtlab.data.file_digests import content_digest
from mtlab.errors import UserError


def write(folder: Path, **contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


def test_the_digest_is_of_names_and_content(tmp_path: Path) -> None:
    here, there = write(tmp_path / "here", a="1", b="2"), write(tmp_path / "there", a="1", b="2")
    digest = content_digest(here, ["a", "b"])
    assert content_digest(there, ["b", "a"]) == digest
    assert content_digest(here, ["a"]) != digest
    (there / "b").write_text("3")
    assert content_digest(there, ["a", "b"]) != digest
    (there / "b").rename(there / "c")
    (there / "c").write_text("2")
    assert content_digest(there, ["a", "c"]) != digest


def test_only_what_is_new_or_changed_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", a="1", b="2")
    read: list[str] = []

    def digest(*names: str) -> str:
        read.clear()
        return content_digest(folder, names, lambda path: read.append(path.name))

    first = digest("a", "b")
    assert read == ["a", "b"]
    assert digest("a", "b") == first
    assert read == []
    write(folder, b="two", c="3")
    digest("a", "b", "c")
    assert read == ["b", "c"]
    digest("a")
    digest("a", "b", "c")
    assert read == []
    (cache,) = Path(os.environ["MTLAB_CACHE"]).glob("facts/files-*.json")
    for damage in ("{", "[]", '{"files": []}', '{"files": {"a": 1}}'):
        cache.write_text(damage)
        assert digest("a", "b", "c")
        assert read == ["a", "b", "c"]


def test_a_file_that_went_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: cannot be read: No such file"):
        content_digest(tmp_path, ["gone"])


def test_what_was_read_before_a_file_that_is_refused_is_not_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", a="1", b="broken", c="3")
    read: list[str] = []

    def check(path: Path) -> None:
        read.append(path.name)
        if path.read_text() == "broken":
            raise UserError("is damaged", file=path)

    with pytest.raises(UserError, match="b: is damaged"):
        content_digest(folder, "abc", check)
    write(folder, b="2")
    assert content_digest(folder, "abc", check) == content_digest(write(tmp_path / "whole", a="1", b="2", c="3"), "abc")
    assert read == ["a", "b", "b", "c"]

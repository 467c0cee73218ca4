"""Files that `--out` names: folders are refused, links followed, pipes written into."""

import os
from pathlib import Path

import pytest

from mtlab.errors import UserError
from mtlab.output_file import write_output


@pytest.mark.parametrize("name", [".", "", "..", "folder", "nowhere/.."])
def test_an_output_that_is_a_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder: name a file in it"):
        write_output(Path(name), "text")
    assert os.listdir(tmp_path) == ["folder"]


def test_an_output_where_no_file_can_be_made_is_one_line() -> None:
    with pytest.raises(UserError, match=r"/proc/x\.md: cannot be written"):
        write_output(Path("/proc/x.md"), "text")


def test_an_output_goes_where_a_link_leads(tmp_path: Path) -> None:
    link, target = tmp_path / "link.md", tmp_path / "kept" / "target.md"
    link.symlink_to(target)  # which is not there yet
    for text in ("one", "two"):
        write_output(link, text)
        assert (link.is_symlink(), target.read_text()) == (True, text)


def test_an_output_that_is_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.md"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_output(pipe, "text")
    assert (os.read(reader, 100), pipe.is_fifo(), os.listdir(tmp_path)) == (b"text", True, ["pipe.md"])
    os.close(reader)

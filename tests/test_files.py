"""Atomic writes, appended lines, and what a full or forbidden disk says."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtlab import files
from mtlab.errors import UserError


def test_write_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "data.json"
    files.write_json(path, {"é": [1, 2.5, None]})
    assert files.read_json(path) == {"é": [1, 2.5, None]}
    assert os.listdir(path.parent) == ["data.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    files.write_text(path, "old")

    def write() -> None:
        with files.atomic_write(path) as scratch:
            scratch.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["data.txt"]


def test_temporary_keeps_the_suffix(tmp_path: Path) -> None:
    with files.atomic_write(tmp_path / "examples.parquet") as scratch:
        assert scratch.suffix == ".parquet"
        scratch.write_bytes(b"x")
    assert (tmp_path / "examples.parquet").read_bytes() == b"x"


def test_non_finite_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        files.append_line(tmp_path / "a.jsonl", {"loss": float("inf")})
    assert os.listdir(tmp_path) == []


def test_torn_last_line_is_left_out_and_the_next_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    files.append_line(path, {"step": 1})
    with path.open("ab") as stream:
        stream.write(b'{"step": 2, "lo')
    assert files.read_jsonl(path) == [{"step": 1}]
    files.append_line(path, {"step": 3})
    assert files.read_jsonl(path) == [{"step": 1}, {"step": 3}]


def test_reading_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert files.read_jsonl_from(path, 0) == ([], 0)
    files.append_line(path, {"step": 1})
    rows, offset = files.read_jsonl_from(path, 0)
    assert rows == [{"step": 1}]
    with path.open("ab") as stream:
        stream.write(b'{"st')
    assert files.read_jsonl_from(path, offset) == ([], offset)
    with path.open("ab") as stream:
        stream.write(b'ep": 2}\n')
    rows, offset = files.read_jsonl_from(path, offset)
    assert rows == [{"step": 2}]
    path.write_text('{"step": 0}\n')
    assert files.read_jsonl_from(path, offset)[0] == [{"step": 0}]


def test_reading_from_within_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n{"step": 2}\n')
    for offset in range(1, 13):
        assert files.read_jsonl_from(path, offset) == ([{"step": 2}], 25)
    assert files.read_jsonl_from(path, 13) == ([{"step": 2}], 25)
    assert files.read_jsonl_from(path, 25) == ([], 25)
    path.write_text('{"step": 10}')
    assert files.read_jsonl_from(path, 5) == ([], 12)


def _append(path: Path, who: int) -> None:
    for number in range(200):
        files.append_line(path, {"who": who, "number": number, "filling": "x" * 200})


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "launch.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(path, who)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = files.read_jsonl(path)
    assert len(rows) == 800
    for who in range(4):
        assert [row["number"] for row in rows if row["who"] == who] == list(range(200))


def test_killed_writers_never_leave_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    script = (
        "import sys, itertools, pathlib; from mtlab import files\n"
        "for n in itertools.count(): files.write_bytes(pathlib.Path(sys.argv[1]), bytes([n % 256]) * 300_000)"
    )
    for delay in (0.3, 0.35, 0.4):
        with subprocess.Popen([sys.executable, "-c", script, str(path)]) as writer:
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        if path.exists():
            data = path.read_bytes()
            assert data == data[:1] * 300_000
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) in ([], ["data.bin"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_a_user_error_with_advice() -> None:
    with pytest.raises(UserError, match="the disk is full") as caught:
        files.append_line(Path("/dev/full"), {"step": 1})
    assert str(caught.value).startswith("/dev/full: cannot be written")


def test_full_disk_reported_by_a_library_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"

    def write() -> None:
        with files.atomic_write(path):
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match="free some space") as caught:
        write()
    assert caught.value.file == path


def _limited(path: Path, pipe: "multiprocessing.connection.Connection") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        files.write_bytes(path, b"x" * 5000)
    except OSError as error:
        pipe.send(type(error).__name__)


def test_a_write_cut_short_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_limited, args=(path, there))
    child.start()
    child.join()
    assert here.recv() == "OSError"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["data.bin"]


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        files.write_text(tmp_path / "file" / "data.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_forbidden_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied"):
        files.write_text(tmp_path / "data.txt", "x")


def test_json_that_is_none_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{half")
    with pytest.raises(UserError, match="is not JSON"):
        files.read_json(path)


def test_free_bytes_of_a_path_to_come(tmp_path: Path) -> None:
    assert files.free_bytes(tmp_path / "a" / "b") > 0


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path))
    assert files.cache_root() == tmp_path
    monkeypatch.delenv("MTLAB_CACHE")
    assert files.cache_root().name == "mtlab"


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "below" / "new") as scratch:
        (scratch / "inner").mkdir()
        (scratch / "inner" / "data.txt").write_text("whole")
        assert not (tmp_path / "below" / "new").exists()
    assert (tmp_path / "below" / "new" / "inner" / "data.txt").read_text() == "whole"

    with pytest.raises(UserError, match="exists already"), files.new_folder(tmp_path / "below" / "new"):
        raise AssertionError("not entered")

    def half() -> None:
        with files.new_folder(tmp_path / "below" / "half") as scratch:
            (scratch / "data.txt").write_text("half")
            raise OSError(28, "No space left on device", str(scratch / "data.txt"))

    with pytest.raises(UserError, match="disk is full"):
        half()
    assert os.listdir(tmp_path / "below") == ["new"]
